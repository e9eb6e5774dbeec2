/* fig_timeline - figure 9: some seconds of one run, per worker: prefill, decode, hand-off, idle. */
#ifndef BATON_REPORT_FIG_TIMELINE_H
#define BATON_REPORT_FIG_TIMELINE_H

#include "bench/report/doc.h"
#include "bench/report/results.h"

/* One figure per placement that has a trace: of its cell at the common rate, else of that with the highest
 * rate. Says so where there is no trace. */
status fig_timeline(doc *d, const results *r, const char *workload, errbuf *eb);

#endif
