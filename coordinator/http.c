#include "coordinator/http.h"

#include "base/clock.h"
#include "base/hostport.h"
#include "base/log.h"
#include "coordinator/http_feed.h"
#include "coordinator/live.h"
#include "coordinator/trace_json.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

enum {
    BACKLOG = 1024,
    IDLE_S = 120, /* a kept-alive connection, or a request that does not arrive */
    HEADERS_MAX = 64 * 1024,
};
#define SCAN_NS           250000000ull /* between two looks at slow clients */
#define TRACE_READERS_MAX (HTTP_FEEDS_MAX - LIVE_READERS_MAX)
#define TRACE_LAST        100u /* requests, when nobody says how many */

typedef void page_fn(http *h, struct evhttp_request *req, const char *path);

static void reply_page(http *h, struct evhttp_request *req, const char *path, uint32_t code, const char *type,
                       buf *body) {
    char id[HTTP_REQUEST_ID_MAX];
    http_take_request_id(req, id);
    http_reply(h, req, path, code, type, body);
    buf_done(body);
}

static void refuse(http *h, struct evhttp_request *req, const char *handler, const api_error *e) {
    char id[HTTP_REQUEST_ID_MAX];
    http_take_request_id(req, id);
    http_reply_error(h, req, handler, e);
}

static void page_health(http *h, struct evhttp_request *req, const char *path) {
    buf body = {0};
    uint32_t code = health_page(&body, h->opt.core, &h->opt.facts, h->stopping, clock_now_ns());
    reply_page(h, req, path, code, "application/json", &body);
}

static void page_ready(http *h, struct evhttp_request *req, const char *path) {
    buf body = {0};
    uint32_t code = health_ready(&body, h->opt.core, &h->opt.facts, h->stopping, clock_now_ns());
    reply_page(h, req, path, code, "text/plain; charset=utf-8", &body);
}

static void page_ping(http *h, struct evhttp_request *req, const char *path) {
    buf body = {0};
    reply_page(h, req, path, 200, "application/json", &body);
}

static void page_models(http *h, struct evhttp_request *req, const char *path) {
    buf body = {0};
    health_models(&body, &h->opt.facts);
    reply_page(h, req, path, 200, "application/json", &body);
}

static void page_model(http *h, struct evhttp_request *req, const char *path) {
    buf body = {0};
    health_model(&body, &h->opt.facts);
    reply_page(h, req, path, 200, "application/json", &body);
}

static void page_version(http *h, struct evhttp_request *req, const char *path) {
    buf body = {0};
    health_version(&body, h->opt.core, &h->opt.facts);
    reply_page(h, req, path, 200, "application/json", &body);
}

static void page_metrics(http *h, struct evhttp_request *req, const char *path) {
    buf body = {0};
    meter_print(h->opt.meter, h->opt.core, clock_now_ns(), &body);
    reply_page(h, req, path, 200, "text/plain; version=0.0.4; charset=utf-8", &body);
}

/* last=N of the query, 1 to TRACE_REQUESTS; absent: the default. 0: it is no such number. */
static uint32_t last_of(struct evhttp_request *req) {
    const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(req));
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

static void page_trace(http *h, struct evhttp_request *req, const char *path) {
    uint32_t last = last_of(req);
    api_error e = {0};
    if (!last)
        api_fail(&e, 400, "last", "last must be a number from 1 to %u: /trace?last=%u", TRACE_REQUESTS,
                 TRACE_LAST);
    else if (h->stopping || h->feed_count - h->live.count == TRACE_READERS_MAX)
        api_fail(&e, 503, NULL, "%s",
                 h->stopping ? "the coordinator is stopping" : "too many readers: try again later");
    if (e.http) {
        refuse(h, req, path, &e);
        return;
    }
    if (evhttp_request_get_command(req) == EVHTTP_REQ_HEAD) {
        buf body = {0};
        reply_page(h, req, path, 200, "application/json", &body);
        return;
    }
    char id[HTTP_REQUEST_ID_MAX];
    http_take_request_id(req, id);
    core_record *alive = xcalloc(last, sizeof *alive);
    uint32_t count = core_alive(h->opt.core, clock_now_ns(), alive, last);
    http_feed_source source = {
        .ctx = trace_json_new(h->opt.trace, last, alive, count), .more = more_of_trace, .gone = trace_gone};
    free(alive);
    (void)http_feed_start(h, req, path, "application/json", &source);
}

