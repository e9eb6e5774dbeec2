/* runner - all cells of an experiment, one after the other; goes on where an earlier run of it ended. */
#ifndef BATON_EXPERIMENT_RUNNER_H
#define BATON_EXPERIMENT_RUNNER_H

#include "bench/experiment/build.h"
#include "bench/experiment/cluster.h"
#include "bench/experiment/plan.h"

typedef struct runner_options {
    const spec *spec;
    const plan *plan;
    const cluster_tools *tools;
    const build_id *build; /* noted in each cell */
    const char *dir;       /* absolute */
    bool quick, retry;     /* retry: void and failed cells that are there are run again */
    char *const *only;     /* patterns (fnmatch) of names of cells; those that tune for them run too */
    uint32_t only_count;
} runner_options;

typedef struct runner_result {
    uint32_t done, void_, failed, left; /* cells, of those that were asked for */
} runner_result;

/* Whether the options ask for the cell. */
bool runner_wants(const runner_options *o, const cell *c);
/* Seconds that the cell takes, by the file's word. */
double runner_estimate_s(const spec *s, const cell *c);

/* ST_INVALID: cells that are done are of another build, or one cannot be read; the text says the remedy. */
status runner_check_build(const runner_options *o, errbuf *eb);

/* Prints a line per cell. A cell that fails is tried once more, then recorded, and the others go on.
 * ST_CANCELED: a stop was asked for; ST_IO: the directory cannot be written any more. *out is filled in any
 * case. */
status runner_run(const runner_options *o, runner_result *out, errbuf *eb);

#endif
