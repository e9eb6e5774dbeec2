/* prompt - token ids that differ between requests by construction.
 *
 * The first ids of a prompt spell its index, the next ones its seed, as digits in base `range` (the number of
 * ids allowed), low digits first; the rest is drawn. The digits of the index are shifted by a number drawn
 * from the seed, so that prompts of different seeds differ from the first id on, as a rule.
 * prompt_unique_tokens ids make all prompts of all seeds different (8 for 49,000 ids). Shorter ones: n ids
 * make the first range^n indices of a seed different (for one id: `range` prompts), and those of two seeds
 * equal only by chance. Pure. */
#ifndef BATON_WORKLOAD_PROMPT_H
#define BATON_WORKLOAD_PROMPT_H

#include <stdint.h>

typedef struct prompt_range {
    int32_t id_min, id_max; /* ids allowed, both ends included */
} prompt_range;

/* UINT32_MAX for a range of one id, in which nothing can differ. */
uint32_t prompt_unique_tokens(prompt_range range);
/* ids: [count] */
void prompt_fill(int32_t *ids, uint32_t count, prompt_range range, uint64_t seed, uint32_t index);
/* The first `count` ids of block `hash`: equal for equal (seed, hash), else different from the first id on if
 * the hashes differ by less than the range. */
void prompt_fill_block(int32_t *ids, uint32_t count, prompt_range range, uint64_t seed, uint64_t hash);

#endif
