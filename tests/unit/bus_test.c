/* Two ends of a bus in one loop, and raw ZeroMQ sockets where an end must misbehave. Every wait has a
 * deadline. */
#include "tests/test.h"

#include "base/clock.h"
#include "base/mem.h"
#include "net/bus.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define DEADLINE_NS (60 * NS_PER_S)
#define CONNS_MAX   256

typedef struct end {
    struct world *w;
    bus *b;
    bool echo;
    bool order_broken; /* messages start with a number that counts up per end */
    uint64_t next;     /* expected */
    uint32_t messages;
    uint64_t bytes;
    uint32_t lost;
    uint64_t conn; /* of the last message */
    uint64_t lost_conns[CONNS_MAX];
    uint64_t message_conns[CONNS_MAX];
    uint32_t messages_at_lost;
    char why[64];
} end;

typedef struct raw {
    void *ctx, *socket;
} raw;

typedef struct world {
    loop *l;
    end server, client;
    raw reader;    /* reads in raw_got_many */
    uint32_t read; /* messages */
    bool read_broken;
    bool (*until)(struct world *w);
    uint64_t deadline_ns;
    bool reached;
} world;

static uint64_t turn(void *ctx, uint64_t now_ns) {
    world *w = ctx;
    if (w->until && w->until(w)) w->reached = true;
    if (w->reached || now_ns > w->deadline_ns) loop_stop(w->l);
    return w->deadline_ns;
}

static void run_until(world *w, bool (*until)(world *w)) {
    w->until = until;
    w->reached = false;
    w->deadline_ns = clock_now_ns() + DEADLINE_NS;
    loop_run(w->l);
    assert_true(w->reached);
}

static void on_message(void *ctx, uint64_t conn, const void *bytes, size_t count) {
    end *e = ctx;
    e->conn = conn;
    if (e->messages < CONNS_MAX) e->message_conns[e->messages] = conn;
    e->messages++;
    e->bytes += count;
    uint64_t n = 0;
    if (count >= sizeof n) {
        memcpy(&n, bytes, sizeof n);
        if (n != e->next++) e->order_broken = true;
    }
    if (e->echo) assert_int_equal(bus_send(e->b, conn, bytes, count), ST_OK);
}

static void on_lost(void *ctx, uint64_t conn, const char *why) {
    end *e = ctx;
    if (e->lost < CONNS_MAX) e->lost_conns[e->lost] = conn;
    e->lost++;
    e->messages_at_lost = e->messages;
    snprintf(e->why, sizeof e->why, "%s", why);
}

static bus_handler handler(end *e) {
    return (bus_handler){.ctx = e, .message = on_message, .lost = on_lost};
}

static void listen_at(world *w, const char *endpoint) {
    errbuf eb = {0};
    bus_handler h = handler(&w->server);
    if (bus_listen(&w->server.b, w->l, endpoint, NULL, NULL, &h, &eb) != ST_OK) fail_msg("%s", eb.text);
}

static void connect_to(world *w, const char *endpoint) {
    errbuf eb = {0};
    bus_handler h = handler(&w->client);
    if (bus_connect(&w->client.b, w->l, endpoint, NULL, &h, &eb) != ST_OK) fail_msg("%s", eb.text);
}

static int setup(void **state) {
    world *w = xcalloc(1, sizeof *w);
    assert_int_equal(loop_new(&w->l, turn, w, NULL), ST_OK);
    listen_at(w, "tcp://127.0.0.1:*");
    *state = w;
    return 0;
}

static int teardown(void **state) {
    world *w = *state;
    bus_free(w->client.b);
    bus_free(w->server.b);
    loop_free(w->l);
    free(w);
    return 0;
}

static void send_number(bus *b, uint64_t conn, uint64_t n, size_t bytes) {
    char *m = xcalloc(1, MAX(bytes, sizeof n));
    memcpy(m, &n, sizeof n);
    assert_int_equal(bus_send(b, conn, m, MAX(bytes, sizeof n)), ST_OK);
    free(m);
}

static bool client_got_one(world *w) {
    return w->client.messages == 1;
}

static bool server_got_one(world *w) {
    return w->server.messages == 1;
}

static bool server_got_two(world *w) {
    return w->server.messages == 2;
}

