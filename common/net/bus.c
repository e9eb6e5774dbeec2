/* The ZeroMQ end of bus. A message has two parts: a head {session, number} and the payload.
 *
 *   client (DEALER)                                   server (ROUTER)
 *   bus_connect: draws a session id                   unknown identity, number 1  -> a new connection
 *   sends {session, 1}, {session, 2}, ...             known, number = last + 1    -> message
 *   takes {session, 1}, {session, 2}, ...             known, any other number     -> lost, FIN back
 *                                                     unknown, number > 1         -> FIN back
 * FIN is a head with number 0: "this session is over at my end". Without it a peer that was dropped would
 * notice only by silence.
 *
 * Death without silence: a socket monitor tells that a TCP connection closed. At the client that ends the
 * one session there is. At the server the event names only a descriptor, so each connection is filed under
 * the descriptor of its first message (ZMQ_SRCFD; see life in bus_conn.h). The order in `pump` makes that
 * exact: the monitor is read before a new connection is filed, since the events that precede its message are
 * there to be read by then; and a death is reported after what arrived before it was delivered.
 *
 * `lost` is never called from inside bus_send: the connection is marked and reported in the next pump, which
 * `kick` starts. Rejected: ZMQ_PROBE_ROUTER and ZMTP heartbeats, which notice a death late; fixed routing
 * ids, which hide a reconnect. */
#include "net/bus.h"

#include "base/clock.h"
#include "base/hostport.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/bus_address.h"
#include "net/bus_conn.h"
#include "net/bus_crowd.h"
#include "net/zap.h"
#include "net/zmq_monitor.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define HWM                256        /* messages in ZeroMQ's own queue, per connection and direction */
#define MESSAGE_BYTES_MAX  (64 << 20) /* a peer that announces more is disconnected */
#define EVENT_MESSAGES_MAX 512        /* per event callback, so that one peer cannot hold the loop */
#define DRAIN_MESSAGES_MAX 65536      /* per bus_drain */
#define FLUSH_MESSAGES_MAX 1024       /* from one connection's queue, before others have their turn */
#define CONNECT_MS         3000       /* an attempt that nobody answers for so long is begun anew */
#define DEAD_S             60    /* an idle connection whose host does not answer TCP for so long has ended */
#define RETRY_US           10000 /* a full queue is tried again at least so often */
#define CHECK_US           250000 /* between two looks at all connections */
#define HANDSHAKE_MS       10000  /* until a connection has said who it is, with our own answer (zap.h) */
#define LAST_WORDS_MS      2000   /* for what ZeroMQ has of a server that ends, and its peers read only now */
#define EVENTS             (ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED | HANDSHAKE_EVENTS)

typedef struct head {
    uint64_t session;
    uint64_t number; /* 1, 2, ...; 0 = FIN */
} head;
static_assert(sizeof(head) == 16, "head crosses processes");

struct bus {
    loop *loop;
    void *zmq;     /* context; one I/O thread */
    void *socket;  /* ROUTER or DEALER; NULL after a client's session ended */
    void *monitor; /* PAIR; NULL likewise */
    bool server;
    bool pumping;    /* callbacks run: no second pump */
    bool unchecked;  /* sent something since ZMQ_EVENTS was last seen to show nothing */
    uint32_t opened; /* sockets so far; a pump ends when a callback opened another */
    bus_handler handler;
    conn_table conns;
    char *endpoint;         /* as bound or connected */
    struct event *readable; /* ZMQ_FD */
    struct event *events;   /* monitor's ZMQ_FD */
    struct event *kick;     /* pump soon; as a timer: retry full queues */
    curve_keys keys;        /* when keyed */
    bool keyed;
    zap door;             /* server, keyed */
    struct event *knocks; /* door's ZMQ_FD */
    strangers refused;    /* server */
    bus_crowd crowd;      /* server, with limits */
    struct event *check;  /* likewise */
    refusal refusal;      /* client: of the last handshake that failed; gone when one succeeds */
};

/* ---- making and ending ---- */

static void socket_close(bus *b) {
    if (b->readable) event_free(b->readable);
    if (b->events) event_free(b->events);
    b->readable = b->events = NULL;
    if (b->socket) zmq_monitor_close(b->monitor, b->socket);
    if (b->socket) zmq_close(b->socket);
    b->socket = b->monitor = NULL;
}

