/* Answers: their heads, their framing, and what follows them on the connection. */
#include "base/clock.h"
#include "base/mem.h"
#include "coordinator/http_conn.h"

#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

static const char *reason_of(uint32_t code) {
    static const struct {
        uint32_t code;
        const char *text;
    } reasons[] = {{200, "OK"},
                   {204, "No Content"},
                   {400, "Bad Request"},
                   {401, "Unauthorized"},
                   {404, "Not Found"},
                   {405, "Method Not Allowed"},
                   {408, "Request Timeout"},
                   {413, "Content Too Large"},
                   {414, "URI Too Long"},
                   {415, "Unsupported Media Type"},
                   {417, "Expectation Failed"},
                   {429, "Too Many Requests"},
                   {431, "Request Header Fields Too Large"},
                   {499, "Request Canceled"},
                   {501, "Not Implemented"},
                   {503, "Service Unavailable"},
                   {504, "Gateway Timeout"},
                   {505, "HTTP Version Not Supported"}};
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (reasons[i].code == code) return reasons[i].text;
    return "Internal Server Error";
}

static void add_date(struct evbuffer *out) {
    static const char *const days = "SunMonTueWedThuFriSat", *const months =
                                                                 "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t now = time(NULL);
    struct tm t;
    CHECK(gmtime_r(&now, &t));
    evbuffer_add_printf(out, "Date: %.3s, %02d %.3s %d %02d:%02d:%02d GMT\r\n",
                        days + (ptrdiff_t)3 * t.tm_wday, t.tm_mday, months + (ptrdiff_t)3 * t.tm_mon,
                        t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
}

/* The status line and the fields, with how the connection goes on. */
static void send_head(http_request *r, uint32_t code, bool whole, size_t len) {
    http_conn *c = r->conn;
    struct evbuffer *out = http_conn_output(c);
    evbuffer_add_printf(out, "HTTP/1.1 %u %s\r\n", code, reason_of(code));
    struct evkeyval *f;
    TAILQ_FOREACH(f, &r->out, next) evbuffer_add_printf(out, "%s: %s\r\n", f->key, f->value);
    add_date(out);
    if (!whole && r->head.http10) r->head.keep = false; /* its end is the body's */
    if (whole && code != 204)
        evbuffer_add_printf(out, "Content-Length: %zu\r\n", len);
    else if (!whole && !r->head.http10)
        evbuffer_add_printf(out, "Transfer-Encoding: chunked\r\n");
    if (!r->head.keep)
        evbuffer_add_printf(out, "Connection: close\r\n");
    else if (r->head.http10)
        evbuffer_add_printf(out, "Connection: keep-alive\r\n");
    CHECK(evbuffer_add(out, "\r\n", 2) == 0);
    r->started = true;
}

/* In blocks: libevent, with TLS, counts a block of its buffer as sent when all of it has left, and
 * who takes a large one slowly would seem to take nothing. */
static void add_bytes(http_request *r, const void *bytes, size_t len) {
    enum { BLOCK = 4096 };
    struct evbuffer *out = http_conn_output(r->conn);
    for (size_t at = 0; at < len; at += BLOCK)
        CHECK(evbuffer_add(out, (const char *)bytes + at, MIN(len - at, BLOCK)) == 0);
}

/* The answer is with libevent: the next request, or the end. */
static void answer_done(http_request *r) {
    http_conn *c = r->conn;
    bool keep = r->head.keep && !c->refused;
    http_conn_unwatch(c);
    http_conn_reset(c);
    c->state = keep ? CONN_HEAD : CONN_FLUSH;
    c->deadline_ns = clock_now_ns() + c->server->opt.limits.idle_ns;
    if (keep) http_conn_idle(c, true);
    if (c->busy || c->waits) return;
    /* Not here: who answers is in the middle of his own work. */
    c->waits = true;
    DL_APPEND2(c->server->waiting, c, wait_prev, wait_next);
    event_active(c->server->resume, EV_TIMEOUT, 0);
}

void http_send(http_request *r, uint32_t code, const void *body, size_t len) {
    PRE(r);
    PRE(!r->started);
    PRE(body || !len);
    send_head(r, code, true, len);
    if (r->head.method != HTTP_HEAD && code != 204) add_bytes(r, body, len);
    answer_done(r);
}

void http_send_start(http_request *r, uint32_t code) {
    PRE(r);
    PRE(!r->started);
    send_head(r, code, false, 0);
    r->pieces = !r->head.http10;
}

void http_send_piece(http_request *r, const void *bytes, size_t len) {
    PRE(r);
    PRE(r->started);
    PRE(bytes || !len);
    if (!len || r->head.method == HTTP_HEAD) return; /* an empty chunk would be the end */
    struct evbuffer *out = http_conn_output(r->conn);
    if (r->pieces) evbuffer_add_printf(out, "%zx\r\n", len);
    add_bytes(r, bytes, len);
    if (r->pieces) CHECK(evbuffer_add(out, "\r\n", 2) == 0);
}

void http_send_end(http_request *r) {
    PRE(r);
    PRE(r->started);
    if (r->pieces && r->head.method != HTTP_HEAD)
        CHECK(evbuffer_add(http_conn_output(r->conn), "0\r\n\r\n", 5) == 0);
    answer_done(r);
}

void http_drop(http_request *r) {
    PRE(r);
    r->gone = NULL;
    http_conn_end(r->conn);
}

size_t http_unsent(const http_request *r) {
    PRE(r);
    return evbuffer_get_length(http_conn_output(r->conn));
}
