#include "coordinator/http.h"

#include "base/clock.h"
#include "base/log.h"
#include "coordinator/http_feed.h"
#include "coordinator/live.h"
#include "coordinator/live_files.h"
#include "coordinator/trace_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <utlist.h>

#define SCAN_NS           250000000ull /* between two looks at connections */
#define TRACE_READERS_MAX (HTTP_FEEDS_MAX - LIVE_READERS_MAX)
#define TRACE_LAST        100u /* requests, when nobody says how many */

typedef void page_fn(http *h, http_request *req, const char *path);

static void reply_page(http *h, http_request *req, const char *path, uint32_t code, const char *type,
                       buf *body) {
    http_reply(h, req, path, code, type, body);
    buf_done(body);
}

static void page_health(http *h, http_request *req, const char *path) {
    buf body = {0};
    uint32_t code = health_page(&body, h->opt.core, &h->opt.facts, h->stopping, clock_now_ns());
    reply_page(h, req, path, code, "application/json", &body);
}

static void page_ready(http *h, http_request *req, const char *path) {
    buf body = {0};
    uint32_t code = health_ready(&body, h->opt.core, &h->opt.facts, h->stopping, clock_now_ns());
    reply_page(h, req, path, code, "text/plain; charset=utf-8", &body);
}

static void page_ping(http *h, http_request *req, const char *path) {
    buf body = {0};
    reply_page(h, req, path, 200, "application/json", &body);
}

static void page_models(http *h, http_request *req, const char *path) {
    buf body = {0};
    health_models(&body, &h->opt.facts);
    reply_page(h, req, path, 200, "application/json", &body);
}

static void page_model(http *h, http_request *req, const char *path) {
    buf body = {0};
    health_model(&body, &h->opt.facts);
    reply_page(h, req, path, 200, "application/json", &body);
}

static void page_version(http *h, http_request *req, const char *path) {
    buf body = {0};
    health_version(&body, h->opt.core, &h->opt.facts);
    reply_page(h, req, path, 200, "application/json", &body);
}

static void page_load(http *h, http_request *req, const char *path) {
    buf body = {0};
    health_load(&body, h->opt.core, h->client_count);
    reply_page(h, req, path, 200, "application/json", &body);
}

static void page_openapi(http *h, http_request *req, const char *path) {
    buf body = {0};
    buf_add(&body, live_openapi_json, live_openapi_json_len);
    reply_page(h, req, path, 200, "application/json", &body);
}

static void page_metrics(http *h, http_request *req, const char *path) {
    buf body = {0};
    uint32_t connections;
    size_t held;
    http_server_crowd(h->server, &connections, &held);
    meter_http_crowd(h->opt.meter, connections, held + text_bytes_away(h->opt.text));
    meter_print(h->opt.meter, h->opt.core, clock_now_ns(), &body);
    reply_page(h, req, path, 200, "text/plain; version=0.0.4; charset=utf-8", &body);
}

/* last=N of the query, 1 to TRACE_REQUESTS; absent: the default. 0: it is no such number. */
static uint32_t last_of(http_request *req) {
    const char *query = req->head.query;
    struct evkeyvalq pairs;
    if (!query || evhttp_parse_query_str(query, &pairs) != 0) return query ? 0 : TRACE_LAST;
    const char *text = evhttp_find_header(&pairs, "last");
    unsigned long last = TRACE_LAST;
    if (text) {
        char *end;
        last = strtoul(text, &end, 10);
        bool number = *text >= '0' && *text <= '9' && !*end && last >= 1 && last <= TRACE_REQUESTS;
        if (!number) last = 0;
    }
    evhttp_clear_headers(&pairs);
    return (uint32_t)last;
}

static bool more_of_trace(void *ctx, buf *out) {
    return trace_json_next(ctx, out);
}

static void trace_gone(void *ctx) {
    trace_json_free(ctx);
}

static void page_trace(http *h, http_request *req, const char *path) {
    uint32_t last = last_of(req);
    api_error e = {0};
    if (!last)
        api_fail(&e, 400, "last", "last must be a number from 1 to %u: /trace?last=%u", TRACE_REQUESTS,
                 TRACE_LAST);
    else if (h->stopping || h->feed_count - h->live.count == TRACE_READERS_MAX)
        api_fail(&e, 503, NULL, "%s",
                 h->stopping ? "the coordinator is stopping" : "too many readers: try again later");
    if (e.http) {
        http_reply_error(h, req, path, &e);
        return;
    }
    if (req->head.method == HTTP_HEAD) {
        buf body = {0};
        reply_page(h, req, path, 200, "application/json", &body);
        return;
    }
    core_record *alive = xcalloc(last, sizeof *alive);
    uint32_t count = core_alive(h->opt.core, clock_now_ns(), alive, last);
    http_feed_source source = {
        .ctx = trace_json_new(h->opt.trace, last, alive, count), .more = more_of_trace, .gone = trace_gone};
    free(alive);
    (void)http_feed_start(h, req, path, "application/json", &source);
}

