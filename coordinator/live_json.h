/* live_json - what the live page is told, as JSON texts without a newline: the state now, once a second for
 * all who look, and for who comes the requests that have ended before. The page's half is
 * coordinator/live/page.js.
 *
 * A request that has ended is an array, of which there may be many:
 *   [number, ended_ms, "done" | "failed" | "canceled", prompt tokens, output tokens, ttft_ms | null,
 *    tpot_ms | null, total_ms, attempts, spans | null]
 * with spans [[stage, begin_ms after its birth, worker | null], ...]. ended_ms is on the clock of t_ms. One
 * that failed or was canceled has no TPOT: nobody knows when its last token came. */
#ifndef BATON_COORDINATOR_LIVE_JSON_H
#define BATON_COORDINATOR_LIVE_JSON_H

#include "coordinator/health.h"
#include "coordinator/trace.h"

#define LIVE_ROWS_MAX     1000u /* requests in one state: the newest */
#define LIVE_SPANS_MAX    32u   /* of them with spans: the newest */
#define LIVE_HANDOFFS_MAX 16u   /* the oldest */

/* The requests with these numbers of the trace: [begin, end) */
typedef struct live_range {
    uint64_t begin, end;
} live_range;

/* {"t_ms":..,"status":..,"model":..,"version":..,"requests":{..},"workers":[..],"handoffs":{..},
 *  "ended":[..],"left_out":N}; N more ended at the same time than are told */
void live_json_state(buf *out, const core *c, const health_facts *f, bool stopping, const trace *t,
                     const live_range *range, uint64_t now_ns);
/* {"t_ms":..,"left_out":N,"ended":[..]}: all that the trace has kept up to `end`; N others had ended before
 */
void live_json_history(buf *out, const trace *t, uint64_t end, uint64_t now_ns);

#endif