static void on_event(evutil_socket_t fd, short what, void *ctx);
static void on_check(evutil_socket_t fd, short what, void *ctx);
static void before_wait(void *ctx);

static bool set_int(void *socket, int option, int value) {
    return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
}

static struct event *fd_event(bus *b, void *socket) {
    int fd;
    size_t size = sizeof fd;
    if (zmq_getsockopt(socket, ZMQ_FD, &fd, &size) != 0) return NULL;
    struct event *e = event_new(loop_base(b->loop), fd, EV_READ | EV_PERSIST, on_event, b);
    if (!e) return NULL;
    event_priority_set(e, 0);
    if (event_add(e, NULL) == 0) return e;
    event_free(e);
    return NULL;
}

/* A socket with its monitor, not yet bound or connected. */
static bool socket_open(bus *b) {
    b->opened++;
    b->socket = zmq_socket(b->zmq, b->server ? ZMQ_ROUTER : ZMQ_DEALER);
    if (!b->socket) return false;
    int64_t max_bytes = b->check ? (int64_t)b->crowd.limits.message_max : MESSAGE_BYTES_MAX;
    if (!set_int(b->socket, ZMQ_LINGER, b->server ? LAST_WORDS_MS : 0) ||
        !set_int(b->socket, ZMQ_SNDHWM, HWM) || !set_int(b->socket, ZMQ_RCVHWM, HWM) ||
        !set_int(b->socket, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS) ||
        zmq_setsockopt(b->socket, ZMQ_MAXMSGSIZE, &max_bytes, sizeof max_bytes) != 0)
        return false;
    if (b->server && !set_int(b->socket, ZMQ_ROUTER_MANDATORY, 1)) return false;
    /* While a link is down the kernel asks at growing intervals, up to minutes apart: when it is back, nobody
     * should have to wait for the next one. */
    if (!b->server && !set_int(b->socket, ZMQ_CONNECT_TIMEOUT, CONNECT_MS)) return false;
    /* Not ZMQ_TCP_MAXRT: it ends a connection, too, whose peer is there and has not read for so long, and
     * that peer has limits.slow_client_ms. */
    if (!set_int(b->socket, ZMQ_TCP_KEEPALIVE, 1) ||
        !set_int(b->socket, ZMQ_TCP_KEEPALIVE_IDLE, DEAD_S / 2) ||
        !set_int(b->socket, ZMQ_TCP_KEEPALIVE_CNT, 3) ||
        !set_int(b->socket, ZMQ_TCP_KEEPALIVE_INTVL, DEAD_S / 6))
        return false;
    if (b->keyed && !(b->server ? curve_listens : curve_connects)(b->socket, &b->keys)) return false;
    b->monitor = zmq_monitor_open(b->zmq, b->socket, EVENTS);
    if (!b->monitor) return false;
    b->readable = fd_event(b, b->socket);
    b->events = fd_event(b, b->monitor);
    /* Neither tells of anything before it was once read in vain. */
    event_active(b->kick, EV_TIMEOUT, 0);
    return b->readable && b->events;
}

static status bus_new(bus **out, loop *l, bool server, const curve_keys *keys, const bus_limits *limits,
                      const bus_handler *h, errbuf *eb) {
    bus *b = xcalloc(1, sizeof *b);
    b->loop = l;
    conn_table_init(&b->conns);
    b->server = server;
    b->handler = *h;
    b->zmq = zmq_ctx_new();
    if (!b->zmq) goto fail;
    b->kick = evtimer_new(loop_base(l), on_event, b);
    if (!b->kick) goto fail;
    event_priority_set(b->kick, 0);
    loop_before_wait(l, before_wait, b);
    b->keyed = keys;
    if (keys) b->keys = *keys;
    if (keys && server) {
        if (zap_open(&b->door, b->zmq, keys, eb) != ST_OK) goto fail;
        b->knocks = fd_event(b, b->door.socket);
        if (!b->knocks) goto fail;
    }
    if (limits) {
        b->crowd = (bus_crowd){.limits = *limits, .refused = &b->refused};
        b->check = event_new(loop_base(l), -1, EV_PERSIST, on_check, b);
        if (!b->check || event_add(b->check, &(struct timeval){.tv_usec = CHECK_US}) != 0) goto fail;
    }
    if (!socket_open(b)) goto fail;
    *out = b;
    return ST_OK;

fail:
    errf(eb, ST_IO, "zeromq socket: %s: raise the limit of open files (ulimit -n)", zmq_strerror(errno));
    bus_free(b);
    return ST_IO;
}

