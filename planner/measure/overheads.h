/* overheads - what a request costs beside steps: from lone requests, as the client and the trace saw them.
 * Pure. */
#ifndef BATON_PLANNER_OVERHEADS_H
#define BATON_PLANNER_OVERHEADS_H

#include "planner/measure/asker.h"
#include "planner/measure/seen.h"
#include "planner/profile/profile.h"

/* Of one request that was alone, ns; NAN: not seen. */
typedef struct overhead {
    double arrive, dispatch, emit, handoff; /* as profile_overheads */
    double transfer; /* end of the prompt to KV verified, as the coordinator heard of both */
    uint32_t prompt_tokens;
} overhead;

typedef struct overheads {
    overhead *items; /* [count]; owned */
    uint32_t count, room;
} overheads;

/* The request and its place in s, alone: all steps while it lived are its own. */
void overheads_add(overheads *o, const asked *q, const seen_request *r, const seen *s);
void overheads_done(overheads *o);
/* Medians; what was not seen is 0. */
profile_overheads overheads_of(const overheads *o);
/* Median of transfer without the time of the bytes, of which each token of the prompt has token_ns, ns; NAN:
 * no hand-off was seen. */
double overheads_transfer_ns(const overheads *o, double token_ns);

#endif
