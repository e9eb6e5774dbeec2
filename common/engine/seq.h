/* seq - one slot of the engine: a sequence's ids, its page table and its sampling parameters. Internal to the
 * engine.
 *
 * Ids and pages grow by doubling up to what max_context needs, so allocations grow with log2(context) only.
 */
#ifndef BATON_ENGINE_SEQ_H
#define BATON_ENGINE_SEQ_H

#include "engine/answers.h"

typedef struct seq {
    bool open;
    int32_t *ids;          /* [capacity] prompt, then output */
    uint32_t prompt_count; /* tokens */
    uint32_t count;        /* tokens of prompt and output */
    uint32_t capacity;     /* of ids */
    uint32_t *pages;       /* [page_capacity] page table */
    uint32_t page_count, page_capacity;
    uint64_t last_step; /* number of the newest step it took part in; 0 = none */
    sampling params;    /* its arrays are owned here */
    answer answer;      /* the engine opens and closes it */
} seq;

/* What a sequence's numbers are checked against. */
typedef struct seq_limits {
    uint32_t vocab;
    uint32_t page_count;  /* of the worker's pool */
    uint32_t max_context; /* tokens; one more may be chosen, which is never computed */
} seq_limits;

/* ST_INVALID when an id, a page or a parameter is out of range: nothing that came over a wire reaches a
 * kernel unchecked. */
status seq_init(seq *s, const seq_start *init, const seq_limits *lim, errbuf *eb);
/* A closed slot is fine */
void seq_done(seq *s);
status seq_add_pages(seq *s, const uint32_t *pages, uint32_t count, const seq_limits *lim, errbuf *eb);
void seq_add_token(seq *s, int32_t id, const seq_limits *lim);

#endif
