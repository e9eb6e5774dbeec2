#include "coordinator/http_server.h"

#include "base/clock.h"
#include "base/hostport.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

enum { BACKLOG = 1024 };
#define IDLE_NS   (120 * NS_PER_S) /* a connection on which nothing is asked */
#define HEAD_NS   (30 * NS_PER_S)  /* from a head's first byte to its last */
#define SILENT_NS (30 * NS_PER_S)  /* a body of which nothing comes */
#define BODY_NS   (300 * NS_PER_S) /* a body, from its first byte to its last */
#define LINGER_NS (5 * NS_PER_S)
/* Input is read so far ahead; a head and a chunk's line fit. */
#define INPUT_MAX (2 * HTTP_HEAD_MAX)
/* Requests that were sent ahead wait while so much of earlier answers is unsent. */
#define OUTPUT_MAX ((size_t)256 * 1024)

typedef enum conn_state {
    CONN_HEAD,
    CONN_BODY,
    CONN_PENDING, /* the request is with who answers it */
    CONN_FLUSH,   /* the last answer leaves */
    CONN_LINGER   /* it has left; what comes is thrown away */
} conn_state;

struct http_conn {
    http_server *server;
    struct bufferevent *bev;
    struct event *closed; /* EV_CLOSED; added while pending */
    conn_state state;
    http_request request;
    http_chunks chunks;
    size_t seen;          /* bytes of the input that hold no end of the head */
    bool refused;         /* linger after the answer */
    bool ended;           /* the client sends no more */
    bool busy, dead;      /* in advance(); to be freed when it is left */
    bool waits;           /* on the server's list of those to go on with */
    uint64_t deadline_ns; /* of HEAD, BODY, LINGER */
    uint64_t body_end_ns;
    size_t unsent; /* at the last look */
    uint64_t drained_ns;
    http_conn *prev, *next, *wait_prev, *wait_next;
};

struct http_server {
    http_server_options opt;
    struct evconnlistener *listener; /* NULL after http_server_stop */
    uint16_t port;
    http_conn *conns, *waiting;
    struct event *resume; /* goes on with those that wait */
};

static void advance(http_conn *c);

static struct evbuffer *output_of(const http_conn *c) {
    return bufferevent_get_output(c->bev);
}

static void conn_free(http_conn *c) {
    if (c->busy) {
        c->dead = true;
        return;
    }
    if (c->waits) DL_DELETE2(c->server->waiting, c, wait_prev, wait_next);
    DL_DELETE(c->server->conns, c);
    event_free(c->closed);
    bufferevent_free(c->bev);
    http_head_done(&c->request.head);
    evhttp_clear_headers(&c->request.out);
    evbuffer_free(c->request.body);
    free(c);
}

/* The connection is over; who answers hears of it first. */
static void conn_end(http_conn *c) {
    http_request *r = &c->request;
    void (*gone)(void *) = c->state == CONN_PENDING ? r->gone : NULL;
    void *owner = r->owner;
    r->gone = r->drained = NULL;
    if (gone) gone(owner);
    conn_free(c);
}

static void request_reset(http_conn *c) {
    http_request *r = &c->request;
    http_head_done(&r->head);
    evhttp_clear_headers(&r->out);
    evbuffer_drain(r->body, evbuffer_get_length(r->body));
    r->owner = NULL;
    r->gone = r->drained = NULL;
    r->started = r->pieces = false;
    c->chunks = (http_chunks){0};
    c->seen = 0;
}

/* ---- answers ---- */

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
    struct evbuffer *out = output_of(c);
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

/* The answer is with libevent: the next request, or the end. */
static void answer_done(http_request *r) {
    http_conn *c = r->conn;
    uint64_t now_ns = clock_now_ns();
    bool keep = r->head.keep && !c->refused;
    event_del(c->closed);
    request_reset(c);
    c->state = keep ? CONN_HEAD : CONN_FLUSH;
    c->deadline_ns = now_ns + IDLE_NS;
    c->drained_ns = now_ns;
    c->unsent = SIZE_MAX;
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
    if (r->head.method != HTTP_HEAD && code != 204) CHECK(evbuffer_add(output_of(r->conn), body, len) == 0);
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
    struct evbuffer *out = output_of(r->conn);
    if (r->pieces) evbuffer_add_printf(out, "%zx\r\n", len);
    CHECK(evbuffer_add(out, bytes, len) == 0);
    if (r->pieces) CHECK(evbuffer_add(out, "\r\n", 2) == 0);
}

