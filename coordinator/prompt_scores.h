/* prompt_scores - what the model thought of the tokens of one prompt, as the core tells it part by part.
 *
 * Memory: 8 bytes for each token and each of its best, taken when the first part comes. Who opens streams
 * bounds the sum over all (api.h, API_SCORES_MAX; stream.c). Pure. Thread: the loop's. */
#ifndef BATON_COORDINATOR_PROMPT_SCORES_H
#define BATON_COORDINATOR_PROMPT_SCORES_H

#include "coordinator/core_types.h"

typedef struct prompt_score {
    float logprob;
    uint32_t rank;
} prompt_score;

typedef struct prompt_scores {
    prompt_score *items; /* [capacity] of each token of the prompt; nothing is known of the first. Owned */
    token_logprob *tops; /* [capacity * top] the best of each token. Owned */
    uint32_t count;      /* tokens told, the first included; 0 before anything was */
    uint32_t capacity, top;
} prompt_scores;

/* The next part, of a prompt of prompt_count tokens. */
void prompt_scores_add(prompt_scores *p, uint32_t prompt_count, const core_prompt *told);
void prompt_scores_done(prompt_scores *p);

#endif