static bool server_lost_one(world *w) {
    return w->server.lost == 1;
}

static bool client_lost_one(world *w) {
    return w->client.lost == 1;
}

static void a_message_is_echoed(void **state) {
    world *w = *state;
    assert_non_null(strstr(bus_endpoint(w->server.b), "tcp://127.0.0.1:"));
    assert_null(strchr(bus_endpoint(w->server.b), '*'));
    connect_to(w, bus_endpoint(w->server.b));
    w->server.echo = true;
    send_number(w->client.b, 1, 0, 8);
    run_until(w, client_got_one);
    assert_int_equal(w->client.conn, 1);
    assert_int_equal(w->server.conn, 1);
    assert_int_equal(w->client.bytes, 8);
}

static bool client_got_5000(world *w) {
    return w->client.messages == 5000;
}

/* More than ZeroMQ's own queues hold, sent in one go from both sides: order and number survive the waiting
 * queue. */
static void a_burst_keeps_its_order(void **state) {
    world *w = *state;
    connect_to(w, bus_endpoint(w->server.b));
    w->server.echo = true;
    for (uint64_t i = 0; i < 5000; i++) send_number(w->client.b, 1, i, 8);
    run_until(w, client_got_5000);
    assert_int_equal(w->server.messages, 5000);
    assert_false(w->server.order_broken);
    assert_false(w->client.order_broken);
    assert_int_equal(w->client.lost + w->server.lost, 0);
}

static bool client_got_40(world *w) {
    return w->client.messages == 40;
}

static void messages_of_a_mebibyte_arrive_whole(void **state) {
    world *w = *state;
    connect_to(w, bus_endpoint(w->server.b));
    w->server.echo = true;
    for (uint64_t i = 0; i < 40; i++) send_number(w->client.b, 1, i, 1 << 20);
    run_until(w, client_got_40);
    assert_int_equal(w->client.bytes, 40u << 20);
    assert_false(w->client.order_broken);
}

static void an_empty_message_is_a_message(void **state) {
    world *w = *state;
    connect_to(w, bus_endpoint(w->server.b));
    assert_int_equal(bus_send(w->client.b, 1, NULL, 0), ST_OK);
    run_until(w, server_got_one);
    assert_int_equal(w->server.bytes, 0);
}

/* Nothing is sent but the payload: the death is seen by the socket's monitor, and after all that was sent
 * before it. */
static void the_server_notices_a_closed_client_after_its_last_message(void **state) {
    world *w = *state;
    connect_to(w, bus_endpoint(w->server.b));
    w->server.echo = true;
    send_number(w->client.b, 1, 0, 8);
    run_until(w, client_got_one);
    send_number(w->client.b, 1, 1, 8);
    run_until(w, server_got_two);
    bus_free(w->client.b);
    w->client.b = NULL;
    run_until(w, server_lost_one);
    assert_int_equal(w->server.lost_conns[0], 1);
    assert_int_equal(w->server.messages_at_lost, 2);
    assert_string_equal(w->server.why, "the connection is closed");
    assert_int_equal(bus_send(w->server.b, 1, "x", 1), ST_PEER);
}

static void a_client_that_comes_back_is_a_new_connection(void **state) {
    world *w = *state;
    connect_to(w, bus_endpoint(w->server.b));
    send_number(w->client.b, 1, 0, 8);
    run_until(w, server_got_one);
    assert_int_equal(w->server.conn, 1);
    assert_int_equal(bus_reconnect(w->client.b, NULL), ST_OK);
    send_number(w->client.b, 1, 1, 8);
    run_until(w, server_got_two);
    assert_int_equal(w->server.conn, 2);
    run_until(w, server_lost_one);
    assert_int_equal(w->server.lost_conns[0], 1);
    assert_int_equal(w->client.lost, 0); /* it asked for it */
    assert_int_equal(bus_send(w->server.b, 2, "x", 1), ST_OK);
    run_until(w, client_got_one);
}

