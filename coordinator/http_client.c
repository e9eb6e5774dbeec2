#include "coordinator/http_client.h"

#include "base/clock.h"
#include "base/log.h"
#include "coordinator/event_log.h"
#include "coordinator/openai.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define TTFT_FIELD "x-slo-ttft-ms"

void http_reply(http *h, http_request *req, const char *handler, uint32_t code, const char *content_type,
                const buf *body) {
    PRE(h);
    PRE(req);
    PRE(handler);
    PRE(content_type);
    PRE(body);
    evhttp_add_header(&req->out, "Content-Type", content_type);
    bool later = (code == 429 || code == 503) && !evhttp_find_header(&req->out, "Retry-After");
    if (later) evhttp_add_header(&req->out, "Retry-After", "1");
    const char *method = http_method_name(req->head.method);
    meter_http(h->opt.meter, handler, method, code);
    if (req->whole_ns) meter_http_done(h->opt.meter, handler, method, clock_now_ns() - req->whole_ns);
    http_send(req, code, body->data, body->len);
}

void http_reply_error(http *h, http_request *req, const char *handler, const api_error *e) {
    PRE(e);
    log_debug("http", "refused", "path=%s http=%u why=%s", handler, e->http, e->text.text);
    buf body = {0};
    openai_error(&body, e);
    char seconds[16];
    snprintf(seconds, sizeof seconds, "%u", e->retry_s);
    if (e->retry_s) evhttp_add_header(&req->out, "Retry-After", seconds);
    http_reply(h, req, handler, e->http, "application/json", &body);
    buf_done(&body);
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
    if (c->job) c->job->owner = NULL; /* freed when it comes home */
    stream_close(c->stream, clock_now_ns());
    if (c->dirty) DL_DELETE2(h->dirty, c, dirty_prev, dirty_next);
    DL_DELETE(h->clients, c);
    h->client_count--;
    free(c);
}

/* Unties the request from the client, so that the reply may be handed to the server, which may free it. */
static http_request *untie(http_client *c) {
    http_request *req = c->req;
    CHECK(req);
    c->req = NULL;
    req->owner = NULL;
    req->gone = req->drained = NULL;
    return req;
}

static void on_gone(void *ctx) {
    http_client *c = ctx;
    log_debug("http", "client gone", "id=%s", c->request_id);
    bool slow = c->req->slow;
    event_log_left(c->http->opt.events, c->stream, slow ? "slow" : "closed",
                   slow ? "it did not read, or too slowly" : "its connection was closed", clock_now_ns());
    (void)untie(c);
    http_client_free(c);
}

static void finish_error(http_client *c, const api_error *e) {
    http *h = c->http;
    const char *handler = c->handler;
    http_request *req = untie(c);
    http_client_free(c);
    http_reply_error(h, req, handler, e);
}

static void finish_body(http_client *c, const buf *body) {
    http *h = c->http;
    const char *handler = c->handler;
    http_request *req = untie(c);
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

static void on_wake(void *ctx) {
    mark_dirty(ctx);
}

/* Of several; the holders of one key are nobody in particular. */
static uint64_t client_of(const http_client *c) {
    const http_keys *keys = c->http->opt.access.keys;
    return keys && http_keys_count(keys) > 1 ? c->req->client : 0;
}

static void on_job_done(void *owner, text_job *job) {
    http_client *c = owner;
    c->job = NULL;
    api_request *r = &job->request;
    api_error e = job->err;
    if (e.http) {
        finish_error(c, &e);
    } else if (r->kind == API_TOKENIZE || r->kind == API_DETOKENIZE) {
        finish_body(c, &job->answer);
    } else {
        snprintf(r->id, sizeof r->id, "%s%s", r->kind == API_CHAT ? "chatcmpl-" : "cmpl-", c->request_id);
        r->created = clock_wall_s();
        r->client = client_of(c);
        r->first_by_ns = c->first_by_ns;
        stream_listener l = {.ctx = c, .wake = on_wake};
        if (stream_open(&c->stream, c->http->opt.streams, r, &l, clock_now_ns(), &e) != ST_OK)
            finish_error(c, &e);
    }
    text_job_free(job);
}

/* Until when the first token must come. */
static status read_terms(http_client *c, api_error *e) {
    const struct evkeyvalq *fields = &c->req->head.fields;
    const char *text = evhttp_find_header(fields, TTFT_FIELD);
    if (!text) return ST_OK;
    size_t len = strspn(text, "0123456789");
    unsigned long ms = len && len < 10 && !text[len] ? strtoul(text, NULL, 10) : API_TTFT_MS_MAX + 1;
    if (ms > API_TTFT_MS_MAX)
        return api_fail(e, 400, TTFT_FIELD,
                        TTFT_FIELD ": want whole milliseconds, 0 (any time) to %u, got %.40s",
                        API_TTFT_MS_MAX, text);
    c->first_by_ns = ms ? c->req->whole_ns + ms * NS_PER_MS : UINT64_MAX;
    return ST_OK;
}

void http_client_start(http *h, http_request *req, const char *path, api_kind kind) {
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
    const char *id = evhttp_find_header(&req->out, "x-request-id"); /* http.c put it there */
    CHECK(id);
    CHECK(strlen(id) < sizeof c->request_id);
    strcpy(c->request_id, id);
    req->owner = c;
    req->gone = on_gone;

    api_error e = {0};
    if (read_terms(c, &e) != ST_OK) {
        finish_error(c, &e);
        return;
    }
    size_t len = evbuffer_get_length(req->body);
    text_job *job = text_job_new(kind, c, on_job_done);
    job->body = malloc(len + 1);
    if (!job->body) {
        api_fail(&e, 503, NULL, "no memory for a body of %zu bytes", len);
        text_job_free(job);
        finish_error(c, &e);
        return;
    }
    CHECK(evbuffer_remove(req->body, job->body, len) == (int)len);
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

static void on_drained(void *ctx) {
    http_client *c = ctx;
    stream_answered(c->stream);
    mark_dirty(c);
}

static void start_stream(http_client *c) {
    struct evkeyvalq *fields = &c->req->out;
    evhttp_add_header(fields, "Content-Type", "text/event-stream; charset=utf-8");
    evhttp_add_header(fields, "Cache-Control", "no-cache");
    evhttp_add_header(fields, "X-Accel-Buffering", "no"); /* nginx would gather the events */
    meter_http(c->http->opt.meter, c->handler, "POST", 200);
    http_send_start(c->req, 200);
    c->req->drained = on_drained;
    c->started = true;
}

void http_client_render(http_client *c) {
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
        start_stream(c);
    }
    size_t unsent = http_unsent(c->req);
    stream_step step;
    while (unsent + out->len < HTTP_OUT_MAX && stream_next(s, stream_request(s)->kind != API_CHAT, &step)) {
        openai_event(out, s, &step, model);
    }
    bool end = (failed || stream_ended(s)) && !stream_has_step(s);
    if (end) openai_tail(out, s, model);
    http_send_piece(c->req, out->data, out->len);
    if (!end) return;
    const char *handler = c->handler;
    http_request *req = untie(c);
    http_client_free(c);
    meter_http_done(h->opt.meter, handler, "POST", clock_now_ns() - req->whole_ns);
    http_send_end(req);
}
