/* step_trace - a run's trace.json (Chrome's trace format) as rows of spans, one row per worker. */
#ifndef BATON_REPORT_STEP_TRACE_H
#define BATON_REPORT_STEP_TRACE_H

#include "base/status.h"

#include <stdint.h>

typedef enum span_kind { SPAN_PREFILL, SPAN_DECODE, SPAN_MIXED, SPAN_HANDOFF } span_kind;
#define SPAN_KINDS 4

typedef struct span {
    double begin_s, end_s; /* since the trace's first span */
    span_kind kind;
    uint32_t worker;
} span;

typedef struct step_trace {
    char **workers; /* [worker_count]: names, in the order in which they come; owned, and each */
    uint32_t worker_count;
    span *spans; /* [span_count] by begin; owned */
    size_t span_count;
    double end_s;
} step_trace;

/* Complete events ("X") whose name begins with prefill, decode, mixed, or hand-off / handoff; others are
 * passed over. A worker is a process or thread that such an event stands on. ST_IO: there is no file;
 * ST_INVALID: it is none. step_trace_done in any case. */
status step_trace_read(step_trace *t, const char *path, errbuf *eb);
void step_trace_done(step_trace *t);
/* "prefill", "decode", "both", "hand-off" */
const char *span_text(span_kind k);

#endif
