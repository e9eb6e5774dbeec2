/* The native front, and clients that send it what they like: messages of client.proto, tokens, ends and time
 * between them. The linker puts the functions below in place of those of bus.c, so there is no socket. What
 * goes out is read by client.proto, and is within the bounds of native.h. */
#include "coordinator/native.h"

#include "front.h"
#include "fuzz.h"
#include "net/bus.h"
#include "proto/client.pb-c.h"

#include <string.h>

enum { CONNS = 3, BODY_MAX = 2048 };

static struct {
    bus_handler to;
    native *native;
    uint64_t stuck_ns[CONNS]; /* 0: what is sent leaves */
} play;

/* ---- in place of bus.c ---- */

typeof(bus_listen) __wrap_bus_listen;
status __wrap_bus_listen(bus **out, loop *l, const char *endpoint, const curve_keys *keys,
                         const bus_limits *limits, const bus_handler *h, errbuf *eb) {
    (void)l, (void)endpoint, (void)keys, (void)limits, (void)eb;
    *out = (bus *)&play;
    play.to = *h;
    return ST_OK;
}

typeof(bus_free) __wrap_bus_free;
void __wrap_bus_free(bus *b) {
    (void)b;
}

typeof(bus_send) __wrap_bus_send;
status __wrap_bus_send(bus *b, uint64_t conn, const void *bytes, size_t count) {
    (void)b;
    CHECK(conn < CONNS);
    CHECK(count > 0);
    Baton__ServerEvent *e = baton__server_event__unpack(NULL, count, bytes);
    CHECK(e);
    CHECK(e->body_case != BATON__SERVER_EVENT__BODY__NOT_SET);
    CHECK(e->n_more < NATIVE_EVENTS_MAX);
    for (size_t i = 0; i < e->n_more; i++) {
        CHECK(e->more[i]->body_case != BATON__SERVER_EVENT__BODY__NOT_SET);
        CHECK(e->more[i]->n_more == 0);
    }
    baton__server_event__free_unpacked(e, NULL);
    return play.stuck_ns[conn] ? ST_PEER : ST_OK;
}

typeof(bus_stuck_since) __wrap_bus_stuck_since;
uint64_t __wrap_bus_stuck_since(const bus *b, uint64_t conn) {
    (void)b;
    CHECK(conn < CONNS);
    return play.stuck_ns[conn];
}

typeof(bus_drop) __wrap_bus_drop;
void __wrap_bus_drop(bus *b, uint64_t conn) {
    (void)b;
    CHECK(conn < CONNS);
    play.stuck_ns[conn] = 0;
}

/* ---- what happens ---- */

static void message(script *in, uint64_t conn) {
    size_t count = take_byte(in);
    count |= (size_t)take_byte(in) << 8;
    count = MIN(count, (size_t)(in->end - in->at));
    /* of its own, so that a byte read behind it is seen */
    void *bytes = xmemdup(count ? (const void *)in->at : "", count);
    in->at += count;
    play.to.message(play.to.ctx, conn, bytes, count);
    free(bytes);
}

static void turn(void) {
    (void)streams_turn(front.streams, front.now_ns);
    native_turn(play.native, front.now_ns);
    (void)streams_turn(front.streams, front.now_ns);
}

static void happen(script *in) {
    uint32_t what = take_byte(in), conn = what % CONNS;
    switch (what / CONNS % 16u) {
    case 8:
        front_later(in);
        turn();
        break;
    case 9:
        play.stuck_ns[conn] = play.stuck_ns[conn] ? 0 : front.now_ns;
        break;
    case 10:
        play.to.lost(play.to.ctx, conn, "it left");
        break;
    case 11:
        native_drain(play.native, "the coordinator drains");
        break;
    case 12:
        native_stop(play.native, "the coordinator stops");
        break;
    case 13:
        front.core.standing_ns = take_number(in) * NS_PER_S;
        front.core.ready = conn == 0;
        front.core.more_workers = take_byte(in);
        break;
    case 14:
    case 15:
        front_token(in);
        break;
    default:
        message(in, conn);
        if (what & 1u) turn();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const health_facts facts = {.model = "tiny", .backend = "cpu", .max_context = FAKE_CONTEXT};
    script in = {data, data + size};
    errbuf eb = {0};
    front_begin();
    memset(&play, 0, sizeof play);
    native_options opt = {.loop = front.loop,
                          .core = &front.core,
                          .streams = front.streams,
                          .text = front.text,
                          .env = &fake_env,
                          .facts = &facts,
                          .body_max = BODY_MAX,
                          .slow_client_ns = 5 * NS_PER_S};
    CHECK(native_open(&play.native, "tcp://127.0.0.1:*", &opt, &eb) == ST_OK);
    while (!script_over(&in)) happen(&in);
    turn();
    native_free(play.native);
    front_end();
    return 0;
}
