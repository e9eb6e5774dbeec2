/* fig_predicted - predicted against measured latencies: one point per cell, on the diagonal where both agree.
 */
#ifndef BATON_PLANNER_FIG_PREDICTED_H
#define BATON_PLANNER_FIG_PREDICTED_H

#include "bench/report/doc.h"
#include "planner/replay/compare.h"

/* Errors as plot_run's. */
status fig_predicted(doc *d, const compare *c, errbuf *eb);

#endif
