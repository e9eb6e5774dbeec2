#include "coordinator/http_client.h"

#include "base/clock.h"
#include "base/log.h"
#include "coordinator/openai.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

static const char *reason_of(uint32_t code) {
    switch (code) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 413:
        return "Content Too Large";
    case 429:
        return "Too Many Requests";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    default:
        return "Internal Server Error";
    }
}

void http_reply(http *h, struct evhttp_request *req, const char *handler, uint32_t code,
                const char *content_type, const buf *body) {
    PRE(h);
    PRE(req);
    PRE(handler);
    PRE(content_type);
    PRE(body);
    struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
    evhttp_add_header(headers, "Content-Type", content_type);
    if (code == 429) evhttp_add_header(headers, "Retry-After", "1");
    meter_http(h->opt.meter, handler, code);
    struct evbuffer *out = evbuffer_new();
    CHECK(out);
    if (evhttp_request_get_command(req) == EVHTTP_REQ_HEAD) {
        /* evhttp would send the body, and no length: the connection would be out of step from then on. */
        char length[24];
        snprintf(length, sizeof length, "%zu", body->len);
        evhttp_add_header(headers, "Content-Length", length);
    } else {
        CHECK(evbuffer_add(out, body->data, body->len) == 0);
    }
    evhttp_send_reply(req, (int)code, reason_of(code), out);
    evbuffer_free(out);
}

void http_reply_error(http *h, struct evhttp_request *req, const char *handler, const api_error *e) {
    PRE(e);
    log_debug("http", "refused", "path=%s http=%u why=%s", handler, e->http, e->text.text);
    buf body = {0};
    openai_error(&body, e);
    http_reply(h, req, handler, e->http, "application/json", &body);
    buf_done(&body);
}

void http_take_request_id(struct evhttp_request *req, char out[static HTTP_REQUEST_ID_MAX]) {
    PRE(req);
    const char *given = evhttp_find_header(evhttp_request_get_input_headers(req), "x-request-id");
    size_t len = given ? strlen(given) : 0;
    bool good = len > 0 && len < HTTP_REQUEST_ID_MAX;
    for (size_t i = 0; good && i < len; i++) good = given[i] > 0x20 && given[i] < 0x7f;
    if (good)
        memcpy(out, given, len + 1);
    else
        snprintf(out, HTTP_REQUEST_ID_MAX, "%016" PRIx64 "%016" PRIx64, clock_random64(), clock_random64());
    evhttp_add_header(evhttp_request_get_output_headers(req), "x-request-id", out);
}

static void mark_dirty(http_client *c) {
    if (c->dirty) return;
    c->dirty = true;
    DL_APPEND2(c->http->dirty, c, dirty_prev, dirty_next);
}

/* Frees c and whatever runs for it. The caller has dealt with c->req and set it to NULL. */
static void http_client_free(http_client *c) {
    CHECK(c->req == NULL);
    http *h = c->http;
    if (c->closed) event_free(c->closed);
    if (c->job) c->job->owner = NULL; /* freed when it comes home */
    stream_close(c->stream, clock_now_ns());
    if (c->dirty) DL_DELETE2(h->dirty, c, dirty_prev, dirty_next);
    DL_DELETE(h->clients, c);
    h->client_count--;
    free(c);
}

/* Unties the request from the client, so that the reply may be handed to evhttp, which may free it at once.
 */
static struct evhttp_request *untie(http_client *c) {
    struct evhttp_request *req = c->req;
    CHECK(req);
    c->req = NULL;
    struct evhttp_connection *conn = evhttp_request_get_connection(req);
    if (conn) evhttp_connection_set_closecb(conn, NULL, NULL);
    if (c->closed) event_free(c->closed);
    c->closed = NULL;
    return req;
}

static void drop_connection(http_client *c, const char *why) {
    log_debug("http", "client gone", "id=%s why=%s", c->request_id, why);
    struct evhttp_request *req = untie(c);
    struct evhttp_connection *conn = evhttp_request_get_connection(req);
    http_client_free(c);
    if (conn)
        evhttp_connection_free(conn); /* with the request */
    else
        evhttp_request_free(req);
}

