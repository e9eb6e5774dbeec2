#include "bench/load/http_pool.h"

#include "base/clock.h"
#include "base/mem.h"
#include "bench/load/tls_client.h"

#include <errno.h>
#include <event2/event.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#define READ_BYTES 65536

/* An exchange and its connection: a kept connection is one between two exchanges. */
struct http_exchange {
    http_pool *pool;
    int fd;          /* -1: it could not be opened */
    tls_socket *tls; /* NULL: plain */
    bool connected, busy, reused, writing;
    bool heard; /* a byte of this answer */
    struct event *readable, *writable;
    struct event *failed; /* tells later what is known at once; NULL mostly */
    buf out;              /* the request; kept until a byte of the answer came */
    size_t sent;
    http_response response;
    http_exchange_handler handler;
    errbuf error;
    http_exchange *prev, *next;
};

struct http_pool {
    struct event_base *base;
    struct addrinfo *addresses;      /* of the host; owned */
    struct addrinfo *address;        /* the one in use: the next after each refusal ("localhost" has two) */
    char name[300];                  /* HOST:PORT for texts */
    const tls_client *trust;         /* NULL: plain */
    char host[256];                  /* whom it trusts */
    http_exchange *idle, *exchanges; /* kept, newest first; running */
    char bytes[READ_BYTES];
};

static void exchange_free(http_exchange *x) {
    if (x->busy)
        DL_DELETE(x->pool->exchanges, x);
    else
        DL_DELETE(x->pool->idle, x);
    if (x->readable) event_free(x->readable);
    if (x->writable) event_free(x->writable);
    if (x->failed) event_free(x->failed);
    tls_socket_free(x->tls);
    if (x->fd >= 0) close(x->fd);
    buf_done(&x->out);
    http_response_done(&x->response);
    free(x);
}

/* Over, with an error. */
static void fail(http_exchange *x, uint64_t at_ns) {
    http_exchange_handler h = x->handler;
    http_response r = x->response;
    errbuf e = x->error;
    r.line = (buf){0}; /* it goes with the exchange */
    exchange_free(x);
    h.end(h.ctx, &r, at_ns, e.text);
}

static void on_failed(evutil_socket_t fd, short what, void *ctx) {
    (void)fd, (void)what;
    fail(ctx, clock_now_ns());
}

static void fail_later(http_exchange *x) {
    if (!x->failed) x->failed = evtimer_new(x->pool->base, on_failed, x);
    CHECK(x->failed);
    struct timeval now = {0};
    CHECK(event_add(x->failed, &now) == 0);
}

/* What is said of a connection that ended with this errno. */
static void note(http_exchange *x, int code) {
    errbuf why = x->error; /* of TLS, if it was that */
    errf(&x->error, ST_PEER, "%s: %s", x->pool->name,
         code == EPROTO && why.text[0] ? why.text : strerror(code));
}

static ssize_t send_bytes(http_exchange *x) {
    const char *bytes = x->out.data + x->sent;
    size_t count = x->out.len - x->sent;
    return x->tls ? tls_socket_write(x->tls, bytes, count, &x->error)
                  : send(x->fd, bytes, count, MSG_NOSIGNAL);
}

static void write_some(http_exchange *x) {
    while (x->sent < x->out.len) {
        ssize_t n = send_bytes(x);
        if (n > 0) {
            x->sent += (size_t)n;
            continue;
        }
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            if (x->tls && tls_socket_wants_read(x->tls)) break; /* on_readable goes on */
            if (!x->writing) CHECK(event_add(x->writable, NULL) == 0);
            x->writing = true;
            return;
        }
        break; /* what the server did is told by the next read */
    }
    if (x->writing) event_del(x->writable);
    x->writing = false;
}

static void on_readable(evutil_socket_t fd, short what, void *ctx);

static void on_writable(evutil_socket_t fd, short what, void *ctx) {
    (void)what;
    http_exchange *x = ctx;
    http_pool *p = x->pool;
    if (!x->connected) {
        int code = 0;
        socklen_t size = sizeof code;
        (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size);
        if (code) {
            p->address = p->address->ai_next ? p->address->ai_next : p->addresses;
            note(x, code);
            fail(x, clock_now_ns());
            return;
        }
        x->connected = true;
        if (p->trust) x->tls = tls_client_open(p->trust, fd, p->host);
        CHECK(event_add(x->readable, NULL) == 0);
    }
    write_some(x);
}

static bool connect_it(http_exchange *x) {
    const struct addrinfo *a = x->pool->address;
    int one = 1;
    x->fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (x->fd < 0) {
        errf(&x->error, ST_IO, "a socket to %s: %s: raise the limit of open files (ulimit -n)", x->pool->name,
             strerror(errno));
        return false;
    }
    (void)setsockopt(x->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(x->fd, a->ai_addr, a->ai_addrlen) != 0 && errno != EINPROGRESS) {
        errf(&x->error, ST_IO, "%s: %s", x->pool->name, strerror(errno));
        return false;
    }
    x->readable = event_new(x->pool->base, x->fd, EV_READ | EV_PERSIST, on_readable, x);
    x->writable = event_new(x->pool->base, x->fd, EV_WRITE | EV_PERSIST, on_writable, x);
    CHECK(x->readable);
    CHECK(x->writable);
    CHECK(event_add(x->writable, NULL) == 0);
    x->writing = true;
    return true;
}