status bus_listen(bus **out, loop *l, const char *endpoint, const curve_keys *keys, const bus_limits *limits,
                  const bus_handler *h, errbuf *eb) {
    PRE(out);
    PRE(l);
    PRE(endpoint);
    PRE(h);
    PRE(h->message);
    PRE(h->lost);
    bus *b = NULL;
    status st = bus_new(&b, l, true, keys, limits, h, eb);
    if (st != ST_OK) return err_prefix(eb, st, "listening on %s", endpoint);
    char bound[256];
    st = bus_address_resolve(endpoint, bound, eb);
    if (st != ST_OK) {
        bus_free(b);
        return err_prefix(eb, st, "listening on");
    }
    if (zmq_bind(b->socket, bound) != 0) {
        st = bus_address_error(endpoint, errno, eb);
        bus_free(b);
        return err_prefix(eb, st, "listening on");
    }
    size_t size = sizeof bound;
    CHECK(zmq_getsockopt(b->socket, ZMQ_LAST_ENDPOINT, bound, &size) == 0);
    b->endpoint = xstrdup(bound);
    b->crowd.at = b->endpoint;
    hostport at;
    CHECK(hostport_parse(&at, bound, true));
    b->crowd.port = (uint16_t)atoi(at.port);
    *out = b;
    return ST_OK;
}

static status client_open(bus *b, errbuf *eb) {
    if (zmq_connect(b->socket, b->endpoint) != 0)
        return err_prefix(eb, bus_address_error(b->endpoint, errno, eb), "connecting to");
    conn *c = conn_new(&b->conns, NULL, 0, 1);
    c->session = clock_random64();
    return ST_OK;
}

status bus_connect(bus **out, loop *l, const char *endpoint, const curve_keys *keys, const bus_handler *h,
                   errbuf *eb) {
    PRE(out);
    PRE(l);
    PRE(endpoint);
    PRE(h);
    PRE(h->message);
    PRE(h->lost);
    bus *b = NULL;
    status st = bus_new(&b, l, false, keys, NULL, h, eb);
    if (st != ST_OK) return err_prefix(eb, st, "connecting to %s", endpoint);
    b->endpoint = xstrdup(endpoint);
    st = client_open(b, eb);
    if (st != ST_OK) {
        bus_free(b);
        return st;
    }
    *out = b;
    return ST_OK;
}

status bus_reconnect(bus *b, errbuf *eb) {
    PRE(b);
    PRE(!b->server);
    socket_close(b);
    conn_table_done(&b->conns);
    if (!socket_open(b)) {
        int code = errno;
        socket_close(b);
        return errf(eb, ST_IO, "connecting to %s: zeromq socket: %s", b->endpoint, zmq_strerror(code));
    }
    return client_open(b, eb);
}

void bus_free(bus *b) {
    if (!b) return;
    PRE(!b->pumping);
    socket_close(b);
    if (b->knocks) event_free(b->knocks);
    zap_close(&b->door);
    curve_wipe(&b->keys);
    loop_before_wait_end(b->loop, b);
    if (b->kick) event_free(b->kick);
    if (b->check) event_free(b->check);
    if (b->zmq) zmq_ctx_term(b->zmq);
    conn_table_done(&b->conns);
    free(b->endpoint);
    free(b);
}

const char *bus_endpoint(const bus *b) {
    PRE(b);
    return b->endpoint;
}

refusal bus_refused(const bus *b) {
    PRE(b);
    return b->refusal;
}

/* ---- sending ---- */

static void pump_soon(bus *b) {
    if (!b->pumping) event_active(b->kick, EV_TIMEOUT, 0);
}

/* Whether a message waits. A call to ZeroMQ, and a system call in it. */
static bool readable_now(bus *b) {
    int ready = 0;
    size_t size = sizeof ready;
    return b->socket && zmq_getsockopt(b->socket, ZMQ_EVENTS, &ready, &size) == 0 && (ready & ZMQ_POLLIN);
}

