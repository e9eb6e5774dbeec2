#include "transfer/chan.h"

#include "base/mem.h"
#include "net/handshake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Messages that may wait in one direction of a connection. Segments are bounded by the credits; seals and
 * aborts by the hand-offs; so a peer that lets this many wait does not read. */
#define CHAN_HWM 16384

static void set_int(void *socket, int option, int value) {
    CHECK(zmq_setsockopt(socket, option, &value, sizeof value) == 0);
}

/* Of one message to a sender: credits, rings, reasons. */
#define TO_SENDER_BYTES_MAX (1 << 20)

/* An idle connection is asked after half of the time, then three times in the other half. TCP counts whole
 * seconds, so that less than two of them cannot be had. */
static void set_deadline(void *socket, uint32_t dead_ms) {
    int seconds = (int)MAX(dead_ms / 1000, 2);
    set_int(socket, ZMQ_TCP_KEEPALIVE, 1);
    set_int(socket, ZMQ_TCP_KEEPALIVE_IDLE, MAX(seconds / 2, 1));
    set_int(socket, ZMQ_TCP_KEEPALIVE_CNT, 3);
    set_int(socket, ZMQ_TCP_KEEPALIVE_INTVL, MAX(seconds / 6, 1));
    set_int(socket, ZMQ_TCP_MAXRT, (int)dead_ms); /* TCP_USER_TIMEOUT */
}

static bool secure(chan *c, const curve_keys *keys) {
    c->keyed = keys;
    set_int(c->socket, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS);
    return !keys || (c->live ? curve_listens : curve_connects)(c->socket, keys);
}

static status socket_open(chan *c, void *zmq, int type, const curve_keys *keys, uint32_t dead_ms,
                          errbuf *eb) {
    const int events = ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CLOSED |
                       (c->live ? ZMQ_EVENT_ACCEPTED | HANDSHAKE_FAILED_EVENTS : 0);
    c->socket = zmq_socket(zmq, type);
    if (!c->socket) {
        errf(eb, ST_IO, "pair channel: %s", zmq_strerror(errno));
        chan_close(c);
        return ST_IO;
    }
    set_int(c->socket, ZMQ_LINGER, 0);
    set_int(c->socket, ZMQ_SNDHWM, CHAN_HWM);
    set_int(c->socket, ZMQ_RCVHWM, CHAN_HWM);
    set_deadline(c->socket, dead_ms);
    if (!secure(c, keys)) {
        errf(eb, ST_IO, "pair channel: CURVE: %s", zmq_strerror(errno));
        chan_close(c);
        return ST_IO;
    }
    c->monitor = zmq_monitor_open(zmq, c->socket, events);
    if (c->monitor) return ST_OK;
    errf(eb, ST_IO, "pair channel: monitor: %s", zmq_strerror(errno));
    chan_close(c);
    return ST_IO;
}

status chan_listen(chan *c, void *zmq, const char *host, const curve_keys *keys, size_t message_bytes_max,
                   uint32_t dead_ms, errbuf *eb) {
    PRE(c);
    PRE(zmq);
    PRE(host);
    PRE(dead_ms > 0);
    *c = (chan){.live = xcalloc(CHAN_LIVE_MAX, sizeof *c->live)};
    status st = keys ? zap_open(&c->door, zmq, keys, eb) : ST_OK;
    if (st == ST_OK) st = socket_open(c, zmq, ZMQ_ROUTER, keys, dead_ms, eb);
    if (st != ST_OK) {
        chan_close(c);
        return st;
    }
    set_int(c->socket, ZMQ_ROUTER_MANDATORY, 1);
    /* libzmq compares what is on the wire. */
    int64_t bytes_max = (int64_t)message_bytes_max + (keys ? CURVE_MESSAGE_BYTES : 0);
    CHECK(zmq_setsockopt(c->socket, ZMQ_MAXMSGSIZE, &bytes_max, sizeof bytes_max) == 0);
    char address[CHAN_ENDPOINT_MAX];
    snprintf(address, sizeof address, "tcp://%s:*", host);
    size_t size = sizeof c->at;
    if (zmq_bind(c->socket, address) || zmq_getsockopt(c->socket, ZMQ_LAST_ENDPOINT, c->at, &size)) {
        errf(eb, ST_IO, "pair channel: cannot bind %s: %s; want an address of this host", address,
             zmq_strerror(errno));
        chan_close(c);
        return ST_IO;
    }
    return ST_OK;
}

