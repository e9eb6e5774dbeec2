/* judge - what a placement is worth for a workload: attainment at a rate with an interval that holds, and the
 * highest rate that meets the target.
 *
 * A rate is simulated until the interval on attainment is as narrow as asked: replications over independent
 * seeds, each with its warm-up cut, at least as many requests as the rate needs to settle, and the growth
 * test of bench/stats/steady.h. The requests of a seed are the same for every placement and rate but for the
 * scale of time (common random numbers). The answer does not depend on the number of threads. Pure but for
 * threads. */
#ifndef BATON_PLANNER_JUDGE_H
#define BATON_PLANNER_JUDGE_H

#include "bench/rows/score.h"
#include "bench/stats/search.h"
#include "bench/workload/arrivals.h"
#include "bench/workload/workload.h"
#include "planner/fleet/fleet.h"

#define JUDGE_POINTS_MAX   64u
#define JUDGE_SEEDS_MAX    64u
#define JUDGE_REQUESTS_MAX (1u << 22) /* of a seed */

typedef struct judge_case {
    const profile *profile;
    const fleet_placement *placement;
    const workload *load;
    const arrivals_options *arrivals;
    slo limits;
    bool extrapolate, one_host;
    uint32_t max_requests, max_queue, max_context; /* as fleet_options */
} judge_case;

/* How a fleet of the case is made. */
fleet_options judge_fleet_options(const judge_case *c, uint64_t seed);
/* Of a request that is done; slo_kept says whether it is good. ITLs that nobody asked for are 0. */
slo_latencies judge_latencies(const fleet_outcome *o);

typedef struct judge_rules {
    double target;                       /* 0..1 */
    double half_width;                   /* of the interval on attainment: 0.01 */
    uint32_t seeds;                      /* at least, >= 2 */
    uint32_t seeds_cap;                  /* <= JUDGE_SEEDS_MAX */
    uint64_t requests_min, requests_cap; /* of one seed's window */
    uint64_t first_seed;
    double resolution; /* ends when lowest FAIL <= highest PASS * (1 + resolution) */
    double start_rate; /* 0: from what the profile says the placement can do */
    uint32_t threads;  /* the seeds of a rate are simulated on so many; >= 1 */
} judge_rules;
/* Target 0.9, half a width of 0.01, 8 to 16 seeds, resolution 0.02, one thread. */
judge_rules judge_rules_default(void);

/* One rate as it was simulated. */
typedef struct judge_point {
    double rate; /* requests per second, all devices */
    interval attainment;
    double attainment_ttft, attainment_tpot; /* each limit alone */
    double attainment_itl;                   /* both limits on ITL; NAN: there are none */
    double refused;                          /* share */
    bool unstable, settled;
    uint32_t seeds;
    uint64_t requests; /* scored */
    uint64_t steps_outside;
    double ttft_ms[3], tpot_ms[3];    /* P50, P90, P99, of all seeds together; NAN: none */
    double itl_ms[3];                 /* of the P99 of each answer; only where ITL is limited */
    double prefill_busy, decode_busy; /* share of time of the busiest worker of the role; colocated ones are
                                         in both */
    double pages_most;                /* share of the fullest pool */
    worker_role pages_role;           /* whose that is */
} judge_point;

/* As search_judge and search_goodput take it: one that did not settle may fail, but not pass. */
rate_point judge_rate_point(const judge_point *p);

typedef struct judge_goodput {
    search_result result;                 /* requests per second, all devices */
    judge_point points[JUDGE_POINTS_MAX]; /* [count], ascending rate */
    uint32_t count;
    bool infeasible; /* no rate passes, however low */
    char why[200];   /* infeasible: what fails; else what limits it at the lowest FAIL: "TTFT", "TPOT", ... */
    uint64_t simulated; /* requests in all */
} judge_goodput;

/* ST_INVALID: the placement cannot be simulated (fleet_new's text), or a step outside of the grid. */
status judge_rate(judge_point *out, const judge_case *c, const judge_rules *r, double rate, errbuf *eb);
/* The search of the highest rate: doubling, then bisection. Far from the target, and where attainment falls
 * so steeply that it makes no difference to the rate, intervals may be wider than half_width; judge_rate at
 * the crossing has it. ST_INVALID as judge_rate. */
status judge_search(judge_goodput *out, const judge_case *c, const judge_rules *r, errbuf *eb);

#endif
