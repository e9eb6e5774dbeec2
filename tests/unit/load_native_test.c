/* The native client before a coordinator that says what the test wants. Every wait has a deadline. */
#include "tests/test.h"

#include "base/clock.h"
#include "base/mem.h"
#include "bench/load/native_client.h"
#include "net/bus.h"
#include "proto/client.pb-c.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEADLINE_NS (60 * NS_PER_S)
enum { CALLS = 2000 };

typedef struct world {
    loop *loop;
    bus *server;
    char endpoint[64];
    native_options options;
    client *client;
    bool answers;               /* else requests are only counted */
    uint32_t completion_tokens; /* what the end of an answer says */
    uint32_t asked;             /* requests that the server saw */
    uint64_t conn;              /* of the last one */
    uint32_t started, ended;    /* calls 1 .. started */
    uint32_t ends[CALLS + 1];   /* how often, by number */
    client_end end[CALLS + 1];
    void (*step)(struct world *w); /* in each turn, before the client's */
    uint64_t deadline_ns;
} world;

/* ---- the server ---- */

static void tell(world *w, uint64_t conn, const Baton__ServerEvent *e) {
    size_t bytes = baton__server_event__get_packed_size(e);
    uint8_t *p = xmalloc(bytes + 1);
    baton__server_event__pack(e, p);
    assert_int_equal(bus_send(w->server, conn, p, bytes), ST_OK);
    free(p);
}

static void answer(world *w, uint64_t conn, uint64_t id) {
    Baton__ServerEvent e = BATON__SERVER_EVENT__INIT;
    Baton__ServerToken token = BATON__SERVER_TOKEN__INIT;
    Baton__ServerEnd end = BATON__SERVER_END__INIT;
    e.has_id = true;
    e.id = id;
    e.body_case = BATON__SERVER_EVENT__BODY_TOKEN;
    e.token = &token;
    tell(w, conn, &e);
    end.reason = BATON__END_REASON__END_LENGTH;
    end.prompt_tokens = 3;
    end.completion_tokens = w->completion_tokens;
    e.body_case = BATON__SERVER_EVENT__BODY_END;
    e.end = &end;
    tell(w, conn, &e);
}

static void on_message(void *ctx, uint64_t conn, const void *bytes, size_t count) {
    world *w = ctx;
    Baton__ClientMessage *m = baton__client_message__unpack(NULL, count, bytes);
    assert_non_null(m);
    if (m->body_case == BATON__CLIENT_MESSAGE__BODY_REQUEST) {
        w->asked++;
        w->conn = conn;
        if (w->answers) answer(w, conn, m->request->id);
    }
    baton__client_message__free_unpacked(m, NULL);
}

static void on_lost(void *ctx, uint64_t conn, const char *why) {
    (void)ctx, (void)conn, (void)why;
}

/* ---- the caller ---- */

static void on_token(void *ctx, uint64_t number, uint64_t at_ns, uint32_t tokens) {
    world *w = ctx;
    (void)at_ns;
    assert_in_range(number, 1, w->started);
    assert_int_equal(tokens, 1);
}

static void on_end(void *ctx, uint64_t number, const client_end *e) {
    world *w = ctx;
    assert_in_range(number, 1, w->started);
    w->ends[number]++;
    w->end[number] = *e;
    w->ended++;
}

static void start(world *w) {
    static const int32_t ids[] = {1, 2, 3};
    assert_true(w->started < CALLS);
    client_request r = {.number = ++w->started, .ids = ids, .id_count = ARRAY_LEN(ids), .output_tokens = 1};
    buf wire = {0};
    w->client->ops->prepare(w->client, &r, &wire);
    w->client->ops->start(w->client, &wire, r.number);
    buf_done(&wire);
}

static uint64_t on_turn(void *ctx, uint64_t now_ns) {
    world *w = ctx;
    if (now_ns > w->deadline_ns) loop_stop(w->loop);
    if (w->step) w->step(w);
    uint64_t next = native_client_turn(w->client, clock_now_ns());
    if (w->started > 0 && w->ended == w->started) loop_stop(w->loop);
    return MIN(next, w->deadline_ns);
}

static int setup(void **state) {
    world *w = xcalloc(1, sizeof *w);
    errbuf eb = {0};
    assert_int_equal(loop_new(&w->loop, on_turn, w, &eb), ST_OK);
    bus_handler b = {.ctx = w, .message = on_message, .lost = on_lost};
    if (bus_listen(&w->server, w->loop, "tcp://127.0.0.1:*", NULL, NULL, &b, &eb) != ST_OK)
        fail_msg("%s", eb.text);
    snprintf(w->endpoint, sizeof w->endpoint, "%s", bus_endpoint(w->server));
    w->options = (native_options){.endpoint = w->endpoint, .ignore_eos = true, .temperature = NAN};
    client_handler h = {.ctx = w, .event = on_token, .end = on_end};
    if (native_client_new(&w->client, w->loop, &w->options, &h, &eb) != ST_OK) fail_msg("%s", eb.text);
    w->completion_tokens = 1;
    w->deadline_ns = clock_now_ns() + DEADLINE_NS;
    *state = w;
    return 0;
}

static int teardown(void **state) {
    world *w = *state;
    w->client->ops->free(w->client);
    bus_free(w->server);
    loop_free(w->loop);
    free(w);
    return 0;
}

/* ---- facts ---- */

/* Until the first two have ended, each turn sends one more before the client turns: so does the one in which
 * the loss is noticed, and it begins a new session. */
static void hang_up_and_send_on(world *w) {
    if (!w->answers && w->asked == 2) {
        bus_drop(w->server, w->conn);
        w->answers = true;
    }
    if (w->answers && !(w->ends[1] && w->ends[2])) start(w);
}

static void a_lost_session_ends_its_calls_although_a_request_has_begun_a_new_one(void **state) {
    world *w = *state;
    w->step = hang_up_and_send_on;
    start(w);
    start(w);
    loop_run(w->loop);
    assert_int_equal(w->ended, w->started);
    for (uint32_t i = 1; i <= w->started; i++) assert_int_equal(w->ends[i], 1);
    for (uint32_t i = 1; i <= 2; i++) {
        assert_int_equal(w->end[i].outcome, ROW_FAILED);
        assert_non_null(strstr(w->end[i].error, w->endpoint));
        assert_non_null(strstr(w->end[i].error, " is lost: "));
    }
    assert_int_equal(w->end[w->started].outcome, ROW_OK);
}

static void an_answer_as_asked_is_told_as_it_is(void **state) {
    world *w = *state;
    w->answers = true;
    start(w);
    loop_run(w->loop);
    assert_int_equal(w->ends[1], 1);
    assert_int_equal(w->end[1].outcome, ROW_OK);
    assert_string_equal(w->end[1].finish, "length");
    assert_int_equal(w->end[1].prompt_tokens, 3);
    assert_int_equal(w->end[1].output_tokens, 1);
}

static void an_answer_of_more_tokens_than_there_can_be_is_a_failed_one(void **state) {
    world *w = *state;
    w->answers = true;
    w->completion_tokens = UINT32_MAX;
    start(w);
    loop_run(w->loop);
    assert_int_equal(w->ends[1], 1);
    assert_int_equal(w->end[1].outcome, ROW_FAILED);
    assert_string_equal(w->end[1].error,
                        "the server counts 4294967295 tokens in one answer: more than 16777216");
    assert_int_equal(w->end[1].output_tokens, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_lost_session_ends_its_calls_although_a_request_has_begun_a_new_one,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_as_asked_is_told_as_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_of_more_tokens_than_there_can_be_is_a_failed_one, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
