/* plan_search - which placement has the highest goodput per device.
 *
 *   candidates -> bounds -> rounds of simulations -> finalists again, narrowly
 *
 * Candidates of a kind (colocated or not) with as many devices are a group. The most promising one, by its
 * bound, is simulated; the others are rejected when their bound is below what it surely has, or when one look
 * at that rate shows that they fail there; else they are searched too. Looks are at what is known when a
 * round begins, so nothing depends on the number of threads. The best of either kind are searched again until
 * attainment is known to a point.
 *
 * For many devices the rounds see ratios only, a group per kind; the best of either are then simulated with
 * all devices, or, beyond PLAN_CHECK_DEVICES, with so many, and repeated. */
#ifndef BATON_PLANNER_PLAN_SEARCH_H
#define BATON_PLANNER_PLAN_SEARCH_H

#include "planner/search/bounds.h"

#define PLAN_ROUND         6u   /* candidates of a group between two looks at what is known */
#define PLAN_FINALISTS     3u   /* of either kind */
#define PLAN_CHECK_DEVICES 128u /* the most that are simulated at once */
#define PLAN_NOBODY        UINT32_MAX

/* Everything is borrowed. */
typedef struct plan_input {
    const profile *profile;
    const workload *load;
    const workload_options *ask; /* of which load was made: sensitivity makes others */
    const arrivals_options *arrivals;
    slo limits;
    double target; /* 0..1 */
    double rate;   /* the fewest devices that serve it; 0: the highest goodput per device */
    uint64_t seed;
    uint32_t devices, devices_per_instance_max, kv_pages, max_seqs, heads;
    uint32_t max_requests, max_queue, max_context; /* as fleet_options */
    uint32_t threads;
    bool quick, extrapolate, one_host;
    void (*progress)(const char *text); /* NULL: none */
} plan_input;

typedef struct plan_outcome {
    candidate_list list; /* canonical order; what was simulated with all devices stands behind */
    demand demand;
    uint32_t best;          /* of list; PLAN_NOBODY: none can serve */
    uint32_t best_of[2];    /* [0] disaggregated, [1] colocated */
    bool ratios;            /* many devices: ratios were searched */
    uint32_t full_from;     /* ratios: where in the list those at full size begin; UINT32_MAX: nowhere */
    uint32_t check_devices; /* ratios: simulated with so many at most */
    uint64_t simulated;     /* requests */
} plan_outcome;

/* ST_INVALID as candidates_list. Ends with plan_done, on success. */
status plan_search(plan_outcome *out, const plan_input *in, errbuf *eb);
void plan_done(plan_outcome *p);

/* Requests per second and device with its interval; mean NAN: it has none. PRE: c->found */
interval plan_goodput(const candidate *c);
/* The case that is simulated for a placement. */
judge_case plan_case(const plan_input *in, const fleet_placement *p);
/* The one that serves the rate with the fewest devices (several copies of it, where one does not), and how
 * many those are; of several the one with the highest goodput per device. PLAN_NOBODY: none can serve. */
uint32_t plan_fewest(const plan_outcome *p, double rate, uint32_t *devices);
/* Number of candidates with that reason. */
uint32_t plan_rejected(const plan_outcome *p, reject_reason r);

#endif