#define GET_METHODS  "GET, HEAD, OPTIONS"
#define POST_METHODS "POST, OPTIONS"
#define BOTH_METHODS "GET, HEAD, POST, OPTIONS"

static const struct {
    const char *path;
    page_fn *page; /* NULL: a POST with a body, of this kind */
    const char *methods;
    api_kind kind;
} routes[] = {
    {"/v1/completions", NULL, POST_METHODS, API_COMPLETION},
    {"/v1/chat/completions", NULL, POST_METHODS, API_CHAT},
    {"/tokenize", NULL, POST_METHODS, API_TOKENIZE},
    {"/detokenize", NULL, POST_METHODS, API_DETOKENIZE},
    {"/v1/models", page_models, GET_METHODS, 0},
    {"/v1/models/", page_model, GET_METHODS, 0}, /* followed by the served name */
    {"/health", page_health, GET_METHODS, 0},
    {"/healthz", page_health, GET_METHODS, 0},
    {"/ready", page_ready, GET_METHODS, 0},
    {"/readyz", page_ready, GET_METHODS, 0},
    {"/livez", page_ping, GET_METHODS, 0},
    {"/ping", page_ping, BOTH_METHODS, 0}, /* SageMaker's */
    {"/load", page_load, GET_METHODS, 0},
    {"/metrics", page_metrics, GET_METHODS, 0},
    {"/version", page_version, GET_METHODS, 0},
    {"/openapi.json", page_openapi, GET_METHODS, 0},
    {"/trace", page_trace, GET_METHODS, 0},
    {"/", live_page, GET_METHODS, 0},
    {"/live.js", live_page, GET_METHODS, 0},
    {"/live.css", live_page, GET_METHODS, 0},
    {"/events", live_events, GET_METHODS, 0},
};

const char *http_route(size_t i, const char **methods) {
    PRE(methods);
    if (i >= ARRAY_LEN(routes)) return NULL;
    *methods = routes[i].methods;
    return routes[i].path;
}

static bool route_matches(const http *h, size_t i, const char *path) {
    if (routes[i].page != page_model) return strcmp(path, routes[i].path) == 0;
    size_t prefix = strlen(routes[i].path);
    if (strncmp(path, routes[i].path, prefix) != 0) return false;
    char *name = xstrdup(h->opt.facts.model); /* as the path was tidied */
    http_path_tidy(name);
    bool same = strcmp(path + prefix, name) == 0;
    free(name);
    return same;
}

static size_t route_of(const http *h, const char *path) {
    size_t i = 0;
    while (i < ARRAY_LEN(routes) && !(path && route_matches(h, i, path))) i++;
    return i;
}

static bool takes(const char *methods, http_method m) {
    const char *name = http_method_name(m), *at = strstr(methods, name);
    return at && (at[strlen(name)] == ',' || !at[strlen(name)]);
}

/* What every answer has: the request's name, or a fresh one, and the right of pages elsewhere to read it. */
static void add_common_fields(http *h, http_request *req) {
    char id[HTTP_REQUEST_ID_MAX];
    const char *given = evhttp_find_header(&req->head.fields, "x-request-id");
    size_t len = given ? strlen(given) : 0;
    bool good = len > 0 && len < sizeof id;
    for (size_t i = 0; good && i < len; i++) good = given[i] > 0x20 && given[i] < 0x7f;
    if (good)
        memcpy(id, given, len + 1);
    else
        snprintf(id, sizeof id, "%016" PRIx64 "%016" PRIx64, clock_random64(), clock_random64());
    evhttp_add_header(&req->out, "x-request-id", id);
    if (h->stopping) req->head.keep = false;
    http_access_cors(&h->opt.access, &req->head.fields, &req->out);
}

static void on_refused(void *ctx, http_request *req, const api_error *e) {
    http *h = ctx;
    add_common_fields(h, req);
    size_t i = route_of(h, req->head.path);
    if (e->http == 405) evhttp_add_header(&req->out, "Allow", BOTH_METHODS);
    http_reply_error(h, req, i < ARRAY_LEN(routes) ? routes[i].path : "unknown", e);
}

static void answer_options(http *h, http_request *req, const char *handler, const char *methods) {
    api_error e = {0};
    if (!http_access_preflight(&h->opt.access, &req->head.fields, methods, &req->out, &e))
        evhttp_add_header(&req->out, "Allow", methods);
    if (e.http) {
        http_reply_error(h, req, handler, &e);
        return;
    }
    meter_http(h->opt.meter, handler, "OPTIONS", 204);
    http_send(req, 204, NULL, 0);
}

/* vLLM's words: its clients look for no more. */
static void deny(http *h, http_request *req, const char *handler) {
    buf body = {0};
    buf_adds(&body, "{\"error\":\"Unauthorized\"}");
    evhttp_add_header(&req->out, "WWW-Authenticate", "Bearer");
    reply_page(h, req, handler, 401, "application/json", &body);
}

