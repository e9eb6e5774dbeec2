/* fig_attainment - the figures that judge: goodput per device, and attainment against rate. */
#ifndef BATON_REPORT_FIG_ATTAINMENT_H
#define BATON_REPORT_FIG_ATTAINMENT_H

#include "bench/report/doc.h"
#include "bench/report/goodput_table.h"

/* Figure 1: dots with intervals, per SLO. Hollow: not enclosed by a PASS and a FAIL. */
status fig_goodput(doc *d, const goodput_table *t, uint32_t workload, errbuf *eb);
/* Figure 2: per SLO a panel; joint, TTFT and TPOT; and the numbers, folded. */
status fig_attainment(doc *d, const goodput_table *t, uint32_t workload, errbuf *eb);

#endif
