/* trace_rows - how the readers of the formats add requests to a trace: bounds, order of time and what is left
 * out are judged here, once. */
#ifndef BATON_WORKLOAD_TRACE_ROWS_H
#define BATON_WORKLOAD_TRACE_ROWS_H

#include "bench/workload/lines.h"
#include "bench/workload/trace.h"

/* Adds a request at `at_s` by the file's own clock (NAN in a file without times), whose prefixes are those
 * added since the last row, or leaves it out. ST_INVALID names the line. */
status trace_rows_add(trace *t, const lines *l, double at_s, int64_t prompt_tokens, int64_t output_tokens,
                      errbuf *eb);
status trace_rows_add_prefix(trace *t, const lines *l, trace_prefix prefix, errbuf *eb);

#endif
