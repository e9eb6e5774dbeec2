#include "bench/load/openai_client.h"

#include "base/u64_map.h"
#include "bench/load/chunk.h"
#include "bench/load/sse.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERROR_BODY_MAX 4096u

typedef struct call { /* one request; kept for the next when it is over */
    struct openai_client *owner;
    uint64_t number;
    http_exchange *exchange;
    sse sse;
    buf body; /* of an answer that is no stream: its beginning */
    client_end end;
    uint64_t at_ns;  /* of what is being read */
    uint32_t tokens; /* of the events so far, each at least one */
    bool content, done, failed;
    struct call *next; /* in the list of those that are free */
} call;

typedef struct openai_client {
    client client; /* first: a client * is one of these */
    http_pool *pool;
    const openai_options *opt;
    client_handler handler;
    u64_map calls; /* by number */
    call *spare;
    buf scratch;
} openai_client;

/* ---- requests ---- */

static void add_string(buf *out, const char *text) {
    buf_adds(out, "\"");
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\')
            buf_addf(out, "\\%c", c);
        else if (c < 0x20)
            buf_addf(out, "\\u%04x", c);
        else
            buf_add(out, p, 1);
    }
    buf_adds(out, "\"");
}

static void add_ids(buf *out, const int32_t *ids, uint32_t count) {
    char text[16];
    buf_adds(out, "[");
    for (uint32_t i = 0; i < count; i++) {
        char *p = text + sizeof text;
        uint32_t id = (uint32_t)ids[i]; /* never negative */
        do *--p = (char)('0' + id % 10);
        while ((id /= 10) > 0);
        if (i) *--p = ',';
        buf_add(out, p, (size_t)(text + sizeof text - p));
    }
    buf_adds(out, "]");
}

