/* measurement - one run from its first request to its last: what is sent, measured, and noted beside it. */
#ifndef BATON_LOAD_MEASUREMENT_H
#define BATON_LOAD_MEASUREMENT_H

#include "bench/load/runner.h"
#include "bench/load/target.h"
#include "bench/rows/run_file.h"

typedef struct measurement {
    row_list rows;
    runner_state how;
    bool interrupted;  /* Ctrl-C */
    double duration_s; /* first request due to last answer of a member */
    double wall_s;     /* of the whole, with what comes before and after */
    double cpu_share;  /* of this process, of one core */
    bool failed;       /* error says why; the rows are kept */
    errbuf error;
    double cached_share; /* prompt tokens that the server's prefix cache had (facts.h); NAN: unknown */
    run_info server;     /* workers, preemptions, replays, coordinator_cpu_share only */
} measurement;

typedef struct measurement_options {
    const target *target;
    const workload *work;
    const schedule *plan;
    row_writer *writer; /* NULL: rows are not written */
    uint32_t max_concurrency;
    bool closed;
    double request_timeout_s, stall_s;
    bool quiet; /* no progress lines */
} measurement_options;

/* Rows are written as they end. ST_IO: it could not begin; what happens later is in *m. End with
 * measurement_done, on failure too. */
status measurement_run(measurement *m, const measurement_options *o, errbuf *eb);
void measurement_done(measurement *m);

#endif