static void retry_later(bus *b) {
    event_add(b->kick, &(struct timeval){.tv_usec = RETRY_US});
}

/* Marks the session as over; pump reports it. */
static void mark_lost(bus *b, conn *c, const char *why) {
    if (c->dying) return;
    c->dying = true;
    c->why = why;
    b->conns.dying_count++;
    pump_soon(b);
}

/* One message to a connection; 0 or errno. The payload's zmq_msg is taken on success only. */
static int put(bus *b, const conn *c, const head *h, zmq_msg_t *payload) {
    b->unchecked = true;
    if (b->server && zmq_send(b->socket, c->id, c->id_len, ZMQ_DONTWAIT | ZMQ_SNDMORE) < 0) return errno;
    if (zmq_send(b->socket, h, sizeof *h, ZMQ_DONTWAIT | ZMQ_SNDMORE) < 0) return errno;
    if (zmq_msg_send(payload, b->socket, ZMQ_DONTWAIT) < 0) return errno;
    return 0;
}

/* put, which tries again after it has looked whether ZeroMQ's thread made room meanwhile. */
static int put_hard(bus *b, const conn *c, uint64_t number, zmq_msg_t *payload) {
    head h = {.session = c->session, .number = number};
    int code = put(b, c, &h, payload);
    if (code != EAGAIN) return code;
    (void)readable_now(b); /* takes in what ZeroMQ's thread says */
    return put(b, c, &h, payload);
}

/* Sends what is queued: as far as it goes, and up to a bound. Returns whether the bound ended it. */
static bool flush(bus *b, conn *c) {
    uint32_t sent = 0;
    while (c->out && !c->dying && sent < FLUSH_MESSAGES_MAX) {
        int code = put_hard(b, c, c->out->number, &c->out->payload);
        if (code == EAGAIN) break;
        if (code != 0) {
            mark_lost(b, c, "the connection is closed");
            break;
        }
        conn_out_pop(&b->conns, c);
        sent++;
    }
    if (sent) c->moved_ns = clock_now_ns();
    return c->out && sent == FLUSH_MESSAGES_MAX;
}

/* Returns whether more could be sent at once. */
static bool flush_all(bus *b) {
    bool more = false;
    if (!b->socket) return false;
    for (conn *c = conn_first_waiting(&b->conns), *next; c; c = next) {
        next = conn_next_waiting(&b->conns, c);
        more |= flush(b, c);
    }
    return more;
}

/* Sending may take in the wake-up for a message that waits, or for room in a full queue. Asked once for all
 * sends of a turn. */
static void before_wait(void *ctx) {
    bus *b = ctx;
    if (!b->unchecked) return;
    bool again = readable_now(b);
    if (conn_first_waiting(&b->conns)) {
        again |= flush_all(b);
        again |= readable_now(b);
    }
    b->unchecked = false;
    if (again) pump_soon(b);
}

static void send_fin(bus *b, const void *id, size_t id_len, uint64_t session) {
    conn to = {.id_len = (uint8_t)id_len};
    if (id_len) memcpy(to.id, id, id_len);
    head h = {.session = session};
    zmq_msg_t none;
    zmq_msg_init(&none);
    put(b, &to, &h, &none); /* best effort: the peer would notice by silence as well */
    zmq_msg_close(&none);
}

/* Takes the payload. False: the queue is full, and stays so when ZeroMQ is asked for room. */
static bool enqueue(bus *b, conn *c, uint64_t message, zmq_msg_t *payload) {
    uint64_t now_ns = clock_now_ns();
    if (!c->out) retry_later(b);
    b->unchecked = true;
    if (conn_out_push(&b->conns, c, message, payload, now_ns)) return true;
    flush(b, c);
    return !c->dying && conn_out_push(&b->conns, c, message, payload, now_ns);
}

