/* trace_json - the recent past as Chrome trace JSON, which Perfetto (ui.perfetto.dev) opens: made piece by
 * piece, so that neither it nor its reader is ever held in memory.
 *
 *   coordinator   a lane of slices per request alive at once: "request 17" over queue, prefill, hand-off,
 *                 decode wait, decode
 *   each worker   its steps (name: the kind, args: its latency_step, and the duration before it was cut);
 *                 lanes of what it did for requests
 *
 *   arrows        from a prefill to the decode that its KV went to
 *
 * A worker's process has args.steps_left_out when its heartbeats had no room for that many steps.
 *
 * Times are microseconds of the coordinator's clock, to the nanosecond. In a lane slices lie inside each
 * other or apart. Requests that are overwritten while a slow reader reads are left out. */
#ifndef BATON_COORDINATOR_TRACE_JSON_H
#define BATON_COORDINATOR_TRACE_JSON_H

#include "base/mem.h"
#include "coordinator/trace.h"

#define TRACE_PIECE 65536u /* a piece is longer than that by the events of one request at most */

typedef struct trace_json trace_json;

/* Of the `last` requests that ended, of those alive (core_alive; copied), and of the steps that touch their
 * time. t is borrowed until trace_json_free; meanwhile 2 KiB for each of these requests are held at most. */
trace_json *trace_json_new(const trace *t, uint32_t last, const core_record *alive, uint32_t alive_count);
void trace_json_free(trace_json *j);
/* Appends the next piece, which is empty when many steps were looked at and none belongs to it. False: that
 * was the last. */
bool trace_json_next(trace_json *j, buf *out);

#endif