/* Whoever has no key, or asks for a page, has no share in limits.max_uploads_mb. */
static bool wants_body(void *ctx, const http_request *req) {
    const http *h = ctx;
    const http_access *a = &h->opt.access;
    size_t i = route_of(h, req->head.path);
    return i < ARRAY_LEN(routes) && !routes[i].page && takes(routes[i].methods, req->head.method) &&
           !http_access_denied(a, req->head.path, http_access_client(a, &req->head.fields));
}

static void on_request(void *ctx, http_request *req) {
    http *h = ctx;
    const char *path = req->head.path, *coding = evhttp_find_header(&req->head.fields, "Content-Encoding");
    http_method method = req->head.method;
    api_error e = {0};
    size_t i = route_of(h, path);
    const char *handler = i < ARRAY_LEN(routes) ? routes[i].path : "unknown";
    add_common_fields(h, req);
    req->client = http_access_client(&h->opt.access, &req->head.fields);
    if (method == HTTP_OPTIONS && strcmp(path, "*") == 0) {
        answer_options(h, req, handler, BOTH_METHODS);
        return;
    }
    if (method != HTTP_OPTIONS && http_access_denied(&h->opt.access, path, req->client)) {
        deny(h, req, handler);
        return;
    }
    if (i == ARRAY_LEN(routes)) {
        (void)api_fail(&e, 404, NULL, "there is no %.100s here; see /openapi.json", path);
    } else if (method == HTTP_OPTIONS) {
        answer_options(h, req, handler, routes[i].methods);
        return;
    } else if (!takes(routes[i].methods, method)) {
        evhttp_add_header(&req->out, "Allow", routes[i].methods);
        (void)api_fail(&e, 405, NULL, "%s wants %s", handler, routes[i].page ? "GET" : "POST");
    } else if (!routes[i].page && coding && strcasecmp(coding, "identity") != 0) {
        (void)api_fail(&e, 415, NULL, "Content-Encoding: %.40s is not known here: send the body as it is",
                       coding);
    } else if (!routes[i].page && h->stopping) {
        (void)api_fail(&e, 503, NULL, "the coordinator is stopping");
    }
    if (e.http)
        http_reply_error(h, req, handler, &e);
    else if (routes[i].page)
        routes[i].page(h, req, handler);
    else
        http_client_start(h, req, handler, routes[i].kind);
}

static size_t held_by_text(void *ctx) {
    const http *h = ctx;
    return text_bytes_away(h->opt.text);
}

status http_open(http **out, const char *address, const http_options *opt, errbuf *eb) {
    PRE(out);
    PRE(address);
    PRE(opt);
    PRE(opt->loop);
    PRE(opt->core);
    PRE(opt->streams);
    PRE(opt->text);
    PRE(opt->env);
    PRE(opt->meter);
    PRE(opt->trace);
    PRE(opt->access.origins);
    http *h = xcalloc(1, sizeof *h);
    h->opt = *opt;
    http_server_options so = {.loop = opt->loop,
                              .limits = opt->limits,
                              .tls = opt->tls,
                              .ctx = h,
                              .held_elsewhere = held_by_text,
                              .wants_body = wants_body,
                              .request = on_request,
                              .refused = on_refused};
    status st = http_server_open(&h->server, address, &so, eb);
    if (st != ST_OK) {
        http_free(h);
        return st;
    }
    *out = h;
    return ST_OK;
}

void http_free(http *h) {
    if (!h) return;
    http_server_free(h->server); /* each client hears that it is gone */
    CHECK(h->clients == NULL);
    CHECK(h->feeds == NULL);
    buf_done(&h->scratch);
    free(h);
}

uint16_t http_port(const http *h) {
    return http_server_port(h->server);
}
uint32_t http_client_count(const http *h) {
    return h->client_count + h->feed_count;
}

void http_turn(http *h, uint64_t now_ns) {
    PRE(h);
    while (h->dirty) http_client_render(h->dirty);
    http_feeds_turn(h);
    live_turn(h, now_ns);
    if (now_ns < h->scan_ns) return;
    h->scan_ns = now_ns + SCAN_NS;
    http_server_check(h->server, now_ns);
}

void http_set_keys(http *h, const http_keys *keys) {
    PRE(h);
    h->opt.access.keys = keys;
}

void http_set_tls(http *h, const http_tls *tls) {
    PRE(h);
    http_server_set_tls(h->server, tls);
}

uint32_t http_asked(const http *h) {
    PRE(h);
    return h->client_count;
}

size_t http_owed(const http *h) {
    PRE(h);
    return http_server_unsent(h->server);
}

void http_drain(http *h) {
    PRE(h);
    h->stopping = true;
}

void http_stop(http *h, const char *why) {
    PRE(h);
    PRE(why);
    h->stopping = true;
    http_server_stop(h->server);
    http_client *c, *next;
    DL_FOREACH_SAFE(h->clients, c, next) http_client_fail(c, 503, why);
    while (h->feeds) http_feed_drop(h->feeds);
}
