/* fig_map - figure 3: over both limits, where which placement has the highest goodput per device. */
#ifndef BATON_REPORT_FIG_MAP_H
#define BATON_REPORT_FIG_MAP_H

#include "bench/report/doc.h"
#include "bench/report/goodput_table.h"

/* Scores the same rows for a grid of limits. Hatched: the interval of the ratio between the winner and the
 * best of the other kind (baseline or not; of any, where there is one kind) contains 1. */
status fig_map(doc *d, const goodput_table *t, uint32_t workload, errbuf *eb);

#endif