status chan_connect(chan *c, void *zmq, const char *endpoint, const curve_keys *keys, uint32_t dead_ms,
                    errbuf *eb) {
    PRE(c);
    PRE(zmq);
    PRE(endpoint);
    PRE(dead_ms > 0);
    *c = (chan){0};
    status st = socket_open(c, zmq, ZMQ_DEALER, keys, dead_ms, eb);
    if (st != ST_OK) return st;
    set_int(c->socket, ZMQ_RECONNECT_IVL, -1);
    int64_t bytes_max = TO_SENDER_BYTES_MAX;
    CHECK(zmq_setsockopt(c->socket, ZMQ_MAXMSGSIZE, &bytes_max, sizeof bytes_max) == 0);
    if (zmq_connect(c->socket, endpoint) == 0) return ST_OK;
    errf(eb, ST_PEER, "pair channel: cannot connect to %s: %s", endpoint, zmq_strerror(errno));
    chan_close(c);
    return ST_PEER;
}

void chan_close(chan *c) {
    if (!c) return;
    if (c->socket) {
        zmq_monitor_close(c->monitor, c->socket);
        zmq_close(c->socket);
    }
    zap_close(&c->door);
    free(c->live);
    *c = (chan){0};
}

/* Reads one part into m; true when more parts follow. ST_AGAIN only before a first part: a message comes
 * whole. */
