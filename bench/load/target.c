#include "bench/load/target.h"

#include "base/clock.h"
#include "bench/load/chat_words.h"
#include "bench/load/http_fetch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ANSWER_MAX     (1u << 20)
#define RETRY_NS       (100 * NS_PER_MS)
#define SEED_OF_PROBES UINT64_MAX /* no run's */
#define PROBE_WORDS    24u

/* ---- addresses ---- */

static status set_addresses(target *t, const serve_options *o, errbuf *eb) {
    bool native = o->backend == SERVE_NATIVE;
    t->backend = o->backend;
    t->shown = o->base_url ? xstrdup(o->base_url)
                           : xasprintf("%s://%s:%s", native ? "tcp" : "http", o->host,
                                       o->port  ? o->port
                                       : native ? "8002"
                                                : "8000");
    if (native) {
        hostport at;
        if (!hostport_parse(&at, t->shown, true) || at.port[0] == '*')
            return errf(eb, ST_INVALID, "--base-url: '%s' is no endpoint: write tcp://HOST:PORT", t->shown);
    } else if (http_url_parse(&t->http, t->shown, eb) != ST_OK) {
        return err_prefix(eb, ST_INVALID, "--base-url");
    }
    const char *metrics = o->metrics_url ? o->metrics_url : native ? NULL : t->shown;
    t->has_http = metrics != NULL;
    if (metrics && http_url_parse(&t->metrics, metrics, eb) != ST_OK)
        return err_prefix(eb, ST_INVALID, "--metrics-url");
    if (t->http.secure || t->metrics.secure) {
        if (tls_client_new(&t->trust, o->ca, o->insecure, eb) != ST_OK)
            return err_prefix(eb, ST_INVALID, "--ca");
        t->http.trust = t->metrics.trust = t->trust;
    }
    const char *path = o->backend == SERVE_CHAT ? "/v1/chat/completions" : "/v1/completions";
    t->path = xasprintf("%s%s", t->http.prefix, o->endpoint ? o->endpoint : path);
    buf headers = {0};
    for (uint32_t i = 0; i < o->header_count; i++) {
        const char *value = strchr(o->headers[i], '=') + 1;
        buf_addf(&headers, "%.*s: %s\r\n", (int)(value - 1 - o->headers[i]), o->headers[i], value);
    }
    const char *key = getenv("OPENAI_API_KEY"); /* as vllm bench serve */
    if (key && *key && !strpbrk(key, "\r\n")) buf_addf(&headers, "Authorization: Bearer %s\r\n", key);
    t->headers = headers.data;
    return ST_OK;
}

/* ---- links ---- */

status target_connect(const target *t, loop *l, const client_handler *h, target_link *out, errbuf *eb) {
    PRE(t);
    PRE(l);
    PRE(h);
    PRE(out);
    target_link k = {.native = t->backend == SERVE_NATIVE};
    status st;
    if (k.native) {
        st = native_client_new(&k.client, l, &t->native, h, eb);
    } else {
        st = http_pool_new(&k.pool, loop_base(l), &t->http, eb);
        if (st == ST_OK) k.client = openai_client_new(k.pool, &t->openai, h);
    }
    if (st == ST_OK) *out = k;
    return st;
}

uint64_t target_link_turn(target_link *k, uint64_t now_ns) {
    PRE(k);
    return k->native ? native_client_turn(k->client, now_ns) : UINT64_MAX;
}

void target_link_done(target_link *k) {
    PRE(k);
    if (k->client) k->client->ops->free(k->client);
    http_pool_free(k->pool);
    *k = (target_link){0};
}

/* ---- one request, waited for ---- */

typedef struct probe {
    loop *loop;
    target_link link;
    uint64_t deadline_ns;
    bool ended;
    client_end end;
} probe;

static void on_event(void *ctx, uint64_t number, uint64_t at_ns, uint32_t tokens) {
    (void)ctx, (void)number, (void)at_ns, (void)tokens;
}

static void on_end(void *ctx, uint64_t number, const client_end *e) {
    (void)number;
    probe *p = ctx;
    p->ended = true;
    p->end = *e;
    loop_stop(p->loop);
}

static uint64_t on_turn(void *ctx, uint64_t now_ns) {
    probe *p = ctx;
    if (p->ended || now_ns >= p->deadline_ns) {
        loop_stop(p->loop);
        return UINT64_MAX;
    }
    return MIN(p->deadline_ns, p->link.client ? target_link_turn(&p->link, now_ns) : UINT64_MAX);
}

