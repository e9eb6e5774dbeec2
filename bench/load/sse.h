/* sse - a stream of server-sent events, split piece by piece. Pure.
 *
 * Events end with an empty line; lines end with LF, CR LF or CR; lines that begin with a colon are comments;
 * several data lines of one event are joined by LF. An event that lies whole in what is fed is not copied. */
#ifndef BATON_LOAD_SSE_H
#define BATON_LOAD_SSE_H

#include "base/mem.h"
#include "base/status.h"

#include <stdbool.h>

#define SSE_EVENT_MAX (4u << 20) /* bytes of one event */

typedef struct sse {
    buf line;      /* begun, not ended */
    buf data;      /* of the event that is not ended */
    bool has_data; /* it has a data line */
    bool error;    /* it has "event: error" */
    bool after_cr; /* a LF that follows belongs to the line's end */
} sse;

/* data: borrowed for the call. error: the event is named "error". */
typedef void (*sse_event_fn)(void *ctx, const char *data, size_t len, bool error);

void sse_begin(sse *s);
void sse_done(sse *s);
/* ST_CORRUPT: an event of more than SSE_EVENT_MAX bytes */
status sse_feed(sse *s, const char *bytes, size_t count, sse_event_fn event, void *ctx, errbuf *eb);
/* Something is begun that no empty line has ended */
bool sse_pending(const sse *s);

#endif
