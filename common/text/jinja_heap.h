/* jinja_heap - the memory, the bounds and the error of one parse or one rendering of a template.
 *
 * A template is a program from a file that nobody checked. All it makes lies in one arena that is freed at
 * once; every node evaluated and every 64 bytes made are a step. What goes beyond a bound, and every fault of
 * the template, ends the run by a longjmp to whoever began it (jinja.c): nothing is held that the arena does
 * not free, and no evaluation has to hand an error through its callers. Thread: the run's. */
#ifndef BATON_TEXT_JINJA_HEAP_H
#define BATON_TEXT_JINJA_HEAP_H

#include "base/status.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JINJA_STEPS_MAX  10000000u           /* of one rendering */
#define JINJA_BYTES_MAX  ((size_t)256 << 20) /* all values of one rendering */
#define JINJA_OUTPUT_MAX ((size_t)16 << 20)  /* the text it makes */
#define JINJA_DEPTH_MAX  400u                /* nested evaluations, macro calls included */
#define JINJA_NEST_MAX   100u                /* nested values, and nested constructs of the template's text */

typedef struct jinja_heap {
    struct jinja_block *blocks; /* newest first */
    size_t bytes, bytes_max;    /* handed out; bound */
    uint64_t steps;
    uint32_t depth;
    uint32_t line; /* of the template, for errors; 0 = none */
    status st;     /* of the fault */
    errbuf err;
    jmp_buf fault;
} jinja_heap;

void jinja_heap_init(jinja_heap *h, size_t bytes_max);
void jinja_heap_done(jinja_heap *h);
/* Zeroed, aligned for any value; lives until jinja_heap_done. */
void *jinja_alloc(jinja_heap *h, size_t count, size_t size);
/* Counts work; the fault names the bound. */
void jinja_steps(jinja_heap *h, size_t count);
/* Ends the run: "line N: ...". */
void jinja_fail(jinja_heap *h, status st, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), noreturn));

#endif