/* ST_OK: it ended somehow; *end says how. */
static status ask_one(const target *t, const client_request *r, uint64_t deadline_ns, client_end *end,
                      errbuf *eb) {
    probe p = {.deadline_ns = deadline_ns};
    client_handler h = {.ctx = &p, .event = on_event, .end = on_end};
    status st = loop_new(&p.loop, on_turn, &p, eb);
    if (st == ST_OK) st = target_connect(t, p.loop, &h, &p.link, eb);
    if (st == ST_OK) {
        buf wire = {0};
        p.link.client->ops->prepare(p.link.client, r, &wire);
        p.link.client->ops->start(p.link.client, &wire, r->number);
        loop_run(p.loop);
        buf_done(&wire);
        if (!p.ended) st = errf(eb, ST_TIMEOUT, "no answer came in time");
        if (st == ST_OK) *end = p.end;
    }
    target_link_done(&p.link);
    loop_free(p.loop);
    return st;
}

/* ---- finding out ---- */

static void take_model(target *t, const char *json, size_t len) {
    json_t *root = json_loadb(json, len, 0, NULL);
    const char *id =
        json_string_value(json_object_get(json_array_get(json_object_get(root, "data"), 0), "id"));
    if (id && !t->model) t->model = xstrdup(id);
    json_decref(root);
}

