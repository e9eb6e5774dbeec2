/* replay_cell - a measured cell of an experiment simulated: the cluster of its cluster.yaml gets the very
 * requests of its rows.jsonl, at their times and with their lengths, and answers in a cell of its own. */
#ifndef BATON_PLANNER_REPLAY_CELL_H
#define BATON_PLANNER_REPLAY_CELL_H

#include "bench/rows/run_file.h"
#include "bench/workload/schedule.h"
#include "planner/fleet/fleet.h"

typedef struct replay_options {
    const profile *profile; /* borrowed */
    uint64_t noise_seed;
    bool extrapolate;
    const char *const *sets; /* [set_count] that change each cluster.yaml; borrowed */
    uint32_t set_count;
} replay_options;

typedef struct replay_cell {
    fleet_placement placement;
    fleet_totals totals;
    bool cut; /* the last row of the measured cell was half, and was left out */
    uint32_t requests;
    double capacity; /* requests per second when all are there from the start; of as many as it takes */
} replay_cell;

/* from, to: folders of cells; `to` is made, and gets run.json, rows.jsonl, rows.csv and state.json.
 * ST_INVALID names the file and what is wrong with it, or says why the cell cannot be simulated; ST_IO. */
status replay_cell_run(replay_cell *out, const char *from, const char *to, const replay_options *o,
                       errbuf *eb);

/* The schedule that was sent, of its rows, which are put into its order. ST_INVALID: no row is a member of a
 * window. End with schedule_done. */
status replay_schedule(schedule *out, row_list *rows, const run_info *info, errbuf *eb);

#endif
