#include "bench/load/http_fetch.h"

#include "base/clock.h"
#include "net/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct http_fetch {
    http_exchange *exchange;
    http_fetch_fn done;
    void *ctx;
    size_t max_bytes;
    bool cut;
    buf body;
};

static void on_body(void *ctx, const http_response *r, const char *bytes, size_t count, uint64_t at_ns) {
    (void)r, (void)at_ns;
    http_fetch *f = ctx;
    if (f->body.len + count > f->max_bytes)
        f->cut = true;
    else
        buf_add(&f->body, bytes, count);
}

static void on_end(void *ctx, const http_response *r, uint64_t at_ns, const char *error) {
    (void)at_ns;
    http_fetch *f = ctx;
    if (!error && f->cut) error = "the answer is larger than this client keeps";
    buf_adds(&f->body, "");
    f->done(f->ctx, r->status, &f->body, error);
    buf_done(&f->body);
    free(f);
}

http_fetch *http_fetch_start(http_pool *p, const http_url *url, const char *path, const char *json,
                             size_t max_bytes, http_fetch_fn done, void *ctx) {
    PRE(p);
    PRE(url);
    PRE(path);
    PRE(done);
    http_fetch *f = xcalloc(1, sizeof *f);
    f->done = done;
    f->ctx = ctx;
    f->max_bytes = max_bytes;
    buf wire = {0};
    buf_addf(&wire, "%s %s%s HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\n", json ? "POST" : "GET", url->prefix,
             path, url->header);
    if (json) buf_addf(&wire, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(json));
    buf_addf(&wire, "\r\n%s", json ? json : "");
    http_exchange_handler h = {.ctx = f, .body = on_body, .end = on_end};
    f->exchange = http_pool_send(p, wire.data, wire.len, &h);
    buf_done(&wire);
    return f;
}

void http_fetch_cancel(http_fetch *f) {
    if (!f) return;
    http_exchange_cancel(f->exchange);
    buf_done(&f->body);
    free(f);
}

/* ---- waiting ---- */

typedef struct waiting {
    loop *loop;
    http_fetch *fetch; /* NULL: it is done */
    uint64_t deadline_ns;
    int code;
    buf body;
    errbuf error;
    bool failed, late;
} waiting;

static void on_done(void *ctx, int code, const buf *body, const char *error) {
    waiting *w = ctx;
    w->fetch = NULL;
    w->code = code;
    if (error) {
        w->failed = true;
        errf(&w->error, ST_IO, "%s", error);
    } else {
        buf_add(&w->body, body->data, body->len);
    }
    loop_stop(w->loop);
}

static uint64_t on_turn(void *ctx, uint64_t now_ns) {
    waiting *w = ctx;
    if (w->fetch && now_ns >= w->deadline_ns) {
        w->late = true;
        loop_stop(w->loop);
    }
    return w->deadline_ns;
}

status http_fetch_wait(const http_url *url, const char *path, const char *json, size_t max_bytes,
                       uint64_t timeout_ns, int *code, buf *body, errbuf *eb) {
    PRE(url);
    PRE(path);
    PRE(code);
    PRE(body);
    waiting w = {.deadline_ns = clock_now_ns() + timeout_ns};
    http_pool *pool = NULL;
    status st = loop_new(&w.loop, on_turn, &w, eb);
    if (st == ST_OK) st = http_pool_new(&pool, loop_base(w.loop), url, eb);
    if (st == ST_OK) {
        w.fetch = http_fetch_start(pool, url, path, json, max_bytes, on_done, &w);
        loop_run(w.loop);
        http_fetch_cancel(w.fetch);
        if (w.late) st = errf(eb, ST_TIMEOUT, "no answer within %.1f s", (double)timeout_ns / 1e9);
        if (w.failed) st = errf(eb, ST_IO, "%s", w.error.text);
    }
    if (st != ST_OK)
        err_prefix(eb, st, "http%s://%s%s%s", url->secure ? "s" : "", url->header, url->prefix, path);
    if (st == ST_OK) {
        *code = w.code;
        buf_reset(body);
        buf_add(body, w.body.data ? w.body.data : "", w.body.len);
    }
    buf_done(&w.body);
    http_pool_free(pool);
    loop_free(w.loop);
    return st;
}
