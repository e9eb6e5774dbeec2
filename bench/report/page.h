/* page - the report's parts in their order: verdict and table, the figures, the appendix. */
#ifndef BATON_REPORT_PAGE_H
#define BATON_REPORT_PAGE_H

#include "bench/report/doc.h"
#include "bench/report/results.h"

/* Errors as plot_run's. */
status page_fill(doc *d, const results *r, errbuf *eb);

#endif