status bus_send(bus *b, uint64_t number, const void *bytes, size_t count) {
    PRE(b);
    PRE((bytes || count == 0));
    PRE(count < MESSAGE_BYTES_MAX);
    conn *c = b->socket ? conn_by_number(&b->conns, number) : NULL;
    if (!c || c->dying) return ST_PEER;

    zmq_msg_t payload;
    CHECK(zmq_msg_init_size(&payload, count) == 0);
    if (count) memcpy(zmq_msg_data(&payload), bytes, count);
    uint64_t message = ++c->sent;
    /* Behind others it waits with them: before_wait sends them together. */
    int code = c->out ? EAGAIN : put_hard(b, c, message, &payload);
    if (code == 0 || (code == EAGAIN && enqueue(b, c, message, &payload))) return ST_OK;
    zmq_msg_close(&payload);
    mark_lost(b, c, code == EAGAIN ? "its queue is full: it does not read" : "the connection is closed");
    return ST_PEER;
}

uint64_t bus_stuck_since(const bus *b, uint64_t number) {
    PRE(b);
    const conn *c = conn_by_number(&b->conns, number);
    return c && c->out ? c->moved_ns : 0;
}

void bus_drop(bus *b, uint64_t number) {
    PRE(b);
    conn *c = conn_by_number(&b->conns, number);
    if (!c) return;
    if (b->socket && !c->dying) send_fin(b, c->id, c->id_len, c->session);
    conn_free(&b->conns, c);
}

/* ---- receiving ---- */

static void note_refusal(bus *b, const zmq_monitor_event *e) {
    if (!b->server) {
        refusal now = handshake_refusal(e, b->keyed);
        if (!b->refusal || now != REFUSED_SILENTLY) b->refusal = now;
        return;
    }
    const char *why = handshake_stranger(e, b->keyed);
    if (why) strangers_note(&b->refused, b->endpoint, NULL, why);
}

static void begin_life(bus *b, int fd) {
    life *l = life_begin(&b->conns, fd);
    if (b->check) bus_crowd_enter(&b->crowd, &b->conns, l, clock_now_ns());
}

/* Reads the monitor. Returns whether there was anything. */
static bool read_monitor(bus *b) {
    bool any = false;
    zmq_monitor_event e;
    while (zmq_monitor_next(b->monitor, &e) == ST_OK) {
        any = true;
        uint64_t ended = 0; /* number of a connection */
        if (e.kind & HANDSHAKE_FAILED_EVENTS) note_refusal(b, &e);
        if (e.kind == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) b->refusal = NOT_REFUSED;
        if (e.kind == ZMQ_EVENT_ACCEPTED) begin_life(b, e.fd);
        if (e.kind == ZMQ_EVENT_DISCONNECTED) ended = b->server ? life_end(&b->conns, e.fd) : 1;
        conn *c = ended ? conn_by_number(&b->conns, ended) : NULL;
        if (c) mark_lost(b, c, "the connection is closed");
    }
    return any;
}

/* A message from an identity that is not known: a new connection, or NULL (a leftover of a session that is
 * over). */
static conn *greet(bus *b, const zmq_msg_t *id, const head *h, int fd) {
    size_t id_len = zmq_msg_size(id);
    if (id_len > CONN_ID_MAX || h->number == 0) return NULL;
    if (h->number != 1) {
        send_fin(b, zmq_msg_data((zmq_msg_t *)id), id_len, h->session);
        return NULL;
    }
    read_monitor(b);
    conn *c = conn_new(&b->conns, zmq_msg_data((zmq_msg_t *)id), id_len, ++b->conns.numbers);
    c->session = h->session;
    if (!life_join(&b->conns, fd, c->number)) {
        /* Should ZeroMQ have given the messages of two owners of a descriptor in the wrong order, then this
         * is the living one: the FIN makes it start again. */
        send_fin(b, c->id, c->id_len, c->session);
        mark_lost(b, c, "the connection is closed");
    }
    return c;
}

static void deliver(bus *b, conn *c, const head *h, zmq_msg_t *payload) {
    if (c->over) return;
    if (h->number == 0) {
        c->over = true;
        mark_lost(b, c, "the peer ended the session");
        return;
    }
    if (h->number != c->received + 1) {
        c->over = true;
        log_warn("bus", "gap", "conn=%" PRIu64 " number=%" PRIu64 " expected=%" PRIu64, c->number, h->number,
                 c->received + 1);
        mark_lost(b, c, "a message is missing");
        send_fin(b, c->id, c->id_len, c->session);
        return;
    }
    c->received++;
    b->handler.message(b->handler.ctx, c->number, zmq_msg_data(payload), zmq_msg_size(payload));
}