static void the_client_notices_a_dead_server_and_finds_the_next(void **state) {
    world *w = *state;
    char *endpoint = xstrdup(bus_endpoint(w->server.b));
    connect_to(w, endpoint);
    send_number(w->client.b, 1, 0, 8);
    run_until(w, server_got_one);
    bus_free(w->server.b);
    run_until(w, client_lost_one);
    assert_int_equal(w->client.lost_conns[0], 1);
    assert_int_equal(bus_send(w->client.b, 1, "x", 1), ST_PEER);
    assert_int_equal(bus_reconnect(w->client.b, NULL), ST_OK);
    send_number(w->client.b, 1, 1, 8); /* queued while nobody listens */
    listen_at(w, endpoint);
    run_until(w, server_got_two);
    assert_int_equal(w->client.lost, 1);
    free(endpoint);
}

static void a_dropped_connection_is_told_and_its_rest_ignored(void **state) {
    world *w = *state;
    connect_to(w, bus_endpoint(w->server.b));
    send_number(w->client.b, 1, 0, 8);
    run_until(w, server_got_one);
    bus_drop(w->server.b, 1);
    bus_drop(w->server.b, 1);
    assert_int_equal(bus_send(w->server.b, 1, "x", 1), ST_PEER);
    send_number(w->client.b, 1, 1, 8);
    run_until(w, client_lost_one);
    assert_string_equal(w->client.why, "the peer ended the session");
    assert_int_equal(w->server.messages, 1);
    assert_int_equal(w->server.lost, 0);
}

static void an_unknown_connection_is_a_missing_peer(void **state) {
    world *w = *state;
    assert_int_equal(bus_send(w->server.b, 1, "x", 1), ST_PEER);
    assert_int_equal(bus_send(w->server.b, 99, "x", 1), ST_PEER);
    bus_drop(w->server.b, 99);
    connect_to(w, bus_endpoint(w->server.b));
    assert_int_equal(bus_send(w->client.b, 2, "x", 1), ST_PEER);
}

/* ---- raw peers ---- */

static raw raw_dealer(world *w) {
    raw r = {.ctx = zmq_ctx_new()};
    r.socket = zmq_socket(r.ctx, ZMQ_DEALER);
    assert_non_null(r.socket);
    int timeout = 60000, linger = 60000;
    zmq_setsockopt(r.socket, ZMQ_RCVTIMEO, &timeout, sizeof timeout);
    zmq_setsockopt(r.socket, ZMQ_LINGER, &linger, sizeof linger);
    assert_int_equal(zmq_connect(r.socket, bus_endpoint(w->server.b)), 0);
    return r;
}

static void raw_send(raw *r, uint64_t session, uint64_t number, const void *bytes, size_t count) {
    uint64_t head[2] = {session, number};
    assert_int_equal(zmq_send(r->socket, head, sizeof head, ZMQ_SNDMORE), sizeof head);
    assert_int_equal(zmq_send(r->socket, bytes, count, 0), count);
}

static void raw_expect(raw *r, uint64_t session, uint64_t number) {
    uint64_t head[2] = {0};
    char body[64];
    assert_int_equal(zmq_recv(r->socket, head, sizeof head, 0), sizeof head);
    assert_true(zmq_recv(r->socket, body, sizeof body, 0) >= 0);
    assert_int_equal(head[0], session);
    assert_int_equal(head[1], number);
}

static void raw_close(raw *r) {
    zmq_close(r->socket);
    zmq_ctx_term(r->ctx);
}

static void a_gap_ends_the_session_at_both_ends(void **state) {
    world *w = *state;
    raw r = raw_dealer(w);
    raw_send(&r, 7, 1, "a", 1);
    raw_send(&r, 7, 2, "b", 1);
    raw_send(&r, 7, 4, "d", 1);
    raw_send(&r, 7, 5, "e", 1);
    run_until(w, server_lost_one);
    assert_int_equal(w->server.messages, 2);
    assert_string_equal(w->server.why, "a message is missing");
    raw_expect(&r, 7, 0);
    assert_int_equal(bus_send(w->server.b, 1, "x", 1), ST_PEER);
    raw_send(&r, 8, 1, "f", 1); /* a fresh session is welcome */
    w->server.messages = 0;
    run_until(w, server_got_one);
    assert_int_equal(w->server.conn, 2);
    assert_int_equal(w->server.lost, 1);
    raw_close(&r);
}

