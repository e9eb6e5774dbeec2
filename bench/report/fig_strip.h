/* fig_strip - figure 8: what one run was like from its first request to its last, in three small panels. */
#ifndef BATON_REPORT_FIG_STRIP_H
#define BATON_REPORT_FIG_STRIP_H

#include "bench/report/doc.h"
#include "bench/report/results.h"

/* The figure's id. Caller frees with free. */
char *fig_strip_id(const cell *c);
/* Of every cell of the workload that has rows, folded. Not in the Markdown: too many files for a folder that
 * is committed. */
status fig_strips(doc *d, const results *r, const char *workload, errbuf *eb);

#endif
