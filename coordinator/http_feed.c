#include "coordinator/http_feed.h"

#include "base/clock.h"
#include "base/log.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <utlist.h>

static struct evbuffer *output_of(const http_feed *f) {
    return bufferevent_get_output(evhttp_connection_get_bufferevent(evhttp_request_get_connection(f->req)));
}

/* The request is the caller's from here on. */
static struct evhttp_request *feed_free(http_feed *f) {
    http *h = f->http;
    struct evhttp_request *req = f->req;
    struct evhttp_connection *conn = evhttp_request_get_connection(req);
    if (conn) evhttp_connection_set_closecb(conn, NULL, NULL);
    event_free(f->closed);
    DL_DELETE(h->feeds, f);
    h->feed_count--;
    f->source.gone(f->source.ctx);
    free(f);
    return req;
}

void http_feed_drop(http_feed *f) {
    PRE(f);
    struct evhttp_request *req = feed_free(f);
    struct evhttp_connection *conn = evhttp_request_get_connection(req);
    if (conn)
        evhttp_connection_free(conn); /* with the request */
    else
        evhttp_request_free(req);
}

static void on_closed(evutil_socket_t fd, short what, void *ctx) {
    (void)fd, (void)what;
    http_feed_drop(ctx);
}

/* evhttp gives the connection up by itself, and frees it. */
static void on_connection_end(struct evhttp_connection *conn, void *ctx) {
    (void)conn;
    struct evhttp_request *req = feed_free(ctx);
    if (!evhttp_request_get_connection(req)) evhttp_request_free(req);
}

static void on_drained(struct evhttp_connection *conn, void *ctx) {
    (void)conn;
    http_feed *f = ctx;
    f->drained = true;
}

http_feed *http_feed_start(http *h, struct evhttp_request *req, const char *handler, const char *type,
                           const http_feed_source *source) {
    PRE(h);
    PRE(req);
    PRE(handler);
    PRE(type);
    PRE(source);
    PRE(source->gone);
    PRE(h->feed_count < HTTP_FEEDS_MAX);
    http_feed *f = xcalloc(1, sizeof *f);
    f->http = h;
    f->req = req;
    f->source = *source;
    f->drained = true;
    f->drained_ns = clock_now_ns();
    DL_APPEND(h->feeds, f);
    h->feed_count++;
    struct evhttp_connection *conn = evhttp_request_get_connection(req);
    evutil_socket_t fd = bufferevent_getfd(evhttp_connection_get_bufferevent(conn));
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    evhttp_connection_set_closecb(conn, on_connection_end, f);
    f->closed = event_new(loop_base(h->opt.loop), fd, EV_CLOSED, on_closed, f);
    CHECK(f->closed);
    CHECK(event_add(f->closed, NULL) == 0);
    struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
    evhttp_add_header(headers, "Content-Type", type);
    evhttp_add_header(headers, "Cache-Control", "no-cache");
    meter_http(h->opt.meter, handler, 200);
    evhttp_send_reply_start(req, 200, "OK");
    return f;
}

void http_feed_push(http_feed *f, const buf *piece) {
    PRE(f);
    PRE(piece);
    if (!piece->len) return; /* an empty chunk would be the end */
    struct evbuffer *chunk = evbuffer_new();
    CHECK(chunk);
    CHECK(evbuffer_add(chunk, piece->data, piece->len) == 0);
    size_t before = http_feed_unsent(f);
    f->drained = false;
    evhttp_send_reply_chunk_with_cb(f->req, chunk, on_drained, f);
    f->sent_bytes += http_feed_unsent(f) - before;
    evbuffer_free(chunk);
}

size_t http_feed_unsent(const http_feed *f) {
    PRE(f);
    return evbuffer_get_length(output_of(f));
}

/* A source that had much to look at and nothing to say goes on in the next turn, which comes at once. */
static void pull(http_feed *f) {
    buf *out = &f->http->scratch;
    buf_reset(out);
    bool more = f->source.more(f->source.ctx, out);
    if (more && !out->len) loop_wake(f->http->opt.loop);
    http_feed_push(f, out);
    if (!more) evhttp_send_reply_end(feed_free(f));
}

void http_feeds_turn(http *h) {
    PRE(h);
    http_feed *f, *next;
    DL_FOREACH_SAFE(h->feeds, f, next) {
        if (f->source.more && f->drained) pull(f);
    }
}

void http_feed_check(http_feed *f, uint64_t now_ns) {
    PRE(f);
    size_t unsent = http_feed_unsent(f);
    uint64_t drained = f->sent_bytes - MIN(f->sent_bytes, unsent);
    if (unsent == 0 || drained > f->drained_bytes) {
        f->drained_bytes = drained;
        f->drained_ns = now_ns;
    } else if (now_ns > f->drained_ns && now_ns - f->drained_ns >= f->http->opt.slow_client_ns) {
        log_warn("http", "reader does not read, dropped", "unsent=%zu", unsent);
        http_feed_drop(f);
    }
}
