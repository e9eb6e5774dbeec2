/* demand - what a workload asks of the workers per request, as sums: from a sample of its requests, those of
 * the first seed. What bounds are made of. Pure. */
#ifndef BATON_PLANNER_DEMAND_H
#define BATON_PLANNER_DEMAND_H

#include "bench/workload/workload.h"

#define DEMAND_SAMPLE 4096u

typedef struct demand {
    workload_item *items; /* [count], by the tokens of the answer; owned */
    uint32_t count;
    double prompt_mean, output_mean;
    double squares_mean; /* of prompt_tokens^2 */
    double steps_mean;   /* decode steps: a token less than the answer has */
    double context_mean; /* tokens that a sequence sees, over all decode steps; 0 without such steps */
    uint32_t prompt_p99, tokens_p99; /* tokens: prompt and answer together */
} demand;

/* Caller ends with demand_done. */
demand demand_of(const workload *w, uint64_t seed);
void demand_done(demand *d);
/* Share of all decode steps that the shortest answers have, `share` of all requests. */
double demand_steps_of_shortest(const demand *d, double share);

#endif
