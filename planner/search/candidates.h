/* candidates - the placements that a search looks at: replicas x tp x pp of each role, of the engines that
 * the profile has, and how their steps are formed.
 *
 *   disaggregated   p prefill and d decode workers of each pair of shapes; a few token budgets of P
 *   colocated       prefill first, and chunked with several sizes of chunks
 *
 * All that use at most so many devices. For many devices only the ratios are listed: what is not a multiple
 * of a smaller one, in at most CANDIDATES_UNIT devices, to be multiplied by candidates_scale. In canonical
 * order (fleet_placement_compare). Pure. */
#ifndef BATON_PLANNER_CANDIDATES_H
#define BATON_PLANNER_CANDIDATES_H

#include "planner/fleet/placement.h"
#include "planner/judge/judge.h"
#include "planner/search/demand.h"

#define CANDIDATES_UNIT        16u
#define CANDIDATES_DEVICES_MAX 10000u
#define CANDIDATES_MAX         100000u
#define CANDIDATES_SEQS        256u /* where neither profile nor caller says more */

typedef enum reject_reason {
    REJECT_NOT,
    REJECT_MEMORY,     /* the pool, or the model's context, does not hold a request */
    REJECT_PROFILE,    /* no engine of that shape, or steps outside of what was measured */
    REJECT_HEADS,      /* tp does not divide them */
    REJECT_SLO,        /* a request that is alone misses the limits; or every rate that was tried */
    REJECT_LINK,       /* no hand-off: the link is unknown, or moves nothing */
    REJECT_BEATEN,     /* it fails at a rate that another one of its kind serves */
    REJECT_SATURATION, /* its work alone takes longer than the best needs */
    REJECT_REASONS
} reject_reason;

/* "memory", ... Borrowed: static. */
const char *reject_name(reject_reason r);

typedef struct candidate {
    fleet_placement placement; /* its name is its text */
    uint32_t devices, unit_devices;
    bool colocated;
    double bound;         /* requests per second and device, at most; INFINITY: not known yet */
    reject_reason reason; /* REJECT_NOT: it is, or will be, simulated */
    char why[160];        /* rejected: for people */
    judge_goodput *found; /* NULL: not simulated; owned */
    bool narrow;          /* found by the finalists' rules */
    uint64_t tested;      /* requests of the one look at another's rate */
} candidate;

typedef struct candidate_list {
    candidate *items; /* [count]; owned */
    uint32_t count;
} candidate_list;

typedef struct candidate_options {
    const profile *profile; /* borrowed, as is demand */
    const demand *demand;
    uint32_t devices;
    uint32_t devices_per_instance_max; /* 0: no bound */
    uint32_t kv_pages, max_seqs;       /* 0: the engine's */
    bool quick;                        /* fewer budgets and chunks */
} candidate_options;

/* ST_INVALID: there would be more than CANDIDATES_MAX, or the devices are none or too many. */
status candidates_list(candidate_list *out, const candidate_options *o, errbuf *eb);
void candidates_done(candidate_list *l);
/* The placement with as many copies of the unit as fit into so many devices. */
fleet_placement candidates_scale(const fleet_placement *unit, uint32_t devices);

#endif