static void a_repeated_number_ends_the_session(void **state) {
    world *w = *state;
    raw r = raw_dealer(w);
    raw_send(&r, 7, 1, "a", 1);
    raw_send(&r, 7, 1, "a", 1);
    run_until(w, server_lost_one);
    assert_int_equal(w->server.messages, 1);
    raw_close(&r);
}

static void a_session_does_not_begin_in_the_middle(void **state) {
    world *w = *state;
    raw r = raw_dealer(w);
    raw_send(&r, 7, 2, "b", 1);
    raw_send(&r, 9, 1, "a", 1);
    run_until(w, server_got_one);
    raw_expect(&r, 7, 0);
    assert_int_equal(w->server.conn, 1); /* the first one that counts */
    raw_close(&r);
}

static void messages_without_the_frame_are_ignored(void **state) {
    world *w = *state;
    raw r = raw_dealer(w);
    zmq_send(r.socket, "hello", 5, 0);
    zmq_send(r.socket, "", 0, 0);
    for (int i = 0; i < 8; i++) zmq_send(r.socket, "0123456789abcdef", 16, i < 7 ? ZMQ_SNDMORE : 0);
    zmq_send(r.socket, "0123456789abcdef", 16, 0);
    raw_send(&r, 7, 1, "a", 1);
    run_until(w, server_got_one);
    assert_int_equal(w->server.bytes, 1);
    raw_close(&r);
}

static bool client_ended(world *w) {
    return w->client.lost > 0;
}

/* The server side played by hand: its answers skip a number. */
static void a_gap_from_the_server_ends_the_clients_session(void **state) {
    world *w = *state;
    void *ctx = zmq_ctx_new(), *router = zmq_socket(ctx, ZMQ_ROUTER);
    assert_int_equal(zmq_bind(router, "tcp://127.0.0.1:*"), 0);
    char endpoint[64];
    size_t size = sizeof endpoint;
    assert_int_equal(zmq_getsockopt(router, ZMQ_LAST_ENDPOINT, endpoint, &size), 0);
    connect_to(w, endpoint);
    assert_int_equal(bus_send(w->client.b, 1, "a", 1), ST_OK);
    char id[256], body[8];
    uint64_t head[2];
    int id_len = zmq_recv(router, id, sizeof id, 0);
    assert_true(id_len > 0);
    assert_int_equal(zmq_recv(router, head, sizeof head, 0), sizeof head);
    assert_int_equal(head[1], 1);
    assert_int_equal(zmq_recv(router, body, sizeof body, 0), 1);
    for (uint64_t number = 1; number <= 3; number += 2) {
        head[1] = number;
        zmq_send(router, id, (size_t)id_len, ZMQ_SNDMORE);
        zmq_send(router, head, sizeof head, ZMQ_SNDMORE);
        zmq_send(router, "b", 1, 0);
    }
    run_until(w, client_ended);
    assert_int_equal(w->client.messages, 1);
    assert_string_equal(w->client.why, "a message is missing");
    zmq_close(router);
    zmq_ctx_term(ctx);
}

/* A client that does not read: sends are taken up to the bound, then its session ends, outside of bus_send.
 */
static void a_peer_that_does_not_read_is_lost_when_its_queue_is_full(void **state) {
    world *w = *state;
    raw r = raw_dealer(w);
    raw_send(&r, 7, 1, "a", 1);
    run_until(w, server_got_one);
    char *block = xcalloc(1, 256 << 10);
    uint32_t taken = 0;
    while (taken < 4000 && bus_send(w->server.b, 1, block, 256 << 10) == ST_OK) taken++;
    assert_true(taken >= 256 && taken < 4000); /* 64 MiB in our queue and what ZeroMQ and TCP hold */
    assert_int_equal(w->server.lost, 0);
    run_until(w, server_lost_one);
    assert_string_equal(w->server.why, "its queue is full: it does not read");
    free(block);
    raw_close(&r);
}

/* More than TCP holds, less than makes our own queue. */
#define LAST_WORDS       200
#define LAST_WORDS_BYTES (64 << 10)

