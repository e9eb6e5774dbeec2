/* validity - whether a run may be believed: the rules that void it. Pure.
 *
 * Lateness and rate are judged for an open loop only: with a concurrency cap, requests wait by intent, and
 * with all requests due at once there is no rate. The achieved rate is judged by the plan, not by the rate
 * asked: of the members that were due in the windows, at most 2 % may have been sent later than the windows'
 * end (and a plan of Poisson arrivals has its own count, which is no fault of the client). */
#ifndef BATON_LOAD_VALIDITY_H
#define BATON_LOAD_VALIDITY_H

#include "base/mem.h"
#include "bench/rows/row_file.h"
#include "bench/workload/schedule.h"

typedef struct validity_facts {
    bool open_loop;
    bool interrupted;      /* what was not sent is nobody's fault */
    bool ignore_eos;       /* answers must have the length asked */
    bool shares_prefixes;  /* cached tokens are intended */
    uint32_t prompt_extra; /* tokens that a chat's template adds */
    double cpu_share;      /* of one core */
    double cached_share;   /* of its prompt tokens, by the server's own metrics; NAN: it does not say */
} validity_facts;

typedef struct lateness {
    double p50_ms, p99_ms, max_ms; /* NAN: nothing was sent */
} lateness;

typedef struct validity {
    lateness late;
    double achieved_rate; /* members sent in time per second of the windows; NAN without such a time */
    char **reasons;       /* [reason_count]; owned */
    size_t reason_count;
} validity;

/* rows: all of the run. End with validity_done. */
void validity_judge(validity *v, const row_list *rows, const schedule *plan, const validity_facts *f);
void validity_done(validity *v);

#endif
