/* Strangers at a bus that listens: raw TCP, which holds to no rule of ZeroMQ's. */
#include "tests/test.h"

#include "base/clock.h"
#include "base/hostport.h"
#include "base/mem.h"
#include "net/bus.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SOCKETS = 5, MESSAGE_MAX = 1 << 20 };
#define GIVE_UP_NS (60 * NS_PER_S)

typedef struct world {
    loop *loop;
    bus *bus, *client;
    struct event *alarm;
    uint32_t messages, lost, client_lost;
    int fd[SOCKETS];
    bool closed[SOCKETS];
} world;

static uint64_t no_turn(void *ctx, uint64_t now_ns) {
    (void)ctx, (void)now_ns;
    return UINT64_MAX;
}

static void on_alarm(evutil_socket_t fd, short what, void *ctx) {
    (void)fd, (void)what, (void)ctx;
}

static void on_message(void *ctx, uint64_t conn, const void *bytes, size_t count) {
    (void)conn, (void)bytes, (void)count;
    world *w = ctx;
    w->messages++;
}

static void on_lost(void *ctx, uint64_t conn, const char *why) {
    (void)conn, (void)why;
    world *w = ctx;
    w->lost++;
}

static void on_client_lost(void *ctx, uint64_t conn, const char *why) {
    (void)conn, (void)why;
    world *w = ctx;
    w->client_lost++;
}

static world *begin(const bus_limits *limits) {
    world *w = xcalloc(1, sizeof *w);
    errbuf eb = {0};
    assert_int_equal(loop_new(&w->loop, no_turn, w, &eb), ST_OK);
    bus_handler h = {.ctx = w, .message = on_message, .lost = on_lost};
    assert_int_equal(bus_listen(&w->bus, w->loop, "tcp://127.0.0.1:*", NULL, limits, &h, &eb), ST_OK);
    w->alarm = evtimer_new(loop_base(w->loop), on_alarm, NULL);
    for (int i = 0; i < SOCKETS; i++) w->fd[i] = -1;
    return w;
}

static void finish(world *w) {
    for (int i = 0; i < SOCKETS; i++)
        if (w->fd[i] >= 0) close(w->fd[i]);
    bus_free(w->client);
    bus_free(w->bus);
    event_free(w->alarm);
    loop_free(w->loop);
    free(w);
}

