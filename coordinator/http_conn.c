#include "coordinator/http_conn.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <utlist.h>

#define LINGER_NS (5 * NS_PER_S)

struct evbuffer *http_conn_output(const http_conn *c) {
    return bufferevent_get_output(c->bev);
}

static void conn_free(http_conn *c) {
    if (c->busy) {
        c->dead = true;
        return;
    }
    if (c->waits) DL_DELETE2(c->server->waiting, c, wait_prev, wait_next);
    http_conn_idle(c, false);
    http_crowd_remove(&c->server->crowd, &c->member);
    DL_DELETE(c->server->conns, c);
    http_conn_unwatch(c);
    if (!evbuffer_get_length(http_conn_output(c))) http_tls_finish(c->bev);
    bufferevent_free(c->bev);
    http_head_done(&c->request.head);
    evhttp_clear_headers(&c->request.out);
    evbuffer_free(c->request.body);
    free(c);
}

void http_conn_end(http_conn *c) {
    PRE(c);
    http_request *r = &c->request;
    void (*gone)(void *) = c->state == CONN_PENDING ? r->gone : NULL;
    void *owner = r->owner;
    r->gone = r->drained = NULL;
    if (gone) gone(owner);
    conn_free(c);
}

void http_conn_reset(http_conn *c) {
    PRE(c);
    http_request *r = &c->request;
    http_head_done(&r->head);
    evhttp_clear_headers(&r->out);
    evbuffer_drain(r->body, evbuffer_get_length(r->body));
    r->owner = NULL;
    r->gone = r->drained = NULL;
    r->started = r->pieces = false;
    r->client = 0;
    r->whole_ns = 0;
    c->chunks = (http_chunks){0};
    c->seen = 0;
}

void http_conn_idle(http_conn *c, bool idle) {
    PRE(c);
    if (c->idle == idle) return;
    c->idle = idle;
    if (idle)
        DL_APPEND2(c->server->idle, c, idle_prev, idle_next);
    else
        DL_DELETE2(c->server->idle, c, idle_prev, idle_next);
}

bool http_conn_close_idle(http_server *s) {
    PRE(s);
    for (http_conn *c = s->idle; c; c = c->idle_next) {
        if (c->busy || c->waits || evbuffer_get_length(http_conn_output(c))) continue; /* an answer leaves */
        http_conn_end(c);
        return true;
    }
    return false;
}

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

static void refuse_with(http_conn *c, uint32_t code, const char *why) {
    api_error e = {0};
    (void)api_fail(&e, code, NULL, "%s", why);
    refuse(c, &e);
}

/* ---- reading ---- */

static void hand_over(http_conn *c) {
    bufferevent_disable(c->bev, EV_READ);
    c->state = CONN_PENDING;
    c->request.whole_ns = clock_now_ns();
    hangups_add(c->server->hangups, bufferevent_getfd(c->bev), c);
    c->watched = true;
    c->server->opt.request(c->server->opt.ctx, &c->request);
}

/* Each step returns whether there may be another. */
static bool step_head(http_conn *c) {
    const http_limits *limits = &c->server->opt.limits;
    struct evbuffer *in = bufferevent_get_input(c->bev);
    size_t len = MIN(evbuffer_get_length(in), limits->head_max);
    if (len) http_conn_idle(c, false);
    if (!len || evbuffer_get_length(http_conn_output(c)) > HTTP_OUTPUT_MAX) return false;
    uint64_t now_ns = clock_now_ns();
    if (!c->seen) {
        c->begin_ns = now_ns;
        c->deadline_ns = now_ns + limits->head_ns;
    }
    const char *bytes = (const char *)evbuffer_pullup(in, (ev_ssize_t)len);
    CHECK(bytes);
    api_error e = {0};
    size_t head = http_head_end(bytes, len, c->seen, limits->head_max, &e);
    c->seen = len;
    if (!head && !e.http) return false;
    http_request *r = &c->request;
    if (head && http_head_parse(&r->head, bytes, head, &e) == ST_OK && r->head.length > limits->body_max)
        (void)http_body_too_long(r->head.length, r->head.length == SIZE_MAX, limits->body_max, &e);
    if (e.http) {
        refuse(c, &e);
        return false;
    }
    evbuffer_drain(in, head);
    if ((r->head.chunked || r->head.length) && !c->server->opt.wants_body(c->server->opt.ctx, r)) {
        evbuffer_drain(in, evbuffer_get_length(in));
        c->refused = true;
        r->head.keep = false;
        hand_over(c);
        return false;
    }
    c->state = CONN_BODY;
    c->body_begin_ns = now_ns;
    if (r->head.expects_continue && !evbuffer_get_length(in))
        evbuffer_add_printf(http_conn_output(c), "HTTP/1.1 100 Continue\r\n\r\n");
    return true;
}

