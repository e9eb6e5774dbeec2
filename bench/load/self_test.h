/* self_test - how much this client can do, and what it adds to a latency, measured against its built-in
 * server with requests like those of the run. Takes about a second. Over HTTP, also before a run over the
 * native socket, for which it is a bound. */
#ifndef BATON_LOAD_SELF_TEST_H
#define BATON_LOAD_SELF_TEST_H

#include "bench/workload/schedule.h"
#include "bench/workload/workload.h"

typedef struct self_test {
    double requests_per_s, tokens_per_s; /* the largest rate, several at a time */
    double added_ms;                     /* P50 of TTFT, one at a time */
    double cpu_us_per_token;             /* of the client; requests are in it */
    bool interrupted;                    /* Ctrl-C: nothing else is known */
} self_test;

/* plan: lengths are those of its first requests. */
status self_test_run(self_test *out, const workload *w, const schedule *plan, errbuf *eb);

#endif
