#include "coordinator/http_feed.h"

#include <stdlib.h>
#include <utlist.h>

/* The request is the caller's from here on. */
static http_request *feed_free(http_feed *f) {
    http *h = f->http;
    http_request *req = f->req;
    req->owner = NULL;
    req->gone = req->drained = NULL;
    DL_DELETE(h->feeds, f);
    h->feed_count--;
    f->source.gone(f->source.ctx);
    free(f);
    return req;
}

void http_feed_drop(http_feed *f) {
    PRE(f);
    http_drop(feed_free(f));
}

static void on_gone(void *ctx) {
    (void)feed_free(ctx);
}

static void on_drained(void *ctx) {
    http_feed *f = ctx;
    f->drained = true;
}

http_feed *http_feed_start(http *h, http_request *req, const char *handler, const char *type,
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
    DL_APPEND(h->feeds, f);
    h->feed_count++;
    req->owner = f;
    req->gone = on_gone;
    req->drained = on_drained;
    struct evkeyvalq *headers = &req->out;
    evhttp_add_header(headers, "Content-Type", type);
    evhttp_add_header(headers, "Cache-Control", "no-cache");
    meter_http(h->opt.meter, handler, "GET", 200);
    http_send_start(req, 200);
    return f;
}

void http_feed_push(http_feed *f, const buf *piece) {
    PRE(f);
    PRE(piece);
    if (!piece->len) return;
    f->drained = false;
    http_send_piece(f->req, piece->data, piece->len);
}

size_t http_feed_unsent(const http_feed *f) {
    PRE(f);
    return http_unsent(f->req);
}

/* A source that had much to look at and nothing to say goes on in the next turn, which comes at once. */
static void pull(http_feed *f) {
    buf *out = &f->http->scratch;
    buf_reset(out);
    bool more = f->source.more(f->source.ctx, out);
    if (more && !out->len) loop_wake(f->http->opt.loop);
    http_feed_push(f, out);
    if (!more) http_send_end(feed_free(f));
}

void http_feeds_turn(http *h) {
    PRE(h);
    http_feed *f, *next;
    DL_FOREACH_SAFE(h->feeds, f, next) {
        if (f->source.more && f->drained) pull(f);
    }
}
