/* results - an experiment's directory in memory: its cells, its placements and workloads in the order of its
 * file, its SLOs, its machine.
 *
 *   DIR/experiment.json   optional: title, target, SLOs, the order of placements and workloads, the cells to
 * come DIR/machine.json      optional: shown as it is DIR/cells/CELL/       (cell.h)
 */
#ifndef BATON_REPORT_RESULTS_H
#define BATON_REPORT_RESULTS_H

#include "bench/report/cell.h"

#define RESULTS_SLOS_MAX       32u
#define RESULTS_PLACEMENTS_MAX 64u

typedef struct placement {
    char *name; /* owned */
    uint32_t devices;
    bool baseline;
    char *again_of; /* the first of an A/A pair, or NULL: in no table, only in the appendix; owned */
    uint32_t style; /* colour, shape and dashes in all figures */
} placement;

typedef struct results {
    char *dir, *name, *title; /* owned */
    double target;            /* of attainment, 0..1 */
    cell *cells;              /* [cell_count] by workload, placement, rate; owned */
    size_t cell_count;
    placement *placements; /* [placement_count]; owned */
    uint32_t placement_count;
    char **workloads; /* [workload_count]; owned, and each */
    uint32_t workload_count;
    slo slos[RESULTS_SLOS_MAX];
    uint32_t slo_count;
    json_t *machine; /* or NULL; owned */
    json_t *spec;    /* experiment.json, or NULL; owned */
    json_t *tune;    /* tune.json, or NULL; owned */
    buf notes;       /* what is wrong with the directory itself, one line each; owned */
} results;

/* ST_IO when DIR is no experiment's directory, ST_INVALID for an experiment.json that cannot be read. slos:
 * of the command line, in place of those of the file; may be NULL. rejudge: see cell_read. results_done in
 * any case. */
status results_read(results *r, const char *dir, const slo *slos, uint32_t slo_count, bool rejudge,
                    errbuf *eb);
void results_done(results *r);

/* The cell of a placement, a workload and a rate per device (within 1 %); NULL = none. */
const cell *results_find(const results *r, const char *name, const char *workload, double rate_per_device);
/* The next cell of a placement and workload behind `after` (NULL: the first), by rate; NULL = no more. */
const cell *results_next(const results *r, const cell *after, const char *name, const char *workload);
/* The highest rate per device at which all placements have a cell of the workload that counts, had settled
 * and is not unstable; where there is none, one at which the most have. Where no cell had settled, that is
 * not asked. NAN: no cell counts. */
double results_common_rate(const results *r, const char *workload);

/* "TTFT 200 ms, TPOT 50 ms" */
void slo_describe(const slo *s, char *out, size_t size);

#endif