static const struct {
    const char *path;
    page_fn *page; /* NULL: a POST with a body, of this kind */
    api_kind kind;
} routes[] = {
    {"/v1/completions", NULL, API_COMPLETION},
    {"/v1/chat/completions", NULL, API_CHAT},
    {"/tokenize", NULL, API_TOKENIZE},
    {"/detokenize", NULL, API_DETOKENIZE},
    {"/v1/models", page_models, 0},
    {"/v1/models/", page_model, 0}, /* followed by the served name */
    {"/health", page_health, 0},
    {"/ready", page_ready, 0},
    {"/metrics", page_metrics, 0},
    {"/version", page_version, 0},
    {"/ping", page_ping, 0},
    {"/trace", page_trace, 0},
    {"/", live_page, 0},
    {"/live.js", live_page, 0},
    {"/live.css", live_page, 0},
    {"/events", live_events, 0},
};

static bool route_matches(const http *h, size_t i, const char *path) {
    if (routes[i].page != page_model) return strcmp(path, routes[i].path) == 0;
    size_t prefix = strlen(routes[i].path);
    if (strncmp(path, routes[i].path, prefix) != 0) return false;
    char *name = evhttp_uridecode(path + prefix, 0, NULL);
    bool same = name && strcmp(name, h->opt.facts.model) == 0;
    free(name);
    return same;
}

static void on_request(struct evhttp_request *req, void *ctx) {
    http *h = ctx;
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
    const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
    enum evhttp_cmd_type method = evhttp_request_get_command(req);
    api_error e = {0};
    size_t i = 0;
    while (i < ARRAY_LEN(routes) && !(path && route_matches(h, i, path))) i++;
    if (i == ARRAY_LEN(routes)) {
        api_fail(&e, 404, NULL,
                 "there is no %.100s here; see /v1/completions, /v1/chat/completions, /v1/models, /health",
                 path ? path : "such path");
        refuse(h, req, "unknown", &e);
        return;
    }
    bool is_page = routes[i].page != NULL;
    bool allowed =
        is_page ? method == EVHTTP_REQ_GET || method == EVHTTP_REQ_HEAD : method == EVHTTP_REQ_POST;
    if (!allowed) {
        evhttp_add_header(evhttp_request_get_output_headers(req), "Allow", is_page ? "GET, HEAD" : "POST");
        api_fail(&e, 405, NULL, "%s wants %s", routes[i].path, is_page ? "GET" : "POST");
        refuse(h, req, routes[i].path, &e);
    } else if (is_page) {
        routes[i].page(h, req, routes[i].path);
    } else if (h->stopping) {
        api_fail(&e, 503, NULL, "the coordinator is stopping");
        refuse(h, req, routes[i].path, &e);
    } else {
        http_client_start(h, req, routes[i].path, routes[i].kind);
    }
}

/* Out of descriptors the listener would be ready for ever and the loop would spin: it rests until the next
 * scan. */
static void on_accept_error(struct evconnlistener *l, void *ctx) {
    (void)ctx; /* evhttp's, not ours */
    log_warn("http", "cannot accept: raise the limit of open files (ulimit -n)", "why=%s", strerror(errno));
    evconnlistener_disable(l);
}

static uint16_t bound_port(evutil_socket_t fd) {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } sa = {.v6 = {0}};
    socklen_t len = sizeof sa;
    if (getsockname(fd, &sa.any, &len) != 0) return 0;
    return ntohs(sa.any.sa_family == AF_INET6 ? sa.v6.sin6_port : sa.v4.sin_port);
}

