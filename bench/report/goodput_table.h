/* goodput_table - every placement x workload x SLO: goodput per device, its ratio to the best baseline, and
 * what limits it. */
#ifndef BATON_REPORT_GOODPUT_TABLE_H
#define BATON_REPORT_GOODPUT_TABLE_H

#include "bench/report/curve.h"

/* What the first failing rate's misses say; shares are of the misses. */
typedef struct limiter {
    const cell *cell; /* of the lowest rate that fails, else of the highest rate that counts; NULL = none */
    bool failing;     /* false: no rate failed */
    double share[LIMITS]; /* a miss may be one of several limits */
    double error_share;
    stage longest[LIMITS]; /* stage of those misses */
    bool stages_known;
} limiter;

typedef struct table_entry {
    curve curve;
    ratio to_baseline; /* of curve's goodput; mean = NAN for the baseline itself and where none is known */
    bool is_baseline;  /* the best of the baselines under this SLO */
    limiter limiter;
} table_entry;

typedef struct goodput_table {
    const results *results; /* borrowed */
    table_entry *entries;   /* [workloads][slos][placements]; owned */
    uint32_t *seed_count;   /* [workloads]; owned */
} goodput_table;

void goodput_table_init(goodput_table *t, const results *r);
void goodput_table_done(goodput_table *t);
const table_entry *goodput_table_at(const goodput_table *t, uint32_t workload, uint32_t slo,
                                    uint32_t placement);
/* The best baseline's place among the placements; UINT32_MAX = there is none with a cell that counts. Where
 * none of its cells were settled, its curve has no points that count. */
uint32_t goodput_table_baseline(const goodput_table *t, uint32_t workload, uint32_t slo);
/* The best that is no baseline, alike. */
uint32_t goodput_table_rival(const goodput_table *t, uint32_t workload, uint32_t slo);

/* "TTFT (92 % of misses): queue before prefill; prefill 97 % busy, decode 41 %" */
void limiter_text(const limiter *l, buf *out);

#endif
