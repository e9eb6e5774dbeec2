/* fig_stages - figure 5: where the time of a request goes, by the server's own stage times. */
#ifndef BATON_REPORT_FIG_STAGES_H
#define BATON_REPORT_FIG_STAGES_H

#include "bench/report/doc.h"
#include "bench/report/results.h"

/* Means at the common rate, stacked: what makes up TTFT, and what follows it. */
status fig_stages(doc *d, const results *r, const char *workload, errbuf *eb);

#endif
