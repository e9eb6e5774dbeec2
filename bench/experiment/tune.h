/* tune - which variant of a placement is used for a workload's grid: the best of those that were tried, kept
 * in DIR/tune.json. What was chosen once stays chosen when an experiment goes on. */
#ifndef BATON_EXPERIMENT_TUNE_H
#define BATON_EXPERIMENT_TUNE_H

#include "base/status.h"
#include "bench/experiment/plan.h"

typedef struct tuning tuning;

/* Reads DIR/tune.json where it is there. ST_INVALID: it names a variant that the spec does not have. Caller
 * frees with tuning_free; spec and plan are borrowed until then. */
status tuning_open(tuning **out, const spec *s, const plan *p, const char *dir, errbuf *eb);
void tuning_free(tuning *t);

/* The variant for the cell: what was chosen, or else the first; NULL when the placement has none. */
const spec_variant *tuning_variant(const tuning *t, const cell *c);

/* After a tuning cell has ended: when all of its placement and workload have, chooses and writes the file.
 * told: a sentence about the choice, "" = nothing was chosen. */
status tuning_choose(tuning *t, const cell *after, char *told, size_t size, errbuf *eb);

/* How good a cell's rows are: the median over the SLOs of the attainment, or that at the SLO `by`; then the
 * mean over all SLOs, which tells apart what is equal. Pure but for reading the rows. */
typedef struct tune_score {
    double by, mean;
} tune_score;
status tune_score_of(tune_score *out, const spec *s, const char *cell_dir, errbuf *eb);

#endif