/* "host:port" or "[v6]:port" to a listening socket. */
static status listen_on(http *h, const char *address, errbuf *eb) {
    hostport at;
    if (!hostport_parse(&at, address, false))
        return errf(eb, ST_INVALID, "cluster.http: '%s' is no address, want HOST:PORT", address);
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(at.host, at.port, &hints, &found);
    if (rc != 0) return errf(eb, ST_IO, "cluster.http: '%s': %s", address, gai_strerror(rc));
    h->listener = evconnlistener_new_bind(loop_base(h->opt.loop), NULL, NULL,
                                          LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_CLOSE_ON_FREE,
                                          BACKLOG, found->ai_addr, (int)found->ai_addrlen);
    int cause = errno;
    freeaddrinfo(found);
    if (!h->listener && cause == EADDRINUSE) {
        return errf(
            eb, ST_IO,
            "http: %s is in use: stop the program that listens there, or set cluster.http to another port",
            address);
    }
    if (!h->listener)
        return errf(eb, ST_IO, "http: cannot listen on %s: %s: set cluster.http", address, strerror(cause));
    evconnlistener_set_error_cb(h->listener, on_accept_error);
    h->bound = evhttp_bind_listener(h->server, h->listener);
    CHECK(h->bound);
    h->port = bound_port(evconnlistener_get_fd(h->listener));
    return ST_OK;
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
    PRE(opt->body_max > 0);
    PRE(opt->slow_client_ns > 0);
    if (!(event_base_get_features(loop_base(opt->loop)) & EV_FEATURE_EARLY_CLOSE)) {
        return errf(eb, ST_UNSUPPORTED,
                    "http: libevent's backend '%s' cannot tell when a client leaves: want epoll",
                    event_base_get_method(loop_base(opt->loop)));
    }
    http *h = xcalloc(1, sizeof *h);
    h->opt = *opt;
    h->server = evhttp_new(loop_base(opt->loop));
    CHECK(h->server);
    evhttp_set_gencb(h->server, on_request, h);
    evhttp_set_allowed_methods(h->server, 0xffff); /* on_request answers 405 itself */
    evhttp_set_timeout(h->server, IDLE_S);
    evhttp_set_max_headers_size(h->server, HEADERS_MAX);
    /* Bodies up to the limit's double are read and answered with a JSON error; beyond, evhttp refuses with a
     * page of its own. */
    evhttp_set_max_body_size(h->server, (ev_ssize_t)(2 * opt->body_max));
    evhttp_set_flags(h->server, EVHTTP_SERVER_LINGERING_CLOSE);
    status st = listen_on(h, address, eb);
    if (st != ST_OK) {
        http_free(h);
        return st;
    }
    *out = h;
    return ST_OK;
}

void http_free(http *h) {
    if (!h) return;
    if (h->server) evhttp_free(h->server); /* each client hears on_connection_end */
    CHECK(h->clients == NULL);
    CHECK(h->feeds == NULL);
    buf_done(&h->scratch);
    free(h);
}

uint16_t http_port(const http *h) {
    return h->port;
}
uint32_t http_client_count(const http *h) {
    return h->client_count + h->feed_count;
}

void http_turn(http *h, uint64_t now_ns) {
    PRE(h);
    while (h->dirty) http_client_render(h->dirty, now_ns);
    http_feeds_turn(h);
    live_turn(h, now_ns);
    if (now_ns < h->scan_ns) return;
    h->scan_ns = now_ns + SCAN_NS;
    http_client *c, *next;
    DL_FOREACH_SAFE(h->clients, c, next) http_client_check(c, now_ns);
    http_feed *f, *after;
    DL_FOREACH_SAFE(h->feeds, f, after) http_feed_check(f, now_ns);
    if (h->bound) evconnlistener_enable(h->listener); /* on_accept_error may have switched it off */
}

void http_stop(http *h, const char *why) {
    PRE(h);
    PRE(why);
    h->stopping = true;
    if (h->bound) evhttp_del_accept_socket(h->server, h->bound);
    h->bound = NULL;
    http_client *c, *next;
    DL_FOREACH_SAFE(h->clients, c, next) http_client_fail(c, 503, why);
    while (h->feeds) http_feed_drop(h->feeds);
}