static void on_closed(evutil_socket_t fd, short what, void *ctx) {
    (void)fd, (void)what;
    drop_connection(ctx, "closed by the client");
}

/* evhttp gives the connection up by itself: a write failed. It frees the connection; the request is ours when
 * it was untied first. */
static void on_connection_end(struct evhttp_connection *conn, void *ctx) {
    (void)conn;
    http_client *c = ctx;
    log_debug("http", "client gone", "id=%s why=write failed", c->request_id);
    struct evhttp_request *req = untie(c);
    if (!evhttp_request_get_connection(req)) evhttp_request_free(req);
    http_client_free(c);
}

static void finish_error(http_client *c, const api_error *e) {
    http *h = c->http;
    const char *handler = c->handler;
    struct evhttp_request *req = untie(c);
    http_client_free(c);
    http_reply_error(h, req, handler, e);
}

static void finish_body(http_client *c, const buf *body) {
    http *h = c->http;
    const char *handler = c->handler;
    struct evhttp_request *req = untie(c);
    http_client_free(c);
    http_reply(h, req, handler, 200, "application/json", body);
}

void http_client_fail(http_client *c, uint32_t code, const char *why) {
    PRE(c);
    PRE(why);
    if (c->stream) {
        stream_fail(c->stream, code, why);
        return;
    }
    api_error e = {0};
    api_fail(&e, code, NULL, "%s", why);
    finish_error(c, &e);
}

/* ---- a job that came back ---- */

static void reply_tokens(http_client *c, const api_request *r) {
    const text_env *env = c->http->opt.env;
    buf body = {0};
    openai_tokens(&body, r, env->tok, &env->model);
    finish_body(c, &body);
    buf_done(&body);
}

static void on_wake(void *ctx) {
    mark_dirty(ctx);
}

static void on_job_done(void *owner, text_job *job) {
    http_client *c = owner;
    c->job = NULL;
    api_request *r = &job->request;
    api_error e = job->err;
    if (e.http) {
        finish_error(c, &e);
    } else if (r->kind == API_TOKENIZE || r->kind == API_DETOKENIZE) {
        reply_tokens(c, r);
    } else {
        snprintf(r->id, sizeof r->id, "%s%s", r->kind == API_CHAT ? "chatcmpl-" : "cmpl-", c->request_id);
        r->created = clock_wall_s();
        stream_listener l = {.ctx = c, .wake = on_wake};
        if (stream_open(&c->stream, c->http->opt.streams, r, &l, clock_now_ns(), &e) != ST_OK)
            finish_error(c, &e);
    }
    text_job_free(job);
}

void http_client_start(http *h, struct evhttp_request *req, const char *path, api_kind kind) {
    PRE(h);
    PRE(req);
    PRE(path);
    http_client *c = xcalloc(1, sizeof *c);
    c->http = h;
    c->req = req;
    c->handler = path;
    c->kind = kind;
    DL_APPEND(h->clients, c);
    h->client_count++;
    http_take_request_id(req, c->request_id);

    struct evhttp_connection *conn = evhttp_request_get_connection(req);
    evutil_socket_t fd = bufferevent_getfd(evhttp_connection_get_bufferevent(conn));
    int one = 1; /* or each event waits for the acknowledgement of the one before */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    evhttp_connection_set_closecb(conn, on_connection_end, c);
    c->closed = event_new(loop_base(h->opt.loop), fd, EV_CLOSED, on_closed, c);
    CHECK(c->closed);
    CHECK(event_add(c->closed, NULL) == 0);

    struct evbuffer *in = evhttp_request_get_input_buffer(req);
    size_t len = evbuffer_get_length(in);
    text_job *job = text_job_new(kind, c, on_job_done);
    job->body = malloc(len + 1);
    if (len > h->opt.body_max || !job->body) {
        api_error e = {0};
        if (!job->body)
            api_fail(&e, 503, NULL, "no memory for a body of %zu bytes", len);
        else
            api_fail(&e, 413, NULL, "the body has %zu bytes, want at most %zu (limits.max_body_kb)", len,
                     h->opt.body_max);
        text_job_free(job);
        finish_error(c, &e);
        return;
    }
    evbuffer_remove(in, job->body, len);
    job->body[len] = 0;
    job->body_len = len;
    c->job = job;
    bool away = false;
    if (text_run(h->opt.text, job, false, &away) != ST_OK) {
        c->job = NULL;
        text_job_free(job);
        http_client_fail(c, 429, "too many large bodies are being read: try again later");
    }
}