static void await_body(http_conn *c) {
    c->deadline_ns = http_crowd_body_deadline(&c->server->opt.limits, c->body_begin_ns, clock_now_ns(),
                                              evbuffer_get_length(c->request.body));
}

static bool step_body(http_conn *c) {
    struct evbuffer *in = bufferevent_get_input(c->bev);
    http_request *r = &c->request;
    if (r->head.chunked) {
        api_error e = {0};
        status st = http_chunks_read(&c->chunks, in, r->body, c->server->opt.limits.body_max, &e);
        if (st == ST_INVALID) refuse(c, &e);
        if (st == ST_AGAIN) await_body(c);
        if (st != ST_OK) return false;
    } else {
        size_t left = r->head.length - evbuffer_get_length(r->body);
        size_t take = MIN(left, evbuffer_get_length(in));
        if (take) CHECK(evbuffer_remove_buffer(in, r->body, take) == (int)take);
        await_body(c);
        if (take < left) return false;
    }
    hand_over(c);
    return true;
}

static void count(http_conn *c) {
    http_crowd_count(&c->server->crowd, &c->member,
                     evbuffer_get_length(bufferevent_get_input(c->bev)) +
                         evbuffer_get_length(c->request.body));
}

/* Of those that bring a request, the one that has brought the fewest bytes per second; NULL: there is none.
 */
static http_conn *slowest(http_conn *conns, uint64_t now_ns) {
    http_conn *found = NULL, *c;
    double least = 0;
    DL_FOREACH(conns, c) {
        if (c->state > CONN_BODY || !c->member.held || c->dead) continue;
        double age_s = (double)(now_ns - MIN(now_ns, c->begin_ns) + NS_PER_MS) / (double)NS_PER_S;
        double rate = (double)c->member.held / age_s;
        if (found && rate >= least) continue;
        found = c;
        least = rate;
    }
    return found;
}

/* After c has read: keeps what all hold in bounds. False: c is over. */
static bool make_room(http_conn *c) {
    http_server *s = c->server;
    const http_limits *limits = &s->opt.limits;
    count(c);
    size_t elsewhere = s->opt.held_elsewhere ? s->opt.held_elsewhere(s->opt.ctx) : 0;
    while (s->crowd.held + elsewhere > limits->held_max) {
        http_conn *slow = slowest(s->conns, clock_now_ns());
        if (slow) {
            log_debug("http", "upload ended to make room", "held=%zu", slow->member.held);
            refuse_with(slow, 503,
                        "too much is being uploaded (limits.max_uploads_mb), and this is the slowest: try "
                        "again later");
            count(slow);
        } else if (c->state == CONN_PENDING && c->member.held) { /* of requests that it sent ahead */
            http_conn_end(c);
            return false;
        } else {
            break;
        }
    }
    return true;
}

void http_conn_advance(http_conn *c) {
    PRE(c);
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
    if (!make_room(c) || c->state == CONN_PENDING) return;
    size_t unsent = evbuffer_get_length(http_conn_output(c));
    bool stalled = c->state == CONN_HEAD && unsent > HTTP_OUTPUT_MAX;
    if (c->ended && c->state <= CONN_BODY && !stalled) { /* and what it sent is no whole request */
        c->state = CONN_FLUSH;
        c->refused = false;
    }
    if (c->state == CONN_FLUSH && !unsent && !c->refused) {
        http_conn_end(c);
        return;
    }
    /* Read ahead no more than this, without a watermark: bytes that TLS has deciphered would wait behind one
     * for the next that come. */
    bool full = evbuffer_get_length(bufferevent_get_input(c->bev)) >= 2 * c->server->opt.limits.head_max;
    if (full)
        bufferevent_disable(c->bev, EV_READ);
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
    http_conn_advance(c);
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
        http_tls_finish(bev);
        (void)shutdown(bufferevent_getfd(bev), SHUT_WR);
    } else if (c->state == CONN_FLUSH) {
        http_conn_end(c);
    } else {
        http_conn_advance(c); /* requests may wait for room in the output */
    }
}