static void pump(world *w) {
    evtimer_add(w->alarm, &(struct timeval){.tv_usec = 1000});
    event_base_loop(loop_base(w->loop), EVLOOP_ONCE);
    for (int i = 0; i < SOCKETS; i++) {
        char bytes[4096];
        ssize_t n = -1;
        while (w->fd[i] >= 0 && !w->closed[i] &&
               (n = recv(w->fd[i], bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        }
        if (w->fd[i] >= 0 && (n == 0 || (n < 0 && errno != EAGAIN))) w->closed[i] = true;
    }
}

#define PUMP_UNTIL(w, fact)                                                                                  \
    do {                                                                                                     \
        uint64_t give_up_ = clock_now_ns() + GIVE_UP_NS;                                                     \
        while (!(fact)) {                                                                                    \
            if (clock_now_ns() > give_up_) fail_msg("no %s", #fact);                                         \
            pump(w);                                                                                         \
        }                                                                                                    \
    } while (0)

static void dial(world *w, int i) {
    hostport at;
    assert_true(hostport_parse(&at, bus_endpoint(w->bus), true));
    w->fd[i] = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atoi(at.port)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(w->fd[i], (struct sockaddr *)&sa, sizeof sa), 0);
    for (int k = 0; k < 20; k++) pump(w); /* it is seen to come before the next */
}

/* As long as it is let. */
static void say(world *w, int i, const void *bytes, size_t count) {
    uint64_t give_up = clock_now_ns() + GIVE_UP_NS;
    for (size_t at = 0; at < count && !w->closed[i];) {
        ssize_t n = send(w->fd[i], (const char *)bytes + at, count - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) at += (size_t)n;
        assert_true(clock_now_ns() < give_up);
        pump(w);
    }
}

/* ZMTP's greeting and its READY, without a key. */
static void greet(world *w, int i) {
    char greeting[64] = "\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL";
    static const char ready[] = "\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06"
                                "DEALER";
    say(w, i, greeting, sizeof greeting);
    say(w, i, ready, sizeof ready - 1);
}

static void connect_client(world *w) {
    errbuf eb = {0};
    bus_handler h = {.ctx = w, .message = on_message, .lost = on_client_lost};
    assert_int_equal(bus_connect(&w->client, w->loop, bus_endpoint(w->bus), NULL, &h, &eb), ST_OK);
    assert_int_equal(bus_send(w->client, 1, "x", 1), ST_OK);
    PUMP_UNTIL(w, w->messages == 1);
}

static const bus_limits wide = {.message_max = MESSAGE_MAX,
                                .unfinished_max = (size_t)MESSAGE_MAX + BUS_KERNEL_BYTES,
                                .conns_max = 64,
                                .idle_ns = 600 * NS_PER_S};

static void there_are_so_many_connections_and_the_longest_idle_one_gives_way(void **state) {
    (void)state;
    bus_limits limits = wide;
    limits.conns_max = 3;
    world *w = begin(&limits);
    connect_client(w); /* it has a session, and stays whatever comes */
    dial(w, 0);
    dial(w, 1);
    assert_false(w->closed[0] || w->closed[1]);
    dial(w, 2);
    PUMP_UNTIL(w, w->closed[0]);
    dial(w, 3);
    PUMP_UNTIL(w, w->closed[1]);
    assert_false(w->closed[2] || w->closed[3]);
    assert_int_equal(bus_send(w->client, 1, "x", 1), ST_OK);
    PUMP_UNTIL(w, w->messages == 2);
    assert_int_equal(w->lost + w->client_lost, 0);
    finish(w);
}

static void one_address_has_so_many(void **state) {
    (void)state;
    bus_limits limits = wide;
    limits.conns_per_client_max = 2;
    world *w = begin(&limits);
    dial(w, 0);
    dial(w, 1);
    dial(w, 2);
    PUMP_UNTIL(w, w->closed[2]);
    assert_false(w->closed[0] || w->closed[1]);
    close(w->fd[1]);
    w->fd[1] = -1;
    for (int i = 0; i < 20; i++) pump(w);
    dial(w, 3);
    for (int i = 0; i < 20; i++) pump(w);
    assert_false(w->closed[0] || w->closed[3]);
    finish(w);
}

static void one_without_a_session_has_an_end(void **state) {
    (void)state;
    bus_limits limits = wide;
    limits.idle_ns = NS_PER_MS;
    world *w = begin(&limits);
    connect_client(w);
    dial(w, 0);
    greet(w, 0); /* it speaks ZeroMQ, and says nothing */
    PUMP_UNTIL(w, w->closed[0]);
    assert_int_equal(w->lost + w->client_lost, 0);
    finish(w);
}

static void a_frame_has_so_many_bytes(void **state) {
    (void)state;
    world *w = begin(&wide);
    dial(w, 0);
    greet(w, 0);
    char frame[9] = {2}; /* with a length of eight bytes */
    uint64_t count = MESSAGE_MAX + 1;
    for (size_t i = 0; i < 8; i++) frame[8 - i] = (char)(count >> (8 * i));
    say(w, 0, frame, sizeof frame);
    PUMP_UNTIL(w, w->closed[0]);
    finish(w);
}

/* ZeroMQ would keep such frames for ever: none of them is the last. */
static void many_frames(world *w, int i, size_t bytes) {
    enum { FRAME = 16 * 1024 };
    char *frame = xcalloc(1, FRAME);
    frame[0] = 3; /* more come; with a length of eight bytes */
    frame[7] = (char)((FRAME - 9) >> 8);
    frame[8] = (char)((FRAME - 9) & 0xff);
    for (size_t at = 0; at < bytes && !w->closed[i]; at += FRAME) say(w, i, frame, FRAME);
    free(frame);
}

static void a_message_without_an_end_has_one(void **state) {
    (void)state;
    bus_limits limits = wide;
    limits.unfinished_max = SIZE_MAX;
    world *w = begin(&limits);
    connect_client(w);
    dial(w, 0);
    greet(w, 0);
    many_frames(w, 0, MESSAGE_MAX + BUS_KERNEL_BYTES - 65536);
    assert_false(w->closed[0]);
    many_frames(w, 0, 1024 * MESSAGE_MAX);
    PUMP_UNTIL(w, w->closed[0]);
    assert_int_equal(bus_send(w->client, 1, "x", 1), ST_OK);
    PUMP_UNTIL(w, w->messages == 2);
    assert_int_equal(w->lost + w->client_lost, 0);
    finish(w);
}

static void all_of_them_have_so_much_room(void **state) {
    (void)state;
    bus_limits limits = wide;
    limits.unfinished_max = 3 * MESSAGE_MAX;
    world *w = begin(&limits);
    for (int i = 0; i < 3; i++) {
        dial(w, i);
        greet(w, i);
    }
    many_frames(w, 0, MESSAGE_MAX);
    many_frames(w, 1, MESSAGE_MAX + MESSAGE_MAX / 2);
    for (int i = 0; i < 400; i++) pump(w); /* more than one look */
    assert_false(w->closed[0] || w->closed[1]);
    many_frames(w, 2, MESSAGE_MAX);
    PUMP_UNTIL(w, w->closed[1]); /* it has most */
    assert_false(w->closed[0] || w->closed[2]);
    finish(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_are_so_many_connections_and_the_longest_idle_one_gives_way),
        cmocka_unit_test(one_address_has_so_many),
        cmocka_unit_test(one_without_a_session_has_an_end),
        cmocka_unit_test(a_frame_has_so_many_bytes),
        cmocka_unit_test(a_message_without_an_end_has_one),
        cmocka_unit_test(all_of_them_have_so_much_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
