/* trace_csv - Azure's and BurstGPT's comma-separated files. Columns are found by their names in the first
 * line, so that others may stand between them. No quotes. */
#ifndef BATON_WORKLOAD_TRACE_CSV_H
#define BATON_WORKLOAD_TRACE_CSV_H

#include "bench/workload/trace.h"

/* `header`: the first line, just read; the rest is read to the end. Its text is written to. */
status trace_csv_read(trace *t, lines *l, char *header, errbuf *eb);

#endif
