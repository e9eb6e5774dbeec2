/* simulation - a schedule sent to a cluster that is simulated (planner/fleet), and the rows of it: what
 * `baton-bench serve` would have measured with a client that is never late.
 *
 * As there the run is over when every member of a window has ended: what still runs then is unfinished, and
 * the rest of the tail is not sent. A request that the client gives up is a miss from then on; the simulated
 * cluster, unlike a real one, computes it to its end. Prompts share nothing: there is no prefix cache. */
#ifndef BATON_PLANNER_SIMULATION_H
#define BATON_PLANNER_SIMULATION_H

#include "bench/rows/run_file.h"
#include "bench/workload/schedule.h"
#include "coordinator/trace.h"
#include "planner/fleet/fleet.h"

typedef struct simulation_options {
    fleet_options fleet;         /* what is simulated; borrowed pointers */
    const schedule *plan;        /* without warm-ups before the clock starts; borrowed */
    uint64_t request_timeout_ns; /* of the client */
    row_writer *writer;          /* NULL: rows are not written */
    trace *trace;                /* NULL: steps and requests are not kept */
} simulation_options;

typedef struct simulation {
    row_list rows;     /* in the order of their ends */
    run_info server;   /* workers, preemptions, replays only */
    double duration_s; /* first request due to last answer of a member */
    fleet_totals totals;
} simulation;

/* ST_INVALID: what fleet_new and fleet_run refuse; ST_IO: of the writer. End with simulation_done, on failure
 * too. */
status simulation_run(simulation *out, const simulation_options *o, errbuf *eb);
void simulation_done(simulation *s);

/* "prefill-0": as a real cluster names its workers. Returns out. */
const char *simulation_worker_name(const fleet_placement *p, uint32_t worker, char *out, size_t size);

#endif