/* ---- the connection ---- */

static void on_output(struct evbuffer *out, const struct evbuffer_cb_info *change, void *ctx) {
    (void)out;
    http_conn *c = ctx;
    c->reader.taken += change->n_deleted;
}

/* A client that speaks plain HTTP to a port of TLS is told so, in plain HTTP. */
static void tell_plain(http_conn *c) {
    enum { PIECES = 16, READS = 16 };
    evutil_socket_t fd = bufferevent_getfd(c->bev);
    refuse_with(c, 400, "this port speaks TLS: write https:// in place of http://");
    struct evbuffer_iovec pieces[PIECES];
    int n = evbuffer_peek(http_conn_output(c), -1, NULL, pieces, PIECES);
    (void)!writev(fd, pieces, MIN(n, PIECES));
    (void)shutdown(fd, SHUT_WR);
    char bytes[4096]; /* or the end would be a reset, which overtakes the answer */
    for (int i = 0; i < READS && recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0; i++) {
    }
}

static void on_connected(http_conn *c) {
    c->shaking = false;
    c->deadline_ns = clock_now_ns() + c->server->opt.limits.idle_ns;
    const http_turn_away *away = c->member.turned_away;
    if (away) refuse_with(c, away->code, away->why);
}

static void on_event(struct bufferevent *bev, short what, void *ctx) {
    http_conn *c = ctx;
    if (what & BEV_EVENT_CONNECTED) {
        on_connected(c);
        return;
    }
    if (c->shaking && http_tls_got_plain(bev)) tell_plain(c);
    bool over = (what & BEV_EVENT_ERROR) || c->shaking || c->state == CONN_PENDING ||
                c->state == CONN_LINGER || !evbuffer_get_length(bufferevent_get_output(bev));
    if (over) {
        http_conn_end(c);
        return;
    }
    /* It wants no more than what is on its way, and has shut down its side. */
    c->ended = true;
    bufferevent_enable(bev, EV_WRITE); /* which libevent stops with TLS */
    http_conn_advance(c);
}

void http_conn_unwatch(http_conn *c) {
    PRE(c);
    if (c->watched) hangups_remove(c->server->hangups, bufferevent_getfd(c->bev));
    c->watched = false;
}

void http_conn_gone(void *who) {
    http_conn_end(who);
}

void http_conn_open(http_server *s, evutil_socket_t fd, const struct sockaddr *from,
                    const http_turn_away *turned_away) {
    PRE(s);
    PRE(from);
    struct event_base *base = loop_base(s->opt.loop);
    int one = 1; /* or each event waits for the acknowledgement of the one before */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct bufferevent *bev =
        s->tls ? http_tls_accept(s->tls, base, fd) : bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    CHECK(bev);
    http_conn *c = xcalloc(1, sizeof *c);
    c->server = s;
    c->bev = bev;
    c->shaking = s->tls != NULL;
    c->request.conn = c;
    c->request.body = evbuffer_new();
    CHECK(c->request.body);
    http_head_init(&c->request.head);
    TAILQ_INIT(&c->request.out);
    c->deadline_ns = clock_now_ns() + (c->shaking ? s->opt.limits.head_ns : s->opt.limits.idle_ns);
    DL_APPEND(s->conns, c);
    http_crowd_add(&s->crowd, &c->member, from, turned_away);
    http_conn_idle(c, !turned_away);
    CHECK(evbuffer_add_cb(bufferevent_get_output(bev), on_output, c));
    bufferevent_setcb(bev, on_read, on_write, on_event, c);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
    if (turned_away && !c->shaking) refuse_with(c, turned_away->code, turned_away->why);
}

void http_conn_check(http_conn *c, uint64_t now_ns) {
    PRE(c);
    size_t unsent = evbuffer_get_length(http_conn_output(c));
    if (!http_reader_keeps_up(&c->reader, unsent, &c->server->opt.limits, now_ns)) {
        log_warn("http", "client does not read, or too slowly: dropped", "unsent=%zu", unsent);
        c->request.slow = true;
        http_conn_end(c);
        return;
    }
    if (now_ns < c->deadline_ns || unsent || c->state == CONN_PENDING) return;
    if (c->state == CONN_LINGER || (c->state == CONN_HEAD && !c->seen))
        http_conn_end(c);
    else if (c->state == CONN_HEAD || c->state == CONN_BODY)
        refuse_with(c, 408, "the request did not come to its end in time");
}
