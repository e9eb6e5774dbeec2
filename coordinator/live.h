/* live - the page at / and the events that it follows. Not for users of http.h.
 *
 * GET /events answers with server-sent events: `history` once, then `state` every second. One state is made
 * for all readers, and none while nobody reads. A reader whose connection is behind by more than LIVE_OUT_MAX
 * bytes misses states until it has caught up, and is dropped like any other that does not read. */
#ifndef BATON_COORDINATOR_LIVE_H
#define BATON_COORDINATOR_LIVE_H

#include "coordinator/http_client.h"

#define LIVE_READERS_MAX 32u
#define LIVE_OUT_MAX     ((size_t)1 << 20)

/* /, /live.js, /live.css; path: static */
void live_page(http *h, http_request *req, const char *path);
void live_events(http *h, http_request *req, const char *path);
/* Once per turn: tells all readers, when a second has passed */
void live_turn(http *h, uint64_t now_ns);

#endif