static void add_body(buf *out, const openai_options *o, const client_request *r) {
    buf_adds(out, "{\"model\":");
    add_string(out, o->model);
    if (o->chat) {
        buf_adds(out, ",\"messages\":[{\"role\":\"user\",\"content\":");
        add_string(out, r->text);
        buf_addf(out, "}],\"max_completion_tokens\":%u", r->output_tokens);
    } else {
        buf_adds(out, ",\"prompt\":");
        if (r->text)
            add_string(out, r->text);
        else
            add_ids(out, r->ids, r->id_count);
        buf_addf(out, ",\"max_tokens\":%u", r->output_tokens);
    }
    if (!isnan(o->temperature)) buf_addf(out, ",\"temperature\":%g", o->temperature);
    if (o->ignore_eos) buf_adds(out, ",\"ignore_eos\":true");
    if (o->baton) buf_adds(out, ",\"timings\":true,\"return_token_ids\":true");
    buf_adds(out, ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
}

static void prepare(client *c, const client_request *r, buf *wire) {
    openai_client *o = (openai_client *)c;
    PRE(r);
    PRE(r->text || !o->opt->chat);
    PRE(r->text || r->id_count > 0);
    PRE(r->output_tokens > 0);
    PRE(wire);
    buf_reset(&o->scratch);
    add_body(&o->scratch, o->opt, r);
    buf_reset(wire);
    buf_addf(wire,
             "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\n"
             "x-request-id: baton-bench-%" PRIu64 "\r\nContent-Length: %zu\r\n%s\r\n",
             o->opt->path, o->opt->host, r->number, o->scratch.len, o->opt->headers ? o->opt->headers : "");
    buf_add(wire, o->scratch.data, o->scratch.len);
}

/* ---- answers ---- */

static void fail(call *k, row_outcome outcome, const char *text) {
    if (k->failed) return; /* the first reason counts */
    k->failed = true;
    k->end.outcome = outcome;
    snprintf(k->end.error, sizeof k->end.error, "%s", text);
}

static void on_event(void *ctx, const char *data, size_t len, bool error) {
    call *k = ctx;
    if (len == 6 && memcmp(data, "[DONE]", 6) == 0) {
        k->done = true;
        return;
    }
    errbuf eb = {0};
    chunk c;
    if (chunk_parse(&c, data, len, &eb) != ST_OK) {
        fail(k, ROW_FAILED, eb.text);
        return;
    }
    if (error || c.failed) {
        char text[200];
        snprintf(text, sizeof text, "in the stream: %s", c.failed ? c.error : "an event named error");
        fail(k, ROW_FAILED, text);
        return;
    }
    if (c.finish[0]) memcpy(k->end.finish, c.finish, sizeof k->end.finish);
    if (c.usage) {
        k->end.prompt_tokens = c.prompt_tokens;
        k->end.output_tokens = c.output_tokens;
        k->end.cached_tokens = c.cached_tokens;
        k->end.stages = c.stages;
        if (!c.content && !c.finish[0]) return; /* the usage alone: no event of the answer */
    }
    if (c.tokens > ROW_MOST_TOKENS || (k->tokens += MAX(c.tokens, 1u)) > ROW_MOST_TOKENS) {
        fail(k, ROW_FAILED, "the answer has more tokens than any can have");
        return;
    }
    k->content = k->content || c.content;
    k->owner->handler.event(k->owner->handler.ctx, k->number, k->at_ns, c.tokens);
}

static void on_body(void *ctx, const http_response *r, const char *bytes, size_t count, uint64_t at_ns) {
    call *k = ctx;
    k->at_ns = at_ns;
    if (r->status != 200 || !r->event_stream) {
        if (k->body.len < ERROR_BODY_MAX) buf_add(&k->body, bytes, MIN(count, ERROR_BODY_MAX - k->body.len));
        return;
    }
    errbuf eb = {0};
    if (!k->failed && sse_feed(&k->sse, bytes, count, on_event, k, &eb) != ST_OK)
        fail(k, ROW_FAILED, eb.text);
}

/* What is missing in an answer that came whole. */
static void judge(call *k, const http_response *r) {
    char text[200], why[128];
    if (r->status != 200) {
        chunk_error_text(why, sizeof why, k->body.data ? k->body.data : "", k->body.len);
        snprintf(text, sizeof text, "HTTP %d: %s", r->status, why);
        fail(k, r->status == 429 || r->status == 503 ? ROW_REFUSED : ROW_FAILED, text);
    } else if (!r->event_stream) {
        fail(k, ROW_FAILED, "the answer is no event stream: the server does not stream");
    } else if (!k->done && !k->end.finish[0]) {
        fail(k, ROW_FAILED, "the stream ended without a finish_reason and without [DONE]");
    } else if (!k->content) {
        fail(k, ROW_FAILED, "the stream ended without any content");
    }
}

static void release(call *k) {
    openai_client *o = k->owner;
    (void)u64_map_take(&o->calls, k->number);
    k->next = o->spare;
    o->spare = k;
}

static void on_end(void *ctx, const http_response *r, uint64_t at_ns, const char *error) {
    call *k = ctx;
    openai_client *o = k->owner;
    k->end.at_ns = at_ns;
    k->end.http = r->status;
    if (!error)
        judge(k, r);
    else if (!k->done) /* after [DONE] nothing is missing */
        fail(k, ROW_FAILED, error);
    client_end_check(&k->end);
    client_end end = k->end;
    uint64_t number = k->number;
    release(k);
    o->handler.end(o->handler.ctx, number, &end);
}

/* ---- the contract ---- */

static void start(client *c, const buf *wire, uint64_t number) {
    openai_client *o = (openai_client *)c;
    PRE(wire);
    PRE(number > 0);
    call *k = o->spare;
    if (k)
        o->spare = k->next;
    else
        k = xcalloc(1, sizeof *k);
    k->owner = o;
    k->number = number;
    k->end = client_end_empty();
    k->tokens = 0;
    k->content = k->done = k->failed = false;
    sse_begin(&k->sse);
    buf_reset(&k->body);
    u64_map_put(&o->calls, number, k);
    http_exchange_handler h = {.ctx = k, .body = on_body, .end = on_end};
    k->exchange = http_pool_send(o->pool, wire->data, wire->len, &h);
}

static void cancel(client *c, uint64_t number) {
    openai_client *o = (openai_client *)c;
    call *k = u64_map_get(&o->calls, number);
    if (!k) return;
    http_exchange_cancel(k->exchange);
    release(k);
}

static void call_free(call *k) {
    sse_done(&k->sse);
    buf_done(&k->body);
    free(k);
}

static void free_client(client *c) {
    openai_client *o = (openai_client *)c;
    for (uint32_t i = 0; i < o->calls.slot_count; i++) {
        call *k = o->calls.slots[i].value;
        if (!k) continue;
        http_exchange_cancel(k->exchange);
        call_free(k);
    }
    while (o->spare) {
        call *k = o->spare;
        o->spare = k->next;
        call_free(k);
    }
    u64_map_done(&o->calls);
    buf_done(&o->scratch);
    free(o);
}

static const client_ops ops = {.prepare = prepare, .start = start, .cancel = cancel, .free = free_client};

client *openai_client_new(http_pool *pool, const openai_options *opt, const client_handler *h) {
    PRE(pool);
    PRE(opt);
    PRE(opt->model);
    PRE(h);
    PRE(h->event);
    PRE(h->end);
    openai_client *o = xcalloc(1, sizeof *o);
    o->client.ops = &ops;
    o->pool = pool;
    o->opt = opt;
    o->handler = *h;
    u64_map_init(&o->calls, 256);
    return &o->client;
}
