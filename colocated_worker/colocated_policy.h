/* colocated_policy - how a worker that does both phases divides a step between them. Pure.
 *
 * - chunked: decodes first, the rest of the token budget goes to prompt chunks (Sarathi-Serve): steady gaps
 *   between tokens, and prompts still move on in every step;
 * - prefill_first: while prompts wait, steps are prompts only; else decodes only (the first vLLM): shortest
 *   time to the first token, paid for by sequences that stand still meanwhile.
 *
 * Both are baselines that disaggregation is measured against. */
#ifndef BATON_COLOCATED_POLICY_H
#define BATON_COLOCATED_POLICY_H

#include "worker_core/batch.h"

typedef enum colocated_policy { COLOCATED_CHUNKED, COLOCATED_PREFILL_FIRST } colocated_policy;

/* False for a name that is no policy. */
bool colocated_policy_find(const char *name, colocated_policy *out);

typedef struct colocated_split {
    /* At most so many decode rows; what they leave over goes to prompts if prompts is set */
    uint32_t decode_rows;
    bool prompts; /* prompt chunks take part */
} colocated_split;

/* decoding: sequences that want a row; waiting: prompts not computed to their end. With prompts waiting,
 * `chunked` leaves at least a page of the budget to them, so that a full decode batch cannot starve them. */
colocated_split colocated_policy_divide(colocated_policy policy, uint32_t decoding, uint32_t waiting,
                                        uint32_t max_rows);

#endif
