/* trace - the recent past: requests that have ended, and the steps of workers. Plain data in two rings; pages
 * are made of it (trace_json.h, live_json.h).
 *
 * An event costs the same whatever is kept: it overwrites the oldest. Memory is taken at once and stays:
 * 4,096 requests of 344 bytes, 262,144 steps of 56 bytes, a name for each of WORKERS_MAX; together below 17
 * MiB.
 *
 * Entries are numbered from 0 as they come, for ever. A reader keeps numbers, so what was overwritten
 * meanwhile is noticed and left out.
 *
 * Times are the coordinator's clock. A worker's step is placed by the arrival of the heartbeat that told of
 * it, minus its age; since arrivals vary, a step is cut where it would overlap the one before. Thread: the
 * loop's.
 */
#ifndef BATON_COORDINATOR_TRACE_H
#define BATON_COORDINATOR_TRACE_H

#include "coordinator/core_types.h"

#define TRACE_REQUESTS 4096u
#define TRACE_STEPS    262144u
#define TRACE_WORKERS  WORKERS_MAX /* so that no two living ones have the same place: see member.number */
#define TRACE_NAME_MAX 64u         /* with the NUL; longer names are cut */

typedef struct trace_step {
    uint64_t begin_ns;
    uint32_t duration_us; /* as it is placed */
    uint32_t told_us;     /* as the worker measured it */
    uint32_t worker;
    latency_step sums;
} trace_step;

typedef struct trace_worker {
    uint32_t number; /* 0: none here */
    worker_role role;
    uint64_t busy_until_ns;  /* end of its last step */
    uint64_t steps_left_out; /* that its heartbeats had no room for */
    char name[TRACE_NAME_MAX];
} trace_worker;

typedef struct trace trace;

trace *trace_new(void);
void trace_free(trace *t);
/* For the core's sink. Copied. */
void trace_record(trace *t, const core_record *r);
void trace_add_steps(trace *t, const core_steps *s);

/* The number that the next entry will get. */
uint64_t trace_requests_end(const trace *t);
uint64_t trace_steps_end(const trace *t);
/* The oldest that is kept, or the end. */
uint64_t trace_requests_begin(const trace *t);
uint64_t trace_steps_begin(const trace *t);
/* NULL: overwritten, or not yet. Borrowed until the next event. */
const core_record *trace_request_at(const trace *t, uint64_t number);
const trace_step *trace_step_at(const trace *t, uint64_t number);
/* NULL: unknown, or it left and its place is another's. */
const trace_worker *trace_worker_of(const trace *t, uint32_t number);

#endif
