/* compare_page - a comparison as a page and as Markdown with its figure. */
#ifndef BATON_PLANNER_COMPARE_PAGE_H
#define BATON_PLANNER_COMPARE_PAGE_H

#include "bench/report/doc.h"
#include "planner/replay/compare_text.h"

/* Errors as plot_run's. */
status compare_page(doc *d, const compare *c, const compare_source *from, errbuf *eb);

#endif