void http_send_end(http_request *r) {
    PRE(r);
    PRE(r->started);
    if (r->pieces && r->head.method != HTTP_HEAD)
        CHECK(evbuffer_add(output_of(r->conn), "0\r\n\r\n", 5) == 0);
    answer_done(r);
}

void http_drop(http_request *r) {
    PRE(r);
    r->gone = NULL;
    conn_end(r->conn);
}

size_t http_unsent(const http_request *r) {
    PRE(r);
    return evbuffer_get_length(output_of(r->conn));
}

/* ---- reading ---- */

/* The connection ends with this answer. */
static void refuse(http_conn *c, const api_error *e) {
    struct evbuffer *in = bufferevent_get_input(c->bev);
    evbuffer_drain(in, evbuffer_get_length(in));
    c->refused = true;
    c->request.head.keep = false;
    c->state = CONN_PENDING;
    c->server->opt.refused(c->server->opt.ctx, &c->request, e);
    CHECK(c->state == CONN_FLUSH);
}

static void hand_over(http_conn *c) {
    bufferevent_disable(c->bev, EV_READ);
    c->state = CONN_PENDING;
    c->request.whole_ns = clock_now_ns();
    CHECK(event_add(c->closed, NULL) == 0);
    c->server->opt.request(c->server->opt.ctx, &c->request);
}

/* Each step returns whether there may be another. */
static bool step_head(http_conn *c) {
    struct evbuffer *in = bufferevent_get_input(c->bev);
    size_t len = MIN(evbuffer_get_length(in), HTTP_HEAD_MAX);
    if (!len || evbuffer_get_length(output_of(c)) > OUTPUT_MAX) return false;
    uint64_t now_ns = clock_now_ns();
    if (!c->seen) c->deadline_ns = now_ns + HEAD_NS;
    const char *bytes = (const char *)evbuffer_pullup(in, (ev_ssize_t)len);
    CHECK(bytes);
    api_error e = {0};
    size_t head = http_head_end(bytes, len, c->seen, &e);
    c->seen = len;
    if (!head && !e.http) return false;
    http_request *r = &c->request;
    if (head && http_head_parse(&r->head, bytes, head, &e) == ST_OK &&
        r->head.length > c->server->opt.body_max)
        (void)http_body_too_long(r->head.length, r->head.length == SIZE_MAX, c->server->opt.body_max, &e);
    if (e.http) {
        refuse(c, &e);
        return false;
    }
    evbuffer_drain(in, head);
    c->state = CONN_BODY;
    c->body_end_ns = now_ns + BODY_NS;
    if (r->head.expects_continue && !evbuffer_get_length(in))
        evbuffer_add_printf(output_of(c), "HTTP/1.1 100 Continue\r\n\r\n");
    return true;
}

static bool step_body(http_conn *c) {
    struct evbuffer *in = bufferevent_get_input(c->bev);
    http_request *r = &c->request;
    c->deadline_ns = MIN(clock_now_ns() + SILENT_NS, c->body_end_ns);
    if (r->head.chunked) {
        api_error e = {0};
        status st = http_chunks_read(&c->chunks, in, r->body, c->server->opt.body_max, &e);
        if (st == ST_INVALID) refuse(c, &e);
        if (st != ST_OK) return false;
    } else {
        size_t left = r->head.length - evbuffer_get_length(r->body);
        size_t take = MIN(left, evbuffer_get_length(in));
        if (take) CHECK(evbuffer_remove_buffer(in, r->body, take) == (int)take);
        if (take < left) return false;
    }
    hand_over(c);
    return true;
}

