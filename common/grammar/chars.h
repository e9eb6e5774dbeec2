/* chars - sets of characters as code points, and the bytes that write them.
 *
 * Private to this folder. */
#ifndef BATON_GRAMMAR_CHARS_H
#define BATON_GRAMMAR_CHARS_H

#include "grammar/graph.h"

#define CHAR_MAX_CODE 0x10FFFFu

typedef struct char_range {
    uint32_t first, last;
} char_range;

/* Start it zeroed. */
typedef struct char_class {
    char_range *ranges; /* [count]; owned */
    uint32_t count, capacity;
} char_class;

void char_class_add(char_class *c, uint32_t first, uint32_t last);
/* Sorts and joins; takes away what is no character (surrogates). */
void char_class_settle(char_class *c);
/* Of a settled one, all others. */
void char_class_invert(char_class *c);
void char_class_done(char_class *c);

/* How a text stands in the answer. */
typedef enum writing {
    WRITE_PLAIN, /* as it is, UTF-8 */
    WRITE_JSON,  /* inside of a JSON string: quotes, backslashes and control characters are escaped */
} writing;

/* A character of a settled class. */
uint32_t chars_node(graph *g, const char_class *c, writing w, uint32_t next);
/* A text, escaped as need be. */
uint32_t chars_text(graph *g, const char *text, size_t len, writing w, uint32_t next);

#endif
