/* event_log - the events of the core (core_types.h) in a file, one JSON object per line:
 *
 *   {"time":"2026-11-21T10:00:00.123Z","t_ms":81234.5,"event":"gone","worker":"decode-0","role":"decode",
 *    "incarnation":"16 hexadecimal digits","req":null,"id":null,"attempt":null,"cause":null,"reason":"..."}
 *
 * Every line has every key; what does not apply is null. time: of the wall clock; t_ms: of the clock that
 * only goes on, as in /events. req is the number that log lines have, id the client's x-request-id.
 *
 * A thread of its own writes: a full disk or a file that hangs costs lines, which are counted, and never the
 * loop's time. A line is whole or not there. When the file would grow beyond bytes_max it becomes FILE.1, in
 * the place of an earlier one, and a new one is begun; so the two together are bounded.
 *
 * Thread: the loop's. */
#ifndef BATON_COORDINATOR_EVENT_LOG_H
#define BATON_COORDINATOR_EVENT_LOG_H

#include "coordinator/stream.h"

#define EVENT_LOG_LINES_MAX 4096u /* on their way to the thread */
#define EVENT_LOG_BYTES_MAX ((uint64_t)64 << 20)

typedef struct event_log event_log;

/* ST_IO: it cannot be opened. path: copied. Caller frees with event_log_free. */
status event_log_open(event_log **out, const char *path, uint64_t bytes_max, errbuf *eb);
/* What is on its way is written, if that takes no longer than a second. */
void event_log_free(event_log *l);
/* id: the client's name of the request, or NULL. A no-op when l is NULL, as for a config without the file. */
void event_log_add(event_log *l, const core_event *e, const char *id, uint64_t now_ns);
/* The client of s leaves: EVENT_CLIENT_LEFT, if it waited for anything yet. cause: one word. s may be NULL.
 */
void event_log_left(event_log *l, const stream *s, const char *cause, const char *reason, uint64_t now_ns);
/* Lines that were not written; 0 when l is NULL */
uint64_t event_log_dropped(const event_log *l);

#endif