static status next_part(void *socket, zmq_msg_t *m, bool *more) {
    CHECK(zmq_msg_init(m) == 0);
    if (zmq_msg_recv(m, socket, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(m);
        return ST_AGAIN;
    }
    *more = zmq_msg_more(m);
    return ST_OK;
}

static bool frame_read(zmq_msg_t *m, kv_frame *out) {
    if (zmq_msg_size(m) != sizeof *out) return false;
    memcpy(out, zmq_msg_data(m), sizeof *out);
    return out->magic == KV_WIRE_MAGIC && out->version == KV_WIRE_VERSION;
}

static bool route_read(zmq_msg_t *m, chan_route *out) {
    out->count = zmq_msg_size(m);
    if (out->count == 0 || out->count > CHAN_ROUTE_MAX) return false;
    memcpy(out->bytes, zmq_msg_data(m), out->count);
    return true;
}

status chan_recv(chan *c, chan_msg *out) {
    PRE(c);
    PRE(c->socket);
    PRE(out);
    zmq_msg_t m;
    bool more = false;
    bool good = true;
    bool held = true;
    out->route.count = 0;
    out->fd = -1;
    out->has_part = false;
    if (next_part(c->socket, &m, &more)) return ST_AGAIN;
    if (c->live) { /* a ROUTER puts the sender's routing id first */
        good = route_read(&m, &out->route);
        zmq_msg_close(&m);
        held = more && next_part(c->socket, &m, &more) == ST_OK;
    }
    good = good && held && frame_read(&m, &out->frame);
    if (held) {
        out->fd = c->live ? zmq_msg_get(&m, ZMQ_SRCFD) : -1;
        zmq_msg_close(&m);
    }
    CHECK(zmq_msg_init(&out->part) == 0);
    while (more) {
        if (next_part(c->socket, &m, &more)) break;
        if (good && !out->has_part) {
            out->has_part = true;
            zmq_msg_move(&out->part, &m);
        } else {
            good = false; /* no frame has more than one part after it */
        }
        zmq_msg_close(&m);
    }
    if (good) return ST_OK;
    chan_msg_done(out);
    if (c->live) strangers_note(&c->refused, c->at, NULL, "it sent a frame of another version, or no frame");
    return ST_CORRUPT;
}

void chan_msg_done(chan_msg *m) {
    PRE(m);
    zmq_msg_close(&m->part);
    m->has_part = false;
}

void chan_msg_move(chan_msg *to, chan_msg *from) {
    PRE(to);
    PRE(from);
    PRE(to != from);
    *to = *from;
    CHECK(zmq_msg_init(&to->part) == 0);
    CHECK(zmq_msg_move(&to->part, &from->part) == 0);
    from->has_part = false;
}

void chan_msg_text(chan_msg *m, char out[CHAN_TEXT_MAX]) {
    PRE(m);
    static const char none[] = "it gave no reason";
    size_t count = MIN(zmq_msg_size(&m->part), CHAN_TEXT_MAX - 1);
    if (count == 0) {
        memcpy(out, none, sizeof none);
        return;
    }
    memcpy(out, zmq_msg_data(&m->part), count);
    out[count] = 0;
    for (size_t i = 0; i < count; i++)
        if (out[i] < ' ' || out[i] > '~') out[i] = '?'; /* it ends up in a log line */
}

status chan_send(chan *c, const chan_route *route, const kv_frame *frame, zmq_msg_t *part) {
    PRE(c);
    PRE(c->socket);
    PRE(frame);
    bool sent = true;
    if (route && route->count)
        sent = zmq_send(c->socket, route->bytes, route->count, ZMQ_DONTWAIT | ZMQ_SNDMORE) >= 0;
    if (sent) sent = zmq_send(c->socket, frame, sizeof *frame, ZMQ_DONTWAIT | (part ? ZMQ_SNDMORE : 0)) >= 0;
    if (sent && part) sent = zmq_msg_send(part, c->socket, ZMQ_DONTWAIT) >= 0;
    if (!sent && part) zmq_msg_close(part);
    return sent ? ST_OK : ST_PEER;
}

int chan_items(const chan *c, zmq_pollitem_t *items) {
    PRE(c);
    PRE(items);
    int count = 0;
    items[count++] = (zmq_pollitem_t){.socket = c->socket, .events = ZMQ_POLLIN};
    items[count++] = (zmq_pollitem_t){.socket = c->monitor, .events = ZMQ_POLLIN};
    if (c->door.socket) items[count++] = (zmq_pollitem_t){.socket = c->door.socket, .events = ZMQ_POLLIN};
    return count;
}

static void live_remove(chan *c, int fd) {
    for (uint32_t i = 0; i < c->live_count; i++)
        if (c->live[i] == fd) {
            c->live[i] = c->live[--c->live_count];
            return;
        }
}

status chan_lost(chan *c, int *fd) {
    PRE(c);
    PRE(c->monitor);
    PRE(fd);
    if (c->door.socket) zap_turn(&c->door, &c->refused, c->at);
    zmq_monitor_event e;
    while (zmq_monitor_next(c->monitor, &e) == ST_OK) {
        if (e.kind & HANDSHAKE_FAILED_EVENTS) { /* its end follows */
            const char *why = handshake_stranger(&e, c->keyed);
            if (why) strangers_note(&c->refused, c->at, NULL, why);
            continue;
        }
        if (e.kind == ZMQ_EVENT_ACCEPTED) {
            /* Beyond the bound a connection counts as dead: its HELLO is refused. */
            if (c->live && c->live_count < CHAN_LIVE_MAX) c->live[c->live_count++] = e.fd;
            continue;
        }
        if (c->live) live_remove(c, e.fd);
        *fd = e.fd;
        return ST_OK;
    }
    return ST_AGAIN;
}

bool chan_is_live(const chan *c, int fd) {
    PRE(c);
    for (uint32_t i = 0; i < c->live_count; i++)
        if (c->live[i] == fd) return true;
    return false;
}