static void *read_last_words(void *ctx) {
    raw *r = ctx;
    char *body = xmalloc(LAST_WORDS_BYTES);
    uint64_t head[2] = {0};
    while (head[1] < LAST_WORDS && zmq_recv(r->socket, head, sizeof head, 0) == sizeof head &&
           zmq_recv(r->socket, body, LAST_WORDS_BYTES, 0) == LAST_WORDS_BYTES) {
    }
    free(body);
    return (void *)(uintptr_t)head[1];
}

static void what_a_server_said_leaves_before_it_ends(void **state) {
    world *w = *state;
    raw r = raw_dealer(w);
    raw_send(&r, 7, 1, "a", 1);
    run_until(w, server_got_one);
    char *block = xcalloc(1, LAST_WORDS_BYTES);
    for (uint32_t i = 0; i < LAST_WORDS; i++)
        assert_int_equal(bus_send(w->server.b, 1, block, LAST_WORDS_BYTES), ST_OK);
    assert_int_equal(bus_stuck_since(w->server.b, 1), 0);
    int timeout = 5000; /* of what will never come */
    zmq_setsockopt(r.socket, ZMQ_RCVTIMEO, &timeout, sizeof timeout);
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, read_last_words, &r), 0);
    bus_free(w->server.b);
    w->server.b = NULL;
    void *last;
    pthread_join(reader, &last);
    assert_int_equal((uintptr_t)last, LAST_WORDS);
    free(block);
    raw_close(&r);
}

/* Small enough that the bound is the number of messages, large enough that TCP does not hold them all. */
#define SMALL_BYTES 256

static void small_messages_are_queued_up_to_their_number(void **state) {
    world *w = *state;
    raw r = raw_dealer(w);
    raw_send(&r, 7, 1, "a", 1);
    run_until(w, server_got_one);
    assert_int_equal(bus_stuck_since(w->server.b, 1), 0);
    char small[SMALL_BYTES] = {0};
    uint32_t taken = 0;
    while (taken < 200000 && bus_send(w->server.b, 1, small, sizeof small) == ST_OK) taken++;
    assert_in_range(taken, 100000, 199999);
    assert_true(bus_stuck_since(w->server.b, 1) > 0);
    run_until(w, server_lost_one);
    assert_string_equal(w->server.why, "its queue is full: it does not read");
    assert_int_equal(bus_stuck_since(w->server.b, 1), 0);
    raw_close(&r);
}

#define MANY 60000

static bool raw_got_many(world *w) {
    uint64_t head[2], body[SMALL_BYTES / 4];
    while (zmq_recv(w->reader.socket, head, sizeof head, ZMQ_DONTWAIT) == sizeof head) {
        int bytes = zmq_recv(w->reader.socket, body, sizeof body, 0);
        if (bytes != sizeof body || head[1] != w->read + 1 || body[0] != w->read) w->read_broken = true;
        w->read++;
    }
    return w->read == MANY;
}

/* Many times what is sent from a queue at once. */
static void a_peer_that_reads_again_gets_all_that_was_queued_in_order(void **state) {
    world *w = *state;
    w->reader = raw_dealer(w);
    raw_send(&w->reader, 7, 1, "a", 1);
    run_until(w, server_got_one);
    uint64_t before_ns = clock_now_ns();
    for (uint64_t i = 0; i < MANY; i++) send_number(w->server.b, 1, i, SMALL_BYTES * 2);
    assert_in_range(bus_stuck_since(w->server.b, 1), before_ns, clock_now_ns());
    run_until(w, raw_got_many);
    assert_false(w->read_broken);
    assert_int_equal(bus_stuck_since(w->server.b, 1), 0);
    assert_int_equal(w->server.lost, 0);
    raw_close(&w->reader);
}

#define FLEETING 60

static bool all_fleeting_are_lost(world *w) {
    return w->server.lost == FLEETING;
}

