/* jinja_lex - a template's text as tokens: white space between tags is already taken away as Jinja does with
 * trim_blocks and lstrip_blocks, which is how chat templates are run; comments and raw blocks are done. */
#ifndef BATON_TEXT_JINJA_LEX_H
#define BATON_TEXT_JINJA_LEX_H

#include "text/jinja_value.h"

typedef enum jtoken_kind {
    JT_END,
    JT_DATA,
    JT_PRINT,     /* {{ */
    JT_PRINT_END, /* }} */
    JT_BLOCK,     /* {% */
    JT_BLOCK_END,
    JT_NAME,
    JT_STRING,
    JT_NUMBER,
    JT_OP /* text: one of the operators */
} jtoken_kind;

typedef struct jtoken {
    jtoken_kind kind;
    uint32_t line;
    jstr text;    /* data; name; operator */
    jvalue value; /* string, number */
} jtoken;

/* All tokens, a JT_END last. The text is borrowed. Faults end the run. */
jtoken *jinja_lex(jinja_heap *h, const char *text, size_t len);

#endif
