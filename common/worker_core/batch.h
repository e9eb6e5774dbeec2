/* batch - the arithmetic by which every role forms a step: who gets how many rows, who must give pages back.
 * Pure.
 *
 * Arrays are in order of age, the oldest first; that order decides everything:
 * - prompts: first come, first served; a chunk ends on a page edge except at the prompt's end (hand-off
 *   segments and KV pages line up, and a prompt's result does not depend on where the budget happened to cut
 *   it);
 * - pages: the oldest takes the free page; when there is none the youngest is preempted, never the oldest
 *   (protocol rule 8).
 * The roles' policies (prefill_policy, decode_policy, colocated_policy) say which rule applies to whom and
 * with which budget. */
#ifndef BATON_WORKER_CORE_BATCH_H
#define BATON_WORKER_CORE_BATCH_H

#include <stdbool.h>
#include <stdint.h>

typedef struct batch_prompt {
    uint32_t done;  /* rows computed so far: a multiple of KV_PAGE_TOKENS */
    uint32_t total; /* rows in all, > done */
    bool replay;    /* with tokens that its client has: a stream that stands still until it is computed */
} batch_prompt;

typedef struct batch_chunk {
    uint32_t index; /* of the prompt */
    uint32_t begin, count;
    bool last; /* it ends the prompt */
} batch_chunk;

/* Fills out[count] with at most one chunk per prompt, `budget` rows in all and chunk_tokens each; returns how
 * many. It stops at the first prompt that the rest of the budget cannot serve: no younger prompt overtakes.
 */
uint32_t batch_chunks(const batch_prompt *prompts, uint32_t count, uint32_t budget, uint32_t chunk_tokens,
                      batch_chunk *out);

typedef enum batch_verdict {
    BATCH_WAIT,    /* no row in this step */
    BATCH_ROW,     /* one row; with its new page when it needs one */
    BATCH_PREEMPT, /* gives everything back */
} batch_verdict;

typedef struct batch_row {
    bool wants_row;  /* false: only a candidate for preemption (a colocated worker's prompt) */
    bool needs_page; /* its next row starts a page */
    uint32_t pages;  /* that come back with it, where pages are short: those that nobody else has */
    bool frees_now;  /* false: the transfer thread must let go first */
} batch_row;

typedef struct batch_limits {
    uint32_t free_pages;
    uint32_t coming_pages; /* of sequences that are over, not given back yet */
    uint32_t first;        /* where the round starts when there are more sequences than rows */
    uint32_t max_rows;
} batch_limits;

void batch_rows(const batch_row *rows, uint32_t count, const batch_limits *limits, batch_verdict *out);

#endif
