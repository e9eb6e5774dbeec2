/* profile - what the planner knows of an engine and of the machine under it: how long steps take, what a
 * hand-off and a request cost besides, how many KV pages there are. Read from a file, never changed.
 *
 * An engine is one instance: a worker with so many devices (tp x pp of them; cores, for the cpu backend). All
 * values are measured (`baton-plan profile`), or read from what others measured (profile_file.h); nothing is
 * computed from a data sheet. */
#ifndef BATON_PLANNER_PROFILE_H
#define BATON_PLANNER_PROFILE_H

#include "base/role.h"
#include "latency/latency.h"
#include "planner/profile/step_cost.h"

#define PROFILE_ENGINES_MAX 256u
#define PROFILE_HASH_CHARS  17u
#define PROFILE_LONGEST_NS  3600e9 /* of a step, an overhead, a token on the link: an hour, latency_ns's */

/* Of a fit: each measured point predicted from all others, |predicted - measured| / measured. NAN: unknown */
typedef struct profile_error {
    double mean, p90, max;
    uint32_t points;
} profile_error;

typedef struct profile_engine {
    bool roles[ROLE_COUNT]; /* that it was measured in */
    uint32_t tp, pp;
    uint32_t devices;          /* tp * pp, or the cores of the worker */
    step_cost prefill, decode; /* with pp > 1: of one stage, of which a step passes pp */
    double shared; /* a step that does both pays the smaller of the two intercepts but for this part, 0..1;
                      the mock engine's rule is 1 */
    double gap_ns; /* from the end of a step to the begin of the next, when work waits: the loop's own time */
    double prefill_cv, decode_cv; /* how steps of the same size differ: standard deviation / mean */
    /* Slowdown of a step per other busy worker on the same host, by the phase that one is in (0 = none) */
    double slowed_by_prefill, slowed_by_decode; /* of this engine's prefill steps */
    double decode_slowed_by_prefill, decode_slowed_by_decode;
    uint32_t kv_pages; /* of 16 tokens; measured. 0: unknown, the search must be told */
    uint32_t max_seqs; /* 0: unknown */
    profile_error prefill_error, decode_error, mixed_error;
} profile_engine;

typedef struct profile_link {
    bool known;
    double bytes_per_s; /* one hand-off alone; > 0 */
    double latency_ns;  /* from the last bytes computed to KV verified, without the time of the bytes */
    double kv_token_bytes;
    uint32_t layers; /* pieces of a chunk's KV: that of the first leaves after 1/layers of the step; 1: all
                        at its end; 0: when the whole prompt is computed */
    double fabric_bytes_per_s; /* all hand-offs together; 0: no limit but those of the ends */
} profile_link;

/* What a request costs beside steps, queues and the hand-off, ns. */
typedef struct profile_overheads {
    double arrive_ns;   /* scheduled at the client to routed by the coordinator, nobody waiting */
    double dispatch_ns; /* routed to the worker being able to begin a step with it */
    double emit_ns;     /* a step's end to its tokens at the client */
    double handoff_ns;  /* KV verified at D to the request being in its batch */
} profile_overheads;

typedef struct profile {
    char *name, *model, *machine, *date, *version, *source; /* owned; NULL: unknown */
    char hash[PROFILE_HASH_CHARS];                          /* of everything that changes an answer */
    profile_engine *engines;                                /* [engine_count]; owned */
    uint32_t engine_count;
    profile_link link;
    profile_overheads overheads;
    uint32_t max_context; /* 0: unknown */
} profile;

void profile_free(profile *p);
/* The engine for a role of that shape; NULL: it was not measured. Borrowed. */
const profile_engine *profile_find(const profile *p, worker_role role, uint32_t tp, uint32_t pp);
/* The phase whose mean leave-one-out error is the largest known one. */
typedef struct profile_worst {
    const profile_engine *engine; /* borrowed; NULL: no error is known */
    const char *phase;            /* "prefill", "decode", "mixed" */
    double error;                 /* 0.1 = 10 %; 0: none is known */
} profile_worst;
profile_worst profile_worst_error(const profile *p);
/* Time of a step by its sums, ns, at most an hour; rounded by (uint64_t)(ns + 0.5), that of an engine made of
 * a latency model is latency_ns's, bit for bit. *covered (may be NULL) false: outside of what was measured.
 * PRE: the phases that the step has are in the profile. */
double profile_step_ns(const profile_engine *e, const latency_step *s, bool *covered);
/* An engine of that shape in all roles whose steps take what the model says. Caller frees with
 * profile_engine_done. */
profile_engine profile_engine_modelled(const latency_model *m, uint32_t tp, uint32_t pp);
void profile_engine_done(profile_engine *e);
/* Sets p->hash: of every number, not of the texts; the order of the engines does not matter. */
void profile_seal(profile *p);
/* ST_INVALID names the key ("engines[0].decode.knots[1].x") and what it should be. */
status profile_check(const profile *p, errbuf *eb);

#endif