/* Descriptors are reused at once: whoever says one thing and closes is lost, and nobody else is. */
static void only_the_closed_connections_are_lost_when_descriptors_are_reused(void **state) {
    world *w = *state;
    connect_to(w, bus_endpoint(w->server.b));
    send_number(w->client.b, 1, 0, 8);
    run_until(w, server_got_one);
    uint64_t steady = w->server.conn;
    for (int i = 0; i < FLEETING; i++) {
        raw r = raw_dealer(w);
        raw_send(&r, (uint64_t)i + 100, 1, "a", 1);
        raw_close(&r); /* lingers until the message left */
        if (i % 7 == 0) bus_drain(w->server.b);
    }
    run_until(w, all_fleeting_are_lost);
    assert_int_equal(w->server.messages, FLEETING + 1);
    for (uint32_t i = 0; i < FLEETING; i++) assert_true(w->server.lost_conns[i] != steady);
    assert_int_equal(bus_send(w->server.b, steady, "x", 1), ST_OK);
    run_until(w, client_got_one);
    assert_int_equal(w->client.lost, 0);
}

/* ---- errors ---- */

static void a_port_in_use_is_named_with_the_remedy(void **state) {
    world *w = *state;
    errbuf eb = {0};
    bus *b = NULL;
    bus_handler h = handler(&w->client);
    assert_int_equal(bus_listen(&b, w->l, bus_endpoint(w->server.b), NULL, NULL, &h, &eb), ST_IO);
    assert_null(b);
    char want[200];
    const char *endpoint = bus_endpoint(w->server.b);
    snprintf(want, sizeof want,
             "listening on: %s: port %s is in use: stop the program that has it, or set another port",
             endpoint, strrchr(endpoint, ':') + 1);
    assert_string_equal(eb.text, want);
}

static void a_name_is_an_address(void **state) {
    world *w = *state;
    errbuf eb = {0};
    bus *b = NULL;
    bus_handler h = handler(&w->client);
    if (bus_listen(&b, w->l, "tcp://localhost:*", NULL, NULL, &h, &eb)) fail_msg("%s", eb.text);
    assert_memory_equal(bus_endpoint(b), "tcp://127.0.0.1:", 16);
    bus_free(b);
}

static void bad_endpoints_are_named(void **state) {
    world *w = *state;
    errbuf eb = {0};
    bus *b = NULL;
    bus_handler h = handler(&w->client);
    assert_int_equal(bus_listen(&b, w->l, "127.0.0.1:1", NULL, NULL, &h, &eb), ST_IO);
    assert_non_null(strstr(eb.text, "127.0.0.1:1: is no endpoint: write tcp://ADDRESS:PORT"));
    assert_int_equal(bus_listen(&b, w->l, "tcp://192.0.2.77:7001", NULL, NULL, &h, &eb), ST_IO);
    assert_non_null(strstr(eb.text, "this machine has no such address"));
    assert_int_equal(bus_listen(&b, w->l, "tcp://no-such-host.invalid:7001", NULL, NULL, &h, &eb), ST_IO);
    assert_non_null(strstr(eb.text, "the name no-such-host.invalid: "));
    assert_int_equal(bus_connect(&b, w->l, "nonsense", NULL, &h, &eb), ST_IO);
    assert_non_null(strstr(eb.text, "connecting to: nonsense"));
    assert_null(b);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_message_is_echoed),
        TEST(a_burst_keeps_its_order),
        TEST(messages_of_a_mebibyte_arrive_whole),
        TEST(an_empty_message_is_a_message),
        TEST(the_server_notices_a_closed_client_after_its_last_message),
        TEST(a_client_that_comes_back_is_a_new_connection),
        TEST(the_client_notices_a_dead_server_and_finds_the_next),
        TEST(a_dropped_connection_is_told_and_its_rest_ignored),
        TEST(an_unknown_connection_is_a_missing_peer),
        TEST(a_gap_ends_the_session_at_both_ends),
        TEST(a_repeated_number_ends_the_session),
        TEST(a_session_does_not_begin_in_the_middle),
        TEST(messages_without_the_frame_are_ignored),
        TEST(a_gap_from_the_server_ends_the_clients_session),
        TEST(a_peer_that_does_not_read_is_lost_when_its_queue_is_full),
        TEST(what_a_server_said_leaves_before_it_ends),
        TEST(small_messages_are_queued_up_to_their_number),
        TEST(a_peer_that_reads_again_gets_all_that_was_queued_in_order),
        TEST(only_the_closed_connections_are_lost_when_descriptors_are_reused),
        TEST(a_port_in_use_is_named_with_the_remedy),
        TEST(a_name_is_an_address),
        TEST(bad_endpoints_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
