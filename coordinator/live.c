#include "coordinator/live.h"

#include "base/clock.h"
#include "coordinator/http_feed.h"
#include "coordinator/live_files.h"
#include "coordinator/live_json.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define EVERY_NS NS_PER_S
/* Nothing from elsewhere, and no script or style but these files. */
#define CONTENT_POLICY                                                                                       \
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "           \
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

struct live_reader {
    http *http;
    http_feed *feed;
    struct live_reader *prev, *next;
};

void live_page(http *h, http_request *req, const char *path) {
    PRE(h);
    PRE(req);
    PRE(path);
    const struct {
        const char *path, *type;
        const unsigned char *data;
        size_t len;
    } files[] = {{"/", "text/html; charset=utf-8", live_page_html, live_page_html_len},
                 {"/live.js", "text/javascript; charset=utf-8", live_page_js, live_page_js_len},
                 {"/live.css", "text/css; charset=utf-8", live_page_css, live_page_css_len}};
    size_t i = 0;
    while (strcmp(files[i].path, path) != 0) {
        i++;
        CHECK(i < ARRAY_LEN(files));
    }
    struct evkeyvalq *headers = &req->out;
    evhttp_add_header(headers, "Content-Security-Policy", CONTENT_POLICY);
    evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
    evhttp_add_header(headers, "Referrer-Policy", "no-referrer");
    evhttp_add_header(headers, "Cache-Control", "no-cache");
    buf body = {0};
    buf_add(&body, files[i].data, files[i].len);
    http_reply(h, req, path, 200, files[i].type, &body);
    buf_done(&body);
}

static void reader_gone(void *ctx) {
    struct live_reader *r = ctx;
    DL_DELETE(r->http->live.readers, r);
    r->http->live.count--;
    free(r);
}

static void add_state(http *h, buf *out, const live_range *range, uint64_t now_ns) {
    buf_adds(out, "event: state\ndata: ");
    live_json_state(out, h->opt.core, &h->opt.facts, h->stopping, h->opt.trace, range, now_ns);
    buf_adds(out, "\n\n");
}

/* What has been, and the state now, so that the page is full at once. */
static void greet(http *h, http_feed *f, uint64_t now_ns) {
    buf *out = &h->scratch;
    buf_reset(out);
    buf_adds(out, "retry: 2000\n\nevent: history\ndata: ");
    live_json_history(out, h->opt.trace, h->live.told, now_ns);
    buf_adds(out, "\n\n");
    add_state(h, out, &(live_range){h->live.told, h->live.told}, now_ns);
    http_feed_push(f, out);
}

void live_events(http *h, http_request *req, const char *path) {
    PRE(h);
    PRE(req);
    PRE(path);
    api_error e = {0};
    if (h->stopping || h->live.count == LIVE_READERS_MAX) {
        api_fail(&e, 503, NULL,
                 h->stopping ? "the coordinator is stopping" : "%u readers are the most: try again later",
                 LIVE_READERS_MAX);
        http_reply_error(h, req, path, &e);
        return;
    }
    if (req->head.method == HTTP_HEAD) {
        http_reply(h, req, path, 200, "text/event-stream", &(buf){0});
        return;
    }
    uint64_t now_ns = clock_now_ns();
    if (!h->live.count) {
        h->live.told = trace_requests_end(h->opt.trace);
        h->live.due_ns = now_ns + EVERY_NS;
    }
    struct live_reader *r = xcalloc(1, sizeof *r);
    r->http = h;
    DL_APPEND(h->live.readers, r);
    h->live.count++;
    http_feed_source source = {.ctx = r, .gone = reader_gone};
    r->feed = http_feed_start(h, req, path, "text/event-stream; charset=utf-8", &source);
    greet(h, r->feed, now_ns);
}

void live_turn(http *h, uint64_t now_ns) {
    PRE(h);
    if (!h->live.count || now_ns < h->live.due_ns) return;
    h->live.due_ns = MAX(h->live.due_ns + EVERY_NS, now_ns);
    live_range range = {h->live.told, trace_requests_end(h->opt.trace)};
    h->live.told = range.end;
    buf *out = &h->scratch;
    buf_reset(out);
    add_state(h, out, &range, now_ns);
    struct live_reader *r;
    DL_FOREACH(h->live.readers, r) {
        if (http_feed_unsent(r->feed) <= LIVE_OUT_MAX) http_feed_push(r->feed, out);
    }
}
