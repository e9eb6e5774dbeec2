/* What peers send, in the parts in which ZeroMQ hands it on: to a bus that listens, with its monitor's events
 * and answers between them, and to a channel of a receiver. The linker puts the functions below in place of
 * those of libzmq that send and receive. Each connection's messages come in order and without a gap, nothing
 * comes after it is lost, and it is lost once. */
#include "base/log.h"
#include "base/mem.h"
#include "fuzz.h"
#include "net/bus.h"
#include "take.h"
#include "transfer/chan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

enum { PARTS_MOST = 8, CONNS_MOST = 256, PEERS = 4, HEAD_BYTES = 16, EVENT_BYTES = 6 };

typedef struct part {
    char bytes[256];
    size_t count;
} part;

static struct {
    script *in;
    void *router; /* the bus's, or the channel's; any other socket is a monitor */
    part parts[PARTS_MOST];
    uint32_t count, next;
    bool to_monitor;
    bool more;     /* after the part that was taken last */
    uint64_t told; /* the number of the message at hand */
    bool lost[CONNS_MOST];
    uint64_t received[CONNS_MOST];
    uint64_t sent[PEERS];
} play;

/* ---- in place of libzmq ---- */

typeof(zmq_socket) __wrap_zmq_socket, __real_zmq_socket;
void *__wrap_zmq_socket(void *zmq, int type) {
    void *socket = __real_zmq_socket(zmq, type);
    if (type == ZMQ_ROUTER) play.router = socket;
    return socket;
}

typeof(zmq_msg_recv) __wrap_zmq_msg_recv;
int __wrap_zmq_msg_recv(zmq_msg_t *m, void *socket, int flags) {
    (void)flags;
    if (play.next == play.count || play.to_monitor == (socket == play.router)) {
        errno = EAGAIN;
        return -1;
    }
    const part *p = &play.parts[play.next++];
    zmq_msg_close(m);
    CHECK(zmq_msg_init_size(m, p->count) == 0);
    if (p->count) memcpy(zmq_msg_data(m), p->bytes, p->count);
    play.more = play.next < play.count;
    return (int)p->count;
}

typeof(zmq_msg_more) __wrap_zmq_msg_more;
int __wrap_zmq_msg_more(const zmq_msg_t *m) {
    (void)m;
    return play.more;
}

typeof(zmq_msg_get) __wrap_zmq_msg_get;
int __wrap_zmq_msg_get(const zmq_msg_t *m, int property) {
    (void)m, (void)property;
    return (int)take_below(play.in, PEERS);
}

/* Mostly it leaves. */
static bool leaves(void) {
    uint32_t how = take_below(play.in, 8);
    errno = how == 6 ? EAGAIN : EHOSTUNREACH;
    return how < 6;
}

typeof(zmq_send) __wrap_zmq_send;
int __wrap_zmq_send(void *socket, const void *bytes, size_t count, int flags) {
    (void)socket, (void)bytes, (void)flags;
    return leaves() ? (int)count : -1;
}

typeof(zmq_msg_send) __wrap_zmq_msg_send;
int __wrap_zmq_msg_send(zmq_msg_t *m, void *socket, int flags) {
    (void)socket, (void)flags;
    if (!leaves()) return -1;
    int count = (int)zmq_msg_size(m);
    zmq_msg_close(m);
    zmq_msg_init(m);
    return count;
}

/* ---- parts ---- */

static void add_part(const void *bytes, size_t count) {
    if (play.count == PARTS_MOST) return;
    part *p = &play.parts[play.count++];
    p->count = MIN(count, sizeof p->bytes);
    if (p->count) memcpy(p->bytes, bytes, p->count);
}

static void add_given(void) {
    size_t wanted = take_byte(play.in), count = MIN(wanted, (size_t)(play.in->end - play.in->at));
    add_part(play.in->at, count);
    play.in->at += count;
}

static void begin(bool to_monitor) {
    play.count = play.next = 0;
    play.to_monitor = to_monitor;
}

/* A framed message of a peer; `odd` says what is not as it should be. */
static void honest(uint32_t odd) {
    uint32_t peer = take_below(play.in, PEERS);
    uint64_t head[2] = {1 + (odd == 1), ++play.sent[peer]};
    char id[2] = {0, (char)('a' + peer)};
    if (odd == 2) head[1] = play.sent[peer] = take_number(play.in);
    if (odd == 3) head[1] = play.sent[peer] = 0;
    begin(false);
    add_part(id, odd == 4 ? 0 : sizeof id);
    add_part(head, odd == 5 ? HEAD_BYTES - 1 : HEAD_BYTES);
    add_given();
}

/* ---- the bus ---- */