/* Goes on as far as what is there allows. c may be freed. */
static void advance(http_conn *c) {
    if (c->busy) return;
    c->busy = true;
    bool more = true;
    while (more && !c->dead) {
        if (c->state == CONN_HEAD)
            more = step_head(c);
        else
            more = c->state == CONN_BODY && step_body(c);
    }
    c->busy = false;
    if (c->dead) {
        conn_free(c);
        return;
    }
    if (c->state == CONN_PENDING) return;
    bool unsent = evbuffer_get_length(output_of(c)) > 0;
    bool stalled = c->state == CONN_HEAD && evbuffer_get_length(output_of(c)) > OUTPUT_MAX;
    if (c->ended && c->state <= CONN_BODY && !stalled) { /* and what it sent is no whole request */
        c->state = CONN_FLUSH;
        c->refused = false;
    }
    if (c->state == CONN_FLUSH && !unsent && !c->refused)
        conn_end(c);
    else if (!c->ended)
        bufferevent_enable(c->bev, EV_READ);
}

static void on_read(struct bufferevent *bev, void *ctx) {
    http_conn *c = ctx;
    if (c->state >= CONN_FLUSH) {
        struct evbuffer *in = bufferevent_get_input(bev);
        evbuffer_drain(in, evbuffer_get_length(in));
        return;
    }
    advance(c);
}

/* All that was given has left. */
static void on_write(struct bufferevent *bev, void *ctx) {
    http_conn *c = ctx;
    if (evbuffer_get_length(bufferevent_get_output(bev))) return;
    if (c->state == CONN_PENDING) {
        if (c->request.drained) c->request.drained(c->request.owner);
    } else if (c->state == CONN_FLUSH && c->refused && !c->ended) {
        c->state = CONN_LINGER;
        c->deadline_ns = clock_now_ns() + LINGER_NS;
        (void)shutdown(bufferevent_getfd(bev), SHUT_WR);
    } else if (c->state == CONN_FLUSH) {
        conn_end(c);
    } else {
        advance(c); /* requests may wait for room in the output */
    }
}

static void on_event(struct bufferevent *bev, short what, void *ctx) {
    http_conn *c = ctx;
    bool over = (what & BEV_EVENT_ERROR) || c->state == CONN_PENDING || c->state == CONN_LINGER ||
                !evbuffer_get_length(bufferevent_get_output(bev));
    if (over) {
        conn_end(c);
        return;
    }
    /* It wants no more than what is on its way, and has shut down its side. */
    c->ended = true;
    advance(c);
}

static void on_closed(evutil_socket_t fd, short what, void *ctx) {
    (void)fd, (void)what;
    conn_end(ctx);
}

static void on_resume(evutil_socket_t fd, short what, void *ctx) {
    (void)fd, (void)what;
    http_server *s = ctx;
    http_conn *last = s->waiting ? s->waiting->wait_prev : NULL; /* those that come meanwhile wait */
    for (bool more = last != NULL; more;) {
        http_conn *c = s->waiting;
        more = c != last;
        DL_DELETE2(s->waiting, c, wait_prev, wait_next);
        c->waits = false;
        advance(c);
    }
}

/* ---- the server ---- */

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *from, int len,
                      void *ctx) {
    (void)l, (void)from, (void)len;
    http_server *s = ctx;
    struct event_base *base = loop_base(s->opt.loop);
    int one = 1; /* or each event waits for the acknowledgement of the one before */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    http_conn *c = xcalloc(1, sizeof *c);
    c->server = s;
    c->bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    CHECK(c->bev);
    c->closed = event_new(base, fd, EV_CLOSED, on_closed, c);
    CHECK(c->closed);
    c->request.conn = c;
    c->request.body = evbuffer_new();
    CHECK(c->request.body);
    http_head_init(&c->request.head);
    TAILQ_INIT(&c->request.out);
    c->deadline_ns = clock_now_ns() + IDLE_NS;
    DL_APPEND(s->conns, c);
    bufferevent_setcb(c->bev, on_read, on_write, on_event, c);
    bufferevent_setwatermark(c->bev, EV_READ, 0, INPUT_MAX);
    bufferevent_enable(c->bev, EV_READ | EV_WRITE);
}

