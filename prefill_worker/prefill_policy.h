/* prefill_policy - the prefill worker's step: prompts only, first come, first served, up to the token budget.
 * Pure.
 *
 * Replays come first, and share a step with nobody else: the rows of others would make it longer, and who is
 * in the middle of an answer would wait for those who have none yet.
 *
 * Several prompts share a step: the last, short chunk of one leaves room for the first chunk of the next.
 * More than chunk_tokens of one prompt per step would only delay its first segments (the hand-off overlaps
 * with later layers and later chunks), so it is bounded. */
#ifndef BATON_PREFILL_POLICY_H
#define BATON_PREFILL_POLICY_H

#include "worker_core/batch.h"

typedef struct prefill_limits {
    uint32_t max_rows;     /* token budget of a step, at least a page */
    uint32_t chunk_tokens; /* per prompt and step, a multiple of a page */
    uint32_t max_seqs;     /* prompts in one step */
} prefill_limits;

/* prompts: replays before all others, each oldest first. out: [min(count, max_seqs)]. Returns the number of
 * chunks; 0 only when count is 0.
 */
uint32_t prefill_policy_form(const batch_prompt *prompts, uint32_t count, const prefill_limits *limits,
                             batch_chunk *out);

#endif
