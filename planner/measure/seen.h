/* seen - what a cluster's trace tells: the steps of its workers with the sums that their time depends on, and
 * the stages of requests. Read from the JSON of /trace (coordinator/trace_json.h). Pure.
 *
 * Times are nanoseconds of the coordinator's clock, which is that of every process of its machine. */
#ifndef BATON_PLANNER_SEEN_H
#define BATON_PLANNER_SEEN_H

#include "base/role.h"
#include "base/status.h"
#include "latency/latency.h"

#define SEEN_NEVER       UINT64_MAX
#define SEEN_WORKERS_MAX 64u

typedef struct seen_step {
    uint32_t worker; /* index into workers */
    uint64_t begin_ns, end_ns;
    latency_step sum;
    double by_prefill, by_decode; /* share of its time in which another worker computed prompts (mixed steps,
                                     too), or decoded only; of several workers, the sum of their shares */
} seen_step;

typedef enum seen_stage {
    SEEN_QUEUE,
    SEEN_PREFILL,
    SEEN_HANDOFF,
    SEEN_DECODE_WAIT,
    SEEN_DECODE,
    SEEN_STAGES
} seen_stage;

typedef struct seen_request {
    uint64_t req; /* ascending in the order of arrival */
    uint64_t born_ns, end_ns;
    uint64_t begin_ns[SEEN_STAGES]; /* the last time; SEEN_NEVER: it was not entered */
    uint32_t prompt_tokens, output_tokens, attempts;
} seen_request;

typedef struct seen_worker {
    char name[64];
    worker_role role; /* ROLE_COUNT: its name tells none */
    uint64_t steps_left_out;
} seen_worker;

typedef struct seen {
    seen_step *steps; /* [step_count], by worker, then begin; owned */
    uint32_t step_count;
    seen_request *requests; /* [request_count] by req; owned */
    uint32_t request_count;
    seen_worker workers[SEEN_WORKERS_MAX];
    uint32_t worker_count;
} seen;

/* A trace whose steps have no sums is refused, as is what is no trace: ST_INVALID. Caller frees with
 * seen_done. */
status seen_read(seen *out, const char *json, errbuf *eb);
void seen_done(seen *s);
/* Steps that the trace does not have, though they ran. */
uint64_t seen_left_out(const seen *s);
/* What the role of step's worker is. */
worker_role seen_role(const seen *s, const seen_step *step);

#endif
