/* plan - the cells of an experiment in the order in which they run. Pure.
 *
 * First the cells in which the variants of placements are compared, then the grid. Interleaved: the cells of
 * one workload and rate of all placements stand next to each other, so that slow drift of the machine hits
 * all alike, and each rate begins with another placement, so that none is always first. Every cell of a
 * workload has the same seeds: the same requests at the same times (scaled to the rate), whatever serves. */
#ifndef BATON_EXPERIMENT_PLAN_H
#define BATON_EXPERIMENT_PLAN_H

#include "bench/experiment/spec_check.h"

#define PLAN_NO_VARIANT UINT32_MAX

typedef struct cell {
    char *name;         /* PLACEMENT@WORKLOAD@RATE, PLACEMENT~VARIANT@WORKLOAD@RATE while tuning */
    char *shown;        /* placement of the name: "X", "X-again", "X~VARIANT" */
    uint32_t placement; /* of the spec; the second copy of the A/A pair has its first one's */
    bool again, tuning;
    uint32_t variant; /* tuning: which; else PLAN_NO_VARIANT: what was chosen */
    uint32_t workload, rate_index;
    double rate; /* requests per second */
    uint32_t devices;
} cell;

typedef struct plan {
    cell *cells; /* [count] */
    uint32_t count;
} plan;

/* facts: [placement_count], from spec_check without problems. Caller frees with plan_done. */
void plan_make(plan *out, const spec *s, const spec_facts *facts, bool quick);
void plan_done(plan *p);

/* Warm-up and windows of the cell, seconds. */
double plan_measured_s(const spec *s, const cell *c);
const spec_numbers *plan_seeds(const spec *s, const cell *c);

/* The cell's run directory: ROOT/cells/NAME, while tuning ROOT/tune/NAME. Caller frees with free. */
char *plan_cell_dir(const cell *c, const char *root);

/* What serve is started with, after its name; NULL at the end. http, native: URLs of the cluster; which one
 * is asked is the spec's backend. dir: the cell's. Caller frees with spec_texts_done. */
void plan_serve_args(spec_texts *out, const spec *s, const cell *c, const char *http, const char *native,
                     const char *dir);

#endif
