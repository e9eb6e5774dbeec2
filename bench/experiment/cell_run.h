/* cell_run - one cell: starts its cluster, measures it with baton-bench serve, stops it. */
#ifndef BATON_EXPERIMENT_CELL_RUN_H
#define BATON_EXPERIMENT_CELL_RUN_H

#include "bench/experiment/cell_state.h"
#include "bench/experiment/cluster.h"

typedef struct cell_work {
    const cluster_tools *tools;
    const spec *spec;
    const cell *cell;
    const spec_variant *variant; /* NULL = none */
    bool quick;
    const char *dir; /* of the cell, absolute; what is in it is removed first */
} cell_work;

/* Fills *out but for `attempts`: what fails on the way is the cell's reason, not an error here. ST_CANCELED:
 * a stop was asked for, the cluster is stopped and the cell has not ended. ST_IO: the directory cannot be
 * written. */
status cell_run(const cell_work *w, cell_state *out, errbuf *eb);

/* Longest that serve may take: warm-up, windows, the last requests, and what its start and end take, s. */
double cell_serve_limit_s(const spec *s, const cell *c);

#endif