/* ---- the answer ---- */

static struct evbuffer *output_of(const http_client *c) {
    return bufferevent_get_output(evhttp_connection_get_bufferevent(evhttp_request_get_connection(c->req)));
}

static void on_drained(struct evhttp_connection *conn, void *ctx) {
    (void)conn;
    http_client *c = ctx;
    stream_answered(c->stream);
    mark_dirty(c);
}

static void start_stream(http_client *c, uint64_t now_ns) {
    struct evkeyvalq *headers = evhttp_request_get_output_headers(c->req);
    evhttp_add_header(headers, "Content-Type", "text/event-stream; charset=utf-8");
    evhttp_add_header(headers, "Cache-Control", "no-cache");
    meter_http(c->http->opt.meter, c->handler, 200);
    evhttp_send_reply_start(c->req, 200, "OK");
    c->started = true;
    c->drained_ns = now_ns;
}

static void send_events(http_client *c, const buf *out) {
    struct evbuffer *chunk = evbuffer_new();
    CHECK(chunk);
    CHECK(evbuffer_add(chunk, out->data, out->len) == 0);
    size_t before = evbuffer_get_length(output_of(c));
    evhttp_send_reply_chunk_with_cb(c->req, chunk, on_drained, c);
    c->sent_bytes += evbuffer_get_length(output_of(c)) - before;
    evbuffer_free(chunk);
}

void http_client_render(http_client *c, uint64_t now_ns) {
    PRE(c);
    PRE(c->dirty);
    http *h = c->http;
    c->dirty = false;
    DL_DELETE2(h->dirty, c, dirty_prev, dirty_next);
    stream *s = c->stream;
    const char *model = h->opt.env->model.name;
    const api_error *failed = stream_error(s);
    buf *out = &h->scratch;
    buf_reset(out);
    if (!c->started) {
        if (failed) {
            api_error e = *failed;
            finish_error(c, &e);
            return;
        }
        if (!stream_request(s)->stream) {
            if (!stream_ended(s)) return;
            openai_body(out, s, model);
            finish_body(c, out);
            return;
        }
        if (!stream_has_step(s)) return;
        start_stream(c, now_ns);
    }
    size_t unsent = evbuffer_get_length(output_of(c));
    stream_step step;
    while (unsent + out->len < HTTP_OUT_MAX && stream_next(s, stream_request(s)->kind != API_CHAT, &step)) {
        openai_event(out, s, &step, model);
    }
    bool end = (failed || stream_ended(s)) && !stream_has_step(s);
    if (end) openai_tail(out, s, model);
    if (out->len) send_events(c, out);
    if (!end) return;
    struct evhttp_request *req = untie(c);
    http_client_free(c);
    evhttp_send_reply_end(req);
}

void http_client_check(http_client *c, uint64_t now_ns) {
    PRE(c);
    if (!c->started) return;
    size_t unsent = evbuffer_get_length(output_of(c));
    uint64_t drained = c->sent_bytes - MIN(c->sent_bytes, unsent);
    if (unsent == 0 || drained > c->drained_bytes) {
        c->drained_bytes = drained;
        c->drained_ns = now_ns;
    } else if (now_ns - c->drained_ns >= c->http->opt.slow_client_ns) {
        log_warn("http", "client does not read, canceled", "id=%s unsent=%zu", c->request_id, unsent);
        drop_connection(c, "does not read");
    }
}