static void pause_until(uint64_t at_ns) {
    struct timespec ts = {.tv_sec = (time_t)(at_ns / NS_PER_S), .tv_nsec = (long)(at_ns % NS_PER_S)};
    (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

static uint64_t time_left(uint64_t deadline_ns) {
    uint64_t now = clock_now_ns();
    return deadline_ns > now ? deadline_ns - now : 1;
}

static status gave_up(const target *t, const serve_options *o, const char *what, errbuf *eb) {
    return errf(eb, ST_IO,
                "no server at %s within %g s (%s): is it running? (--base-url, --ready-check-timeout-sec)",
                t->shown, o->ready_timeout_s, what);
}

/* Until something answers HTTP there. */
static status wait_for_http(target *t, const serve_options *o, uint64_t deadline_ns, errbuf *eb) {
    const http_url *url = &t->http;
    buf body = {0};
    status st;
    for (;;) {
        int code = 0;
        errbuf why = {0};
        st = http_fetch_wait(url, "/v1/models", NULL, ANSWER_MAX, MIN(time_left(deadline_ns), 5 * NS_PER_S),
                             &code, &body, &why);
        if (st == ST_OK && code == 200) take_model(t, body.data, body.len);
        if (st == ST_OK && code != 503) break;
        uint64_t now = clock_now_ns();
        if (now + RETRY_NS >= deadline_ns) {
            st = gave_up(t, o, st == ST_OK ? "it answers 503" : why.text, eb);
            break;
        }
        pause_until(now + RETRY_NS);
    }
    buf_done(&body);
    if (st == ST_OK && !t->model)
        st = errf(eb, ST_INVALID, "%s does not tell its models at /v1/models: give --model", t->shown);
    return st;
}

static void ask_version(target *t) {
    buf body = {0};
    int code = 0;
    if (http_fetch_wait(&t->metrics, "/version", NULL, ANSWER_MAX, 5 * NS_PER_S, &code, &body, NULL) ==
            ST_OK &&
        code == 200)
        t->version = json_loadb(body.data, body.len, 0, NULL);
    buf_done(&body);
    t->baton = json_object_get(t->version, "numerics") != NULL; /* no other server has that */
}

/* Ranges of token ids, widest first: vocabularies differ, and nobody tells their size. Small ids are often
 * special ones. */
static const int32_t ranges[][2] = {{1000, 31999}, {1000, 8191}, {256, 1023}, {32, 500}, {32, 255}, {2, 100}};

/* *again: the server is not ready, and it is worth another try (after a pause that is over). */
static status ask_ready(const target *t, const serve_options *o, const client_request *r,
                        uint64_t deadline_ns, client_end *end, bool *again, errbuf *eb) {
    errbuf why = {0};
    status st = ask_one(t, r, MAX(deadline_ns, clock_now_ns() + NS_PER_S), end, &why);
    if (st != ST_OK) return gave_up(t, o, why.text, eb);
    uint64_t now = clock_now_ns();
    bool not_ready = end->outcome == ROW_REFUSED || (end->outcome != ROW_OK && end->http == 0);
    *again = not_ready && now + RETRY_NS < deadline_ns;
    if (*again) pause_until(now + RETRY_NS);
    return ST_OK;
}

/* One token, with the largest id, until the server is ready; a refusal of the id leads to the next range. */
static status probe_ids(target *t, const serve_options *o, uint64_t deadline_ns, errbuf *eb) {
    uint32_t range = 0;
    bool given = o->id_max > 0;
    for (;;) {
        t->id_min = given ? o->id_min : ranges[range][0];
        t->id_max = given ? o->id_max : ranges[range][1];
        int32_t ids[] = {t->id_min, t->id_max};
        client_request r = {.number = 1, .ids = ids, .id_count = ARRAY_LEN(ids), .output_tokens = 1};
        client_end end;
        bool again = false;
        status st = ask_ready(t, o, &r, deadline_ns, &end, &again, eb);
        if (st != ST_OK) return st;
        if (again) continue;
        if (end.outcome == ROW_OK) return ST_OK;
        bool about_ids = end.http == 400 && !given && range + 1 < ARRAY_LEN(ranges);
        if (!about_ids) return errf(eb, ST_IO, "%s: a first request fails: %s", t->shown, end.error);
        range++;
    }
}

/* Two chats of different lengths: what the template adds, and whether a word is a token. */
static status probe_chat(target *t, const serve_options *o, uint64_t deadline_ns, errbuf *eb) {
    status st = chat_words_find(&t->words, &t->http, t->model, eb);
    if (st != ST_OK) return st;
    uint32_t told[2] = {0};
    for (uint32_t i = 0; i < 2;) {
        char *text = prompt_text_make(t->words, SEED_OF_PROBES, i, PROBE_WORDS << i);
        client_request r = {.number = 1, .text = text, .output_tokens = 1};
        client_end end;
        bool again = false;
        st = ask_ready(t, o, &r, deadline_ns, &end, &again, eb);
        free(text);
        if (st != ST_OK) return st;
        if (again) continue;
        if (end.outcome != ROW_OK)
            return errf(eb, ST_IO, "%s: a first request fails: %s", t->shown, end.error);
        told[i++] = end.prompt_tokens;
    }
    if (told[0] < PROBE_WORDS || told[1] - told[0] != PROBE_WORDS)
        return errf(
            eb, ST_UNSUPPORTED,
            "%s: chats of %u and %u words have %u and %u tokens: this model's vocabulary has no words of one "
            "token each; use --backend openai",
            t->shown, PROBE_WORDS, 2 * PROBE_WORDS, told[0], told[1]);
    t->chat_overhead = told[0] - PROBE_WORDS;
    return ST_OK;
}

static void set_clients(target *t, const serve_options *o) {
    t->openai = (openai_options){.host = t->http.header,
                                 .path = t->path,
                                 .model = t->model ? t->model : "",
                                 .headers = t->headers,
                                 .chat = o->backend == SERVE_CHAT,
                                 .ignore_eos = o->ignore_eos,
                                 .baton = t->baton,
                                 .temperature = o->temperature};
    t->native = (native_options){.endpoint = t->shown,
                                 .key_file = o->key_file,
                                 .ignore_eos = o->ignore_eos,
                                 .temperature = o->temperature};
}

status target_find(target *t, const serve_options *o, errbuf *eb) {
    PRE(t);
    PRE(o);
    *t = (target){0};
    uint64_t deadline = clock_now_ns() + (uint64_t)(o->ready_timeout_s * 1e9);
    status st = set_addresses(t, o, eb);
    if (st != ST_OK) return st;
    if (o->model) t->model = xstrdup(o->model);
    if (t->backend != SERVE_NATIVE) st = wait_for_http(t, o, deadline, eb);
    if (st == ST_OK && t->has_http) ask_version(t);
    if (st != ST_OK) return st;
    set_clients(t, o);
    return t->backend == SERVE_CHAT ? probe_chat(t, o, deadline, eb) : probe_ids(t, o, deadline, eb);
}

void target_done(target *t) {
    PRE(t);
    prompt_text_free(t->words);
    free(t->shown);
    free(t->path);
    free(t->model);
    free(t->headers);
    tls_client_free(t->trust);
    json_decref(t->version);
    *t = (target){0};
}