/* Receives one message with all its parts into [id,] head, payload. False: nothing is there. */
static bool receive(bus *b, zmq_msg_t parts[3], uint32_t *count) {
    *count = 0;
    if (zmq_msg_recv(&parts[0], b->socket, ZMQ_DONTWAIT) < 0) return false;
    *count = 1;
    zmq_msg_t extra;
    zmq_msg_init(&extra);
    bool more = zmq_msg_more(&parts[0]);
    while (more) {
        zmq_msg_t *to = *count < 3 ? &parts[*count] : &extra;
        if (zmq_msg_recv(to, b->socket, ZMQ_DONTWAIT) < 0) break;
        more = zmq_msg_more(to);
        if (*count < 4) ++*count;
    }
    zmq_msg_close(&extra);
    return true;
}

/* Takes one waiting message. False: nothing was there. */
static bool take(bus *b) {
    zmq_msg_t parts[3];
    for (int i = 0; i < 3; i++) zmq_msg_init(&parts[i]);
    uint32_t count;
    bool any = receive(b, parts, &count);
    uint32_t first = b->server ? 1 : 0; /* of head */
    if (any && count == first + 2 && zmq_msg_size(&parts[first]) == sizeof(head)) {
        head h;
        memcpy(&h, zmq_msg_data(&parts[first]), sizeof h);
        zmq_msg_t *payload = &parts[first + 1];
        conn *c;
        if (b->server) {
            c = conn_by_id(&b->conns, zmq_msg_data(&parts[0]), zmq_msg_size(&parts[0]));
            if (c && c->session != h.session) { /* a peer that names itself came back */
                mark_lost(b, c, "it began another session");
                conn_unfile(&b->conns, c);
                c = NULL;
            }
            if (!c) c = greet(b, &parts[0], &h, zmq_msg_get(payload, ZMQ_SRCFD));
        } else {
            c = conn_by_number(&b->conns, 1);
            if (c && h.session != c->session) c = NULL; /* from before a reconnect */
        }
        if (c) deliver(b, c, &h, payload);
    } else if (any && b->server) {
        strangers_note(&b->refused, b->endpoint, NULL, "it sent a message that is not framed");
    }
    for (int i = 0; i < 3; i++) zmq_msg_close(&parts[i]);
    return any;
}

/* Reports the sessions that are over. A callback may reconnect a client or drop connections. */
static void report_lost(bus *b) {
    conn *c;
    while ((c = conn_first_dying(&b->conns))) {
        uint64_t number = c->number;
        const char *why = b->refusal ? refusal_text(b->refusal) : c->why;
        conn_free(&b->conns, c);
        if (!b->server) socket_close(b); /* or ZeroMQ would reconnect in the middle of a session */
        b->handler.lost(b->handler.ctx, number, why);
    }
}

static void pump(bus *b, uint32_t messages_max) {
    if (b->pumping || !b->socket) return;
    b->pumping = true;
    if (b->door.socket) zap_turn(&b->door, &b->refused, b->endpoint);
    uint32_t taken = 0, opened = b->opened;
    bool all = false;
    while (b->socket && b->opened == opened && taken < messages_max) {
        bool events = read_monitor(b);
        while (taken < messages_max && b->socket && b->opened == opened && take(b)) taken++;
        if (!events && taken < messages_max) {
            all = true;
            break;
        }
    }
    /* A death is reported when nothing from before it can be waiting any more. */
    if (all) {
        life_bury(&b->conns);
        report_lost(b);
    }
    bool more = flush_all(b);
    b->pumping = false;
    if (!all || more || b->conns.dying_count)
        pump_soon(b);
    else if (conn_first_waiting(&b->conns))
        retry_later(b);
}

static void on_event(evutil_socket_t fd, short what, void *ctx) {
    (void)fd, (void)what;
    pump(ctx, EVENT_MESSAGES_MAX);
}

void bus_drain(bus *b) {
    PRE(b);
    pump(b, DRAIN_MESSAGES_MAX);
}

static void on_check(evutil_socket_t fd, short what, void *ctx) {
    (void)fd, (void)what;
    bus *b = ctx;
    bus_drain(b);
    bus_crowd_check(&b->crowd, &b->conns, clock_now_ns());
}