http_exchange *http_pool_send(http_pool *p, const char *bytes, size_t count, const http_exchange_handler *h) {
    PRE(p);
    PRE(bytes);
    PRE(h);
    PRE(h->body);
    PRE(h->end);
    http_exchange *x = p->idle;
    if (x) {
        DL_DELETE(p->idle, x);
        x->reused = true;
    } else {
        x = xcalloc(1, sizeof *x);
        x->pool = p;
        x->fd = -1;
    }
    DL_APPEND(p->exchanges, x);
    x->busy = true;
    x->heard = false;
    x->handler = *h;
    x->sent = 0;
    buf_reset(&x->out);
    buf_add(&x->out, bytes, count);
    http_response_begin(&x->response);
    if (x->reused)
        write_some(x);
    else if (!connect_it(x))
        fail_later(x);
    return x;
}

void http_exchange_cancel(http_exchange *x) {
    PRE(x);
    PRE(x->busy);
    exchange_free(x);
}

/* The whole response is there: the connection is kept, if it may be, before anybody is told. */
static void ended(http_exchange *x, uint64_t at_ns, bool more) {
    http_exchange_handler h = x->handler;
    http_response r = x->response;
    r.line = (buf){0};
    if (r.keep_alive && !more && x->sent == x->out.len) {
        DL_DELETE(x->pool->exchanges, x);
        DL_PREPEND(x->pool->idle, x);
        x->busy = false;
    } else {
        exchange_free(x);
    }
    h.end(h.ctx, &r, at_ns, NULL);
}

/* A kept connection that the server had closed meanwhile. */
static void send_again(http_exchange *x) {
    event_free(x->readable);
    event_free(x->writable);
    tls_socket_free(x->tls);
    x->tls = NULL;
    close(x->fd);
    x->readable = x->writable = NULL;
    x->fd = -1;
    x->reused = x->connected = x->writing = false;
    x->error = (errbuf){0};
    x->sent = 0;
    http_response_begin(&x->response);
    if (!connect_it(x)) fail_later(x);
}

static void closed(http_exchange *x, int code, uint64_t at_ns) {
    if (!x->busy) {
        exchange_free(x);
    } else if (x->reused && !x->heard) {
        send_again(x);
    } else if (code) {
        note(x, code);
        fail(x, at_ns);
    } else if (http_response_close(&x->response, &x->error) == ST_OK) {
        ended(x, at_ns, false);
    } else {
        fail(x, at_ns);
    }
}

typedef struct body_ctx {
    http_exchange *x;
    uint64_t at_ns;
} body_ctx;

static void on_body(void *ctx, const char *bytes, size_t count) {
    body_ctx *b = ctx;
    b->x->handler.body(b->x->handler.ctx, &b->x->response, bytes, count, b->at_ns);
}

/* Returns whether there may be more that the socket will not tell of. */
static bool read_some(http_exchange *x) {
    char *bytes = x->pool->bytes;
    ssize_t n =
        x->tls ? tls_socket_read(x->tls, bytes, READ_BYTES, &x->error) : read(x->fd, bytes, READ_BYTES);
    uint64_t now = clock_now_ns();
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return false;
    if (n <= 0 || !x->busy) { /* bytes that nobody asked for end a kept connection too */
        closed(x, n < 0 ? errno : 0, now);
        return false;
    }
    x->heard = true;
    size_t used = 0;
    body_ctx b = {.x = x, .at_ns = now};
    status st = http_response_feed(&x->response, bytes, (size_t)n, &used, on_body, &b, &x->error);
    if (st != ST_OK)
        fail(x, now);
    else if (x->response.part == HTTP_ENDED)
        ended(x, now, used < (size_t)n);
    else
        return x->tls && tls_socket_pending(x->tls);
    return false;
}

static void on_readable(evutil_socket_t fd, short what, void *ctx) {
    (void)fd, (void)what;
    http_exchange *x = ctx;
    if (x->tls && x->busy && x->sent < x->out.len) write_some(x); /* the handshake goes on */
    while (read_some(x)) {
    }
}

status http_pool_new(http_pool **out, struct event_base *base, const http_url *url, errbuf *eb) {
    PRE(out);
    PRE(base);
    PRE(url);
    PRE(!url->secure == !url->trust);
    const char *host = url->at.host, *port = url->at.port;
    struct addrinfo hint = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *address = NULL;
    int code = getaddrinfo(host, port, &hint, &address);
    if (code != 0) return errf(eb, ST_IO, "the host '%s' is not found: %s", host, gai_strerror(code));
    http_pool *p = xcalloc(1, sizeof *p);
    p->base = base;
    p->addresses = p->address = address;
    snprintf(p->name, sizeof p->name, "%s:%s", host, port);
    p->trust = url->trust;
    snprintf(p->host, sizeof p->host, "%s", host);
    *out = p;
    return ST_OK;
}

void http_pool_free(http_pool *p) {
    if (!p) return;
    http_exchange *x, *next;
    DL_FOREACH_SAFE(p->exchanges, x, next) exchange_free(x);
    DL_FOREACH_SAFE(p->idle, x, next) exchange_free(x);
    freeaddrinfo(p->addresses);
    free(p);
}
