/* fig_latency - figures of how long things take, with their numbers folded below: 4 percentiles against rate,
 * 5 stages, 6 complementary distributions, 7 speed per device against speed per user. */
#ifndef BATON_REPORT_FIG_LATENCY_H
#define BATON_REPORT_FIG_LATENCY_H

#include "bench/report/doc.h"
#include "bench/report/results.h"

status fig_latency(doc *d, const results *r, const char *workload, errbuf *eb);
status fig_tails(doc *d, const results *r, const char *workload, errbuf *eb);
status fig_speed(doc *d, const results *r, const char *workload, errbuf *eb);

#endif
