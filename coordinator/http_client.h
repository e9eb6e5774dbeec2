/* http_client - one pending HTTP request: from its body to the last byte of its answer. Not for users of
 * http.h.
 *
 *   body -> job (text) -> stream -> reply | headers, events, end
 *
 * A client has its request until the reply is handed over or the connection ends, whichever comes first; both
 * end in http_client_free, after which the server does not point here. */
#ifndef BATON_COORDINATOR_HTTP_CLIENT_H
#define BATON_COORDINATOR_HTTP_CLIENT_H

#include "coordinator/http_options.h"
#include "coordinator/http_server.h"

#define HTTP_REQUEST_ID_MAX (API_ID_MAX + 1u)

typedef struct http_client {
    http *http;
    http_request *req;   /* NULL after the reply or the connection's end */
    const char *handler; /* static: the path, for the metrics */
    api_kind kind;
    text_job *job;        /* away at the text thread, or NULL */
    stream *stream;       /* or NULL */
    uint64_t first_by_ns; /* see core_request */
    bool started;         /* headers are out */
    bool dirty;           /* on the list of those to render */
    char request_id[HTTP_REQUEST_ID_MAX];
    struct http_client *prev, *next;             /* all */
    struct http_client *dirty_prev, *dirty_next; /* to render */
} http_client;

typedef struct http_feed http_feed;

struct http {
    http_options opt;
    http_server *server;
    bool stopping;
    uint32_t client_count;
    http_client *clients, *dirty;
    http_feed *feeds; /* [feed_count] see http_feed.h */
    uint32_t feed_count;
    struct { /* see live.h */
        struct live_reader *readers;
        uint32_t count;
        uint64_t due_ns; /* of the next state */
        uint64_t told;   /* requests of the trace, by their numbers */
    } live;
    uint64_t scan_ns; /* next look at connections */
    buf scratch;      /* what a render makes, given to libevent at once */
};

/* Takes the request over; its answer comes now or later. path: static. */
void http_client_start(http *h, http_request *req, const char *path, api_kind kind);
void http_client_render(http_client *c);
/* Ends it with an error: as a status when nothing was sent, else in the stream. */
void http_client_fail(http_client *c, uint32_t code, const char *why);

/* A whole reply to a request that is nobody's client (any more). body: not kept. */
void http_reply(http *h, http_request *req, const char *handler, uint32_t code, const char *content_type,
                const buf *body);
void http_reply_error(http *h, http_request *req, const char *handler, const api_error *e);

#endif
