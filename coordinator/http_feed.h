/* http_feed - an answer of many pieces that no stream of the core is behind: the trace, the live page's
 * events. Not for users of http.h.
 *
 * Either it is pulled (`more` makes the next piece whenever the one before has left, so a reader of any speed
 * holds one piece), or it is pushed to, and the one who pushes looks at http_feed_unsent before. */
#ifndef BATON_COORDINATOR_HTTP_FEED_H
#define BATON_COORDINATOR_HTTP_FEED_H

#include "coordinator/http_client.h"

#define HTTP_FEEDS_MAX 36u /* at once, of both kinds */

typedef struct http_feed_source {
    void *ctx;
    /* Appends the next piece; false: it was the last. Called once in a turn; when it appends nothing, in the
     * next one again. NULL: this feed is pushed to */
    bool (*more)(void *ctx, buf *out);
    /* The feed is over and freed, by whichever side */
    void (*gone)(void *ctx);
} http_feed_source;

struct http_feed {
    http *http;
    http_request *req;
    http_feed_source source;
    bool drained;                  /* the last piece has left */
    struct http_feed *prev, *next; /* all */
};

/* Answers 200 with these headers out. The caller has looked at feed_count. handler, type: static. */
http_feed *http_feed_start(http *h, http_request *req, const char *handler, const char *type,
                           const http_feed_source *source);
void http_feed_push(http_feed *f, const buf *piece);
size_t http_feed_unsent(const http_feed *f);
/* Once per turn: the next piece of those that are pulled */
void http_feeds_turn(http *h);
/* Ends it at once, without an end. f is freed. */
void http_feed_drop(http_feed *f);

#endif