/* Out of descriptors the listener would be ready for ever and the loop would spin: it rests until the next
 * check. */
static void on_accept_error(struct evconnlistener *l, void *ctx) {
    (void)ctx;
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
static status listen_on(http_server *s, const char *address, errbuf *eb) {
    hostport at;
    if (!hostport_parse(&at, address, false))
        return errf(eb, ST_INVALID, "cluster.http: '%s' is no address, want HOST:PORT", address);
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(at.host, at.port, &hints, &found);
    if (rc != 0) return errf(eb, ST_IO, "cluster.http: '%s': %s", address, gai_strerror(rc));
    s->listener = evconnlistener_new_bind(loop_base(s->opt.loop), on_accept, s,
                                          LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_CLOSE_ON_FREE,
                                          BACKLOG, found->ai_addr, (int)found->ai_addrlen);
    int cause = errno;
    freeaddrinfo(found);
    if (!s->listener && cause == EADDRINUSE) {
        return errf(
            eb, ST_IO,
            "http: %s is in use: stop the program that listens there, or set cluster.http to another port",
            address);
    }
    if (!s->listener)
        return errf(eb, ST_IO, "http: cannot listen on %s: %s: set cluster.http", address, strerror(cause));
    evconnlistener_set_error_cb(s->listener, on_accept_error);
    s->port = bound_port(evconnlistener_get_fd(s->listener));
    return ST_OK;
}

status http_server_open(http_server **out, const char *address, const http_server_options *opt, errbuf *eb) {
    PRE(out);
    PRE(address);
    PRE(opt);
    PRE(opt->loop);
    PRE(opt->request);
    PRE(opt->refused);
    struct event_base *base = loop_base(opt->loop);
    if (!(event_base_get_features(base) & EV_FEATURE_EARLY_CLOSE)) {
        return errf(eb, ST_UNSUPPORTED,
                    "http: libevent's backend '%s' cannot tell when a client leaves: want epoll",
                    event_base_get_method(base));
    }
    http_server *s = xcalloc(1, sizeof *s);
    s->opt = *opt;
    s->resume = event_new(base, -1, 0, on_resume, s);
    CHECK(s->resume);
    status st = listen_on(s, address, eb);
    if (st != ST_OK) {
        http_server_free(s);
        return st;
    }
    *out = s;
    return ST_OK;
}

void http_server_free(http_server *s) {
    if (!s) return;
    http_server_stop(s);
    while (s->conns) conn_end(s->conns);
    event_free(s->resume);
    free(s);
}

uint16_t http_server_port(const http_server *s) {
    PRE(s);
    return s->port;
}

void http_server_stop(http_server *s) {
    PRE(s);
    if (s->listener) evconnlistener_free(s->listener);
    s->listener = NULL;
}

/* A request that came half, or an answer that is not read, for too long. c may be freed. */
static void conn_check(http_conn *c, uint64_t now_ns) {
    if (c->state == CONN_PENDING) return; /* who answers it watches */
    size_t unsent = evbuffer_get_length(output_of(c));
    if (unsent < c->unsent || !c->unsent) c->drained_ns = now_ns;
    c->unsent = unsent;
    if (unsent && now_ns > c->drained_ns && now_ns - c->drained_ns >= c->server->opt.slow_client_ns) {
        log_warn("http", "client does not read, dropped", "unsent=%zu", unsent);
        conn_end(c);
        return;
    }
    if (now_ns < c->deadline_ns || unsent) return;
    if (c->state == CONN_LINGER || (c->state == CONN_HEAD && !c->seen)) {
        conn_end(c);
    } else if (c->state == CONN_HEAD || c->state == CONN_BODY) {
        api_error e = {0};
        (void)api_fail(&e, 408, NULL, "the request did not come to its end in time");
        refuse(c, &e);
    }
}

void http_server_check(http_server *s, uint64_t now_ns) {
    PRE(s);
    http_conn *c, *next;
    DL_FOREACH_SAFE(s->conns, c, next) conn_check(c, now_ns);
    if (s->listener) evconnlistener_enable(s->listener);
}