static void on_message(void *ctx, uint64_t conn, const void *bytes, size_t count) {
    (void)ctx;
    if (conn >= CONNS_MOST) return;
    CHECK(!play.lost[conn]);
    play.received[conn]++;
    CHECK(play.next == play.count); /* all parts were taken */
    const part *p = &play.parts[play.count - 1];
    CHECK(count == p->count);
    CHECK(count == 0 || memcmp(bytes, p->bytes, count) == 0);
    uint64_t number;
    memcpy(&number, play.parts[play.count - 2].bytes + sizeof number, sizeof number);
    CHECK(number == play.received[conn]);
}

static void on_lost(void *ctx, uint64_t conn, const char *why) {
    (void)ctx;
    CHECK(why);
    if (conn >= CONNS_MOST) return;
    CHECK(!play.lost[conn]);
    play.lost[conn] = true;
}

static void monitor_event(void) {
    static const uint16_t kinds[] = {ZMQ_EVENT_ACCEPTED, ZMQ_EVENT_DISCONNECTED,
                                     ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL, ZMQ_EVENT_HANDSHAKE_SUCCEEDED};
    uint16_t kind = kinds[take_below(play.in, ARRAY_LEN(kinds))];
    uint32_t fd = take_below(play.in, PEERS);
    char bytes[EVENT_BYTES];
    memcpy(bytes, &kind, sizeof kind);
    memcpy(bytes + sizeof kind, &fd, sizeof fd);
    begin(true);
    add_part(bytes, sizeof bytes);
    add_part("tcp://a", 7);
}

static void use_bus(bus *b) {
    uint32_t what = take_byte(play.in), conn = take_below(play.in, 8);
    switch (what % 8u) {
    case 0:
    case 1:
    case 2:
        honest(what / 8u % 8u);
        break;
    case 3:
        begin(false);
        for (uint32_t i = what / 8u % PARTS_MOST; i > 0; i--) add_given();
        break;
    case 4:
    case 5:
        monitor_event();
        break;
    case 6:
        (void)bus_send(b, conn, "answer", 6);
        (void)bus_stuck_since(b, conn);
        return;
    default:
        bus_drop(b, conn);
        play.lost[conn] |= play.received[conn] > 0; /* which is not told */
        return;
    }
    bus_drain(b);
    CHECK(play.to_monitor || play.next == play.count);
}

static uint64_t no_turn(void *ctx, uint64_t now_ns) {
    (void)ctx, (void)now_ns;
    return UINT64_MAX;
}

static void run_bus(void) {
    loop *l = NULL;
    bus *b = NULL;
    errbuf eb = {0};
    const bus_handler h = {.message = on_message, .lost = on_lost};
    CHECK(loop_new(&l, no_turn, NULL, &eb) == ST_OK);
    CHECK(bus_listen(&b, l, "tcp://127.0.0.1:*", NULL, NULL, &h, &eb) == ST_OK);
    while (!script_over(play.in)) use_bus(b);
    bus_free(b);
    loop_free(l);
}

/* ---- the channel ---- */

static void run_chan(bool receiver) {
    chan c = {.socket = &play, .live = receiver ? xcalloc(CHAN_LIVE_MAX, sizeof *c.live) : NULL};
    play.router = c.socket;
    c.refused.next_ns = UINT64_MAX;
    while (!script_over(play.in)) {
        const kv_frame frame = {.magic = KV_WIRE_MAGIC, .version = KV_WIRE_VERSION};
        uint32_t what = take_byte(play.in);
        begin(false);
        if (receiver && what & 1u) add_part("route", 5);
        if (what & 2u) add_part(&frame, sizeof frame);
        for (uint32_t i = what / 4u % 4u; i > 0; i--) add_given();
        chan_msg m;
        uint32_t parts = play.count;
        status st = chan_recv(&c, &m);
        CHECK((st == ST_AGAIN) == (parts == 0));
        CHECK(play.next == play.count); /* the rest is not taken for the next message */
        if (st != ST_OK) continue;
        CHECK(m.frame.magic == KV_WIRE_MAGIC);
        CHECK(m.frame.version == KV_WIRE_VERSION);
        CHECK(m.has_part == (parts == 2u + receiver));
        CHECK((m.route.count > 0) == receiver);
        char text[CHAN_TEXT_MAX];
        chan_msg_text(&m, text);
        CHECK(strlen(text) < CHAN_TEXT_MAX);
        chan_msg_done(&m);
    }
    free(c.live);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    script in = {data, data + size};
    log_setup(LOG_ERROR, "fuzz");
    memset(&play, 0, sizeof play);
    play.in = &in;
    uint32_t which = take_below(&in, 4);
    if (which < 2)
        run_bus();
    else
        run_chan(which == 2);
    return 0;
}
