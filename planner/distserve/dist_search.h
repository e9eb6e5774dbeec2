/* dist_search - the highest rate per GPU of a placement, on DistServe's profile: by its own rule, and at
 * steady state.
 *
 * Its own (simdistserve/benchmarks/{search_binary,simulate_dist}.py): bisects between 0 and rate_max down to
 * rate_step; a rate passes when, of `requests` requests from an empty cluster until all have ended, the
 * target's percentile of TTFT is below its limit and that of TPOT below its own: each limit alone, one seed.
 *
 * At steady state, its simulator again: of each of several seeds the first and the last fifth of the
 * requests are left out; a member is good when it keeps both limits; a
 * rate passes with the lower bound of the interval, fails with the upper one or when the requests in the
 * cluster grow (bench/stats/search.h). Pure. */
#ifndef BATON_PLANNER_DIST_SEARCH_H
#define BATON_PLANNER_DIST_SEARCH_H

#include "bench/rows/score.h"
#include "bench/stats/search.h"
#include "bench/workload/workload.h"
#include "planner/distserve/dist_configs.h"
#include "planner/distserve/dist_sim.h"

#define DIST_SEEDS 5u /* of the steady state: seed + 1 and on */

typedef struct dist_case {
    const dist_model *model; /* borrowed, as all of these */
    const profile_distserve *data;
    const workload *load; /* lengths; arrivals are Poisson */
    slo limits;           /* ttft_ms and tpot_ms; both finite */
    double target;        /* 0..1 */
    uint32_t seed;
    uint32_t requests;          /* of its own rule: 300 */
    double rate_max, rate_step; /* per GPU: 5 and .25 */
    uint32_t window_requests;   /* of a seed at steady state, the left out ones included: 3000 */
    double resolution;          /* of the steady state's search: 0.05 */
} dist_case;

/* The simulator's options for the placement. false: why it cannot be (memory, no profile). */
bool dist_case_options(dist_options *out, const dist_case *c, const dist_config *config, char *why,
                       size_t size);

/* ST_INVALID: its simulator fails, or never ends, on a request. */
status dist_search_own(double *per_gpu, const dist_case *c, const dist_config *config,
                       const dist_options *opt, errbuf *eb);
/* Rates of the result are those of the whole placement. */
status dist_search_steady(search_result *out, const dist_case *c, const dist_config *config,
                          const dist_options *opt, errbuf *eb);
/* Requests at `rate`, as its own rule has them: [count] of them into requests. */
void dist_case_requests(dist_request *requests, uint32_t count, const dist_case *c, double rate);

#endif
