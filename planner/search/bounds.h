/* bounds - what can be said of a placement without a simulation: that it cannot serve, and why, and how many
 * requests a second it can serve at most. A bound may reject, it never selects.
 *
 *   lone request   no queue, no batch: TTFT = what every request costs + its own prefill steps, TPOT = the
 *                  mean of its decode steps. When fewer than the target's share meet the limits so, no rate
 *                  does
 *   saturation     time of a worker per request: the cheapest step size for prompts; for decode steps the
 *                  cheapest batch, and for as many of all steps as the requests that must be good have at
 *                  least (the shortest answers), the cheapest batch whose step is within TPOT: the mean
 *                  gap of a good request is below the limit, and time per token is convex in the length of a
 *                  step. Colocated steps share what a step costs before it does anything
 *
 * Pure. */
#ifndef BATON_PLANNER_BOUNDS_H
#define BATON_PLANNER_BOUNDS_H

#include "planner/search/candidates.h"

typedef struct bounds_input {
    const profile *profile; /* borrowed, as is demand */
    const demand *demand;
    slo limits;
    double target;  /* 0..1 */
    uint32_t heads; /* of the model's KV; 0: unknown */
    bool extrapolate;
} bounds_input;

/* Sets reason and why of those that cannot serve, the bound of the others. */
void bounds_judge(candidate_list *l, const bounds_input *in);

#endif
