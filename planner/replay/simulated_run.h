/* simulated_run - a simulation as a run directory of `baton-bench serve`: run.json, rows.jsonl, rows.csv.
 * What reads those of measured runs reads these; `target` says that nobody was asked. The same bytes each
 * time. */
#ifndef BATON_PLANNER_SIMULATED_RUN_H
#define BATON_PLANNER_SIMULATED_RUN_H

#include "bench/load/outcome.h"
#include "planner/replay/simulation.h"

/* What stands in run.json where a measured run has its server: URL, model and what GET /version would say, of
 * the profile. End with target_done. */
void simulated_target(target *t, const profile *p, uint64_t seed, const char *simulator);
/* Fills m (measurement_done frees it, the simulation is then empty) and v (validity_done) as if the rows had
 * been measured. */
void simulated_measurement(measurement *m, validity *v, simulation *s, const schedule *plan);
/* A line on steps outside of the profile's grid, where there were any, appended. */
void simulated_notes(buf *out, const fleet_totals *t);

#endif
