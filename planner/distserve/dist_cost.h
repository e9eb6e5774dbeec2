/* dist_cost - how long DistServe's simulator says a step takes.
 *
 * Three coefficients per phase, fitted by its authors on an A100-80G (simdistserve/estimators/
 * time_estimator.py at 82831f1; the paper's appendix A). The additions are made in its order: results are
 * equal to the last bit. Milliseconds, as there. Pure. */
#ifndef BATON_PLANNER_DIST_COST_H
#define BATON_PLANNER_DIST_COST_H

#include <stdint.h>

/* Of one model and tensor parallelism */
typedef struct dist_cost {
    double prefill[3];      /* a + b * tokens + c * sum of squared prompt lengths */
    double decode_small[3]; /* a + b * (context + 1, of all) + c * sequences, of batches below */
    double decode_large[3]; /* from the threshold on */
    uint32_t threshold;
} dist_cost;

/* One stage of pp: 1/pp of the whole, and pp ms. */
double dist_prefill_ms(const dist_cost *c, uint32_t pp, uint64_t tokens, uint64_t squares);
/* One stage of pp: 1/pp of the whole. */
double dist_decode_ms(const dist_cost *c, uint32_t pp, uint32_t sequences, uint64_t context);
/* Of a step of a pipeline's first stage besides: 2 ms and .1 us per token of context (add_ray_overhead of
 * simdistserve/base/worker.py). */
double dist_overhead_ms(uint64_t context);

#endif
