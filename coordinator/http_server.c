#include "coordinator/http_server.h"

#include "base/clock.h"
#include "base/hostport.h"
#include "base/log.h"
#include "base/mem.h"
#include "coordinator/http_conn.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <utlist.h>

#define COMPLAINT_NS (10 * NS_PER_S) /* between two warnings of the same kind */

enum { BACKLOG = 1024 };

static void on_resume(evutil_socket_t fd, short what, void *ctx) {
    (void)fd, (void)what;
    http_server *s = ctx;
    http_conn *last = s->waiting ? s->waiting->wait_prev : NULL; /* those that come meanwhile wait */
    for (bool more = last != NULL; more;) {
        http_conn *c = s->waiting;
        more = c != last;
        DL_DELETE2(s->waiting, c, wait_prev, wait_next);
        c->waits = false;
        http_conn_advance(c);
    }
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *from, int len,
                      void *ctx) {
    (void)l, (void)len;
    http_server *s = ctx;
    const http_turn_away *why = http_crowd_refuses(&s->crowd, from);
    if (why == &http_crowd_full && http_conn_close_idle(s)) why = NULL;
    if (why && s->crowd.turned_away == HTTP_TURNED_AWAY_MAX)
        evutil_closesocket(fd);
    else
        http_conn_open(s, fd, from, why);
}

/* Out of descriptors the listener would be ready for ever and the loop would spin: it rests until the next
 * check. */
static void on_accept_error(struct evconnlistener *l, void *ctx) {
    http_server *s = ctx;
    uint64_t now_ns = clock_now_ns();
    if (!s->complained_ns || now_ns - s->complained_ns >= COMPLAINT_NS) {
        log_warn("http", "cannot accept: raise the limit of open files (ulimit -n)", "why=%s connections=%u",
                 strerror(errno), s->crowd.count);
        s->complained_ns = now_ns;
    }
    evconnlistener_disable(l);
}

/* The rest is for workers, native clients and files. */
static void fit_to_descriptors(http_limits *l) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == RLIM_INFINITY) return;
    uint64_t most = files.rlim_cur - files.rlim_cur / 4;
    if (l->conns_max <= most) return;
    log_warn("http",
             "fewer connections than limits.max_connections: raise the limit of open files (ulimit -n)",
             "connections=%" PRIu64 " wanted=%u", most, l->conns_max);
    l->conns_max = (uint32_t)most;
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
    PRE(opt->wants_body);
    PRE(opt->request);
    PRE(opt->refused);
    PRE(opt->limits.head_max > 0);
    PRE(opt->limits.body_max > 0);
    PRE(opt->limits.held_max > 0);
    PRE(opt->limits.conns_max > 0);
    PRE(opt->limits.idle_ns > 0);
    PRE(opt->limits.head_ns > 0);
    PRE(opt->limits.body_ns > 0);
    PRE(opt->limits.slow_client_ns > 0);
    http_server *s = xcalloc(1, sizeof *s);
    s->opt = *opt;
    s->tls = opt->tls;
    fit_to_descriptors(&s->opt.limits);
    http_crowd_init(&s->crowd, &s->opt.limits);
    s->resume = event_new(loop_base(opt->loop), -1, 0, on_resume, s);
    CHECK(s->resume);
    status st = hangups_new(&s->hangups, opt->loop, http_conn_gone, eb);
    if (st == ST_OK) st = listen_on(s, address, eb);
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
    while (s->conns) http_conn_end(s->conns);
    http_crowd_done(&s->crowd);
    hangups_free(s->hangups);
    event_free(s->resume);
    free(s);
}

uint16_t http_server_port(const http_server *s) {
    PRE(s);
    return s->port;
}

void http_server_crowd(const http_server *s, uint32_t *connections, size_t *held) {
    PRE(s);
    PRE(connections);
    PRE(held);
    *connections = s->crowd.count;
    *held = s->crowd.held;
}

size_t http_server_unsent(const http_server *s) {
    PRE(s);
    size_t unsent = 0;
    const http_conn *c;
    DL_FOREACH(s->conns, c) unsent += evbuffer_get_length(http_conn_output(c));
    return unsent;
}

void http_server_stop(http_server *s) {
    PRE(s);
    if (s->listener) evconnlistener_free(s->listener);
    s->listener = NULL;
}

void http_server_set_tls(http_server *s, const http_tls *tls) {
    PRE(s);
    PRE(tls);
    s->tls = tls;
}

void http_server_check(http_server *s, uint64_t now_ns) {
    PRE(s);
    http_conn *c, *next;
    DL_FOREACH_SAFE(s->conns, c, next) http_conn_check(c, now_ns);
    if (s->listener) evconnlistener_enable(s->listener);
}
