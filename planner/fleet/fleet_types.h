/* fleet_types - what goes into a fleet and what comes out: requests, outcomes, decisions, options, totals.
 * Plain data. */
#ifndef BATON_PLANNER_FLEET_TYPES_H
#define BATON_PLANNER_FLEET_TYPES_H

#include "planner/fleet/placement.h"
#include "planner/profile/profile.h"

#define FLEET_NEVER UINT64_MAX

typedef struct fleet_request {
    uint64_t at_ns;                        /* scheduled; never goes back */
    uint32_t prompt_tokens, output_tokens; /* >= 1 */
} fleet_request;

typedef enum fleet_end {
    FLEET_DONE,
    FLEET_REFUSED, /* the queue was full, or it fits no worker */
    FLEET_UNFINISHED
} fleet_end;

/* Stamps, ns; FLEET_NEVER: not reached. first and last are when the token is at the client. */
typedef struct fleet_outcome {
    uint64_t index; /* in the order of arrival */
    fleet_end end;
    uint64_t at_ns, routed_ns, computed_ns, verified_ns, first_ns, last_ns;
    uint32_t prompt_tokens, output_tokens, preemptions;
    uint32_t prefill_worker, decode_worker; /* the last ones, from 0; a W is both; UINT32_MAX: none */
    double itl_max_ms, itl_p99_ms;          /* with want_gaps; else NAN */
} fleet_outcome;

typedef enum fleet_decision_kind {
    FLEET_ROUTE,   /* req gets a P or W (and a D, or UINT32_MAX) */
    FLEET_RESERVE, /* req, which has a P, gets a D */
    FLEET_ROWS,    /* part of worker's next step: rows [begin, begin + count) of req */
    FLEET_STEP,    /* the parts above are a step that begins now */
    FLEET_PREEMPT  /* req loses its place at worker */
} fleet_decision_kind;

typedef struct fleet_decision {
    fleet_decision_kind kind;
    uint64_t at_ns, req;
    uint32_t worker, other; /* ROUTE: other = D */
    uint32_t begin, count;
} fleet_decision;

typedef struct fleet_sink {
    void *ctx;
    /* The next arrival; false: there is none any more. Required. */
    bool (*next)(void *ctx, fleet_request *out);
    /* In the order in which they end. Required. */
    void (*ended)(void *ctx, const fleet_outcome *o);
    /* Each may be NULL. token: at the client; a step: at the worker. */
    void (*token)(void *ctx, uint64_t index, uint64_t at_ns);
    void (*step)(void *ctx, uint32_t worker, uint64_t begin_ns, uint64_t end_ns, const latency_step *s);
    void (*decision)(void *ctx, const fleet_decision *d);
} fleet_sink;

typedef struct fleet_options {
    const profile *profile; /* borrowed, as is placement */
    const fleet_placement *placement;
    uint32_t max_requests, max_queue; /* of the coordinator; 0: no bound */
    uint32_t max_context;             /* 0: no bound */
    uint64_t seed;                    /* of the noise */
    bool extrapolate;                 /* steps outside of the grid are counted; else they end the run */
    bool want_gaps;                   /* itl_* of outcomes */
    bool one_host;                    /* workers share the host: the profile's slowdowns apply */
    bool step_by_step;                /* never several steps at once: for the test of that */
} fleet_options;

typedef struct fleet_totals {
    uint64_t arrived, done, refused, steps, events;
    uint64_t steps_outside; /* of the profile's grid */
    uint64_t preemptions;
    uint64_t now_ns;
    uint32_t in_flight, queued;
} fleet_totals;

typedef struct fleet_worker_totals {
    worker_role role;
    uint32_t lanes;                                           /* steps that it may have at once: pp */
    uint64_t busy_ns, prefill_ns, decode_ns, mixed_ns, steps; /* ns: of all lanes together */
    uint32_t pages, pages_used, pages_most;                   /* of the pool: all, now, most at once */
} fleet_worker_totals;

#endif
