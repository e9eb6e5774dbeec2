/* trace_json - traces in JSON lines: Mooncake's, Bailian's and our own. */
#ifndef BATON_WORKLOAD_TRACE_JSON_H
#define BATON_WORKLOAD_TRACE_JSON_H

#include "bench/workload/trace.h"

#define TRACE_MOONCAKE_BLOCK 512u /* tokens that one hash id stands for */
#define TRACE_BAILIAN_BLOCK  16u

/* `first`: the first line, just read, by whose keys the format is told; the rest is read to the end. */
status trace_json_read(trace *t, lines *l, const char *first, errbuf *eb);

#endif
