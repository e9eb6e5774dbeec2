/* fig_strip - figure 8: what one run was like from its first request to its last, in three small panels. */
#ifndef BATON_REPORT_FIG_STRIP_H
#define BATON_REPORT_FIG_STRIP_H

#include "bench/report/cell.h"
#include "bench/report/doc.h"

/* The figure's id. Caller frees with free. */
char *fig_strip_id(const cell *c);
/* PRE: the cell has rows. */
status fig_strip(doc *d, const cell *c, errbuf *eb);

#endif
