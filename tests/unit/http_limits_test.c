/* Each bound of the HTTP front, met exactly and gone beyond by one. */
#include "http_world.h"

#include "coordinator/http_client.h"
#include "coordinator/http_conn.h"

#include <stdlib.h>

#define TOKENIZE "POST /tokenize HTTP/1.1\r\nHost: x\r\n"
#define PING     "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"

static void say(world *w, int i, const char *text) {
    send_all(w, i, text, strlen(text));
}

/* The world begins again, with these limits; the next one has the usual ones. */
static world *with_limits(void **state, const http_limits *limits) {
    assert_int_equal(teardown(state), 0);
    world_limits = *limits;
    assert_int_equal(setup(state), 0);
    world_limits = (http_limits)WORLD_LIMITS;
    return *state;
}

static bool refused(const world *w, int i, const char *code, const char *word) {
    char line[32];
    snprintf(line, sizeof line, "HTTP/1.1 %s ", code);
    return w->closed[i] && has(w, i, line) && has(w, i, word) && has(w, i, "\"type\":\"") &&
           has(w, i, "Connection: close");
}

/* A head of so many bytes. */
static char *head_of(size_t bytes) {
    static const char begin[] = "GET /ping HTTP/1.1\r\nHost: x\r\nA: ", end[] = "\r\n\r\n";
    char *text = xmalloc(bytes + 1);
    memset(text, 'a', bytes);
    memcpy(text, begin, strlen(begin));
    memcpy(text + bytes - strlen(end), end, sizeof end);
    return text;
}

static void a_head_may_have_so_many_bytes(void **state) {
    http_limits limits = WORLD_LIMITS;
    limits.head_max = 1024;
    world *w = with_limits(state, &limits);
    for (size_t more = 0; more < 2; more++) {
        char *head = head_of(limits.head_max + more);
        dial(w, 0, 0);
        say(w, 0, head);
        if (more)
            PUMP_UNTIL(w, refused(w, 0, "431", "1024 bytes (limits.max_header_kb)"));
        else
            PUMP_UNTIL(w, has(w, 0, "HTTP/1.1 200 OK"));
        hang_up(w, 0);
        free(head);
    }
}

static void a_body_may_have_so_many_bytes(void **state) {
    http_limits limits = WORLD_LIMITS;
    limits.body_max = 64;
    world *w = with_limits(state, &limits);
    static const char body[] = "{\"prompt\":\"ab\",\"add_special_tokens\":false}                      ";
    assert_int_equal(strlen(body), limits.body_max);
    for (int chunked = 0; chunked < 2; chunked++) {
        for (int more = 0; more < 2; more++) {
            dial(w, 0, 0);
            char *text =
                chunked
                    ? xasprintf(TOKENIZE "Transfer-Encoding: chunked\r\n\r\n40\r\n%s\r\n%s0\r\n\r\n", body,
                                more ? "1\r\n \r\n" : "")
                    : xasprintf(TOKENIZE "Content-Length: %d\r\n\r\n%s%s", 64 + more, body, more ? " " : "");
            say(w, 0, text);
            free(text);
            if (more)
                PUMP_UNTIL(w, refused(w, 0, "413", "want at most 64 (limits.max_body_kb)"));
            else
                PUMP_UNTIL(w, has(w, 0, "\"count\":2"));
            hang_up(w, 0);
        }
    }
}

/* ---- connections ---- */

static void the_longest_idle_connection_makes_room_for_a_new_one(void **state) {
    http_limits limits = WORLD_LIMITS;
    limits.conns_max = 2;
    world *w = with_limits(state, &limits);
    dial(w, 0, 0);
    say(w, 0, PING);
    PUMP_UNTIL(w, has(w, 0, "HTTP/1.1 200 OK"));
    dial(w, 1, 0);
    say(w, 1, PING);
    PUMP_UNTIL(w, has(w, 1, "HTTP/1.1 200 OK"));
    say(w, 0, PING); /* it is 1 that has been idle for longer now */
    PUMP_UNTIL(w, count_of(w, 0, "HTTP/1.1 200 OK") == 2);
    assert_false(w->closed[0] || w->closed[1]);
    dial(w, 2, 0);
    say(w, 2, PING);
    PUMP_UNTIL(w, has(w, 2, "HTTP/1.1 200 OK") && w->closed[1]);
    assert_false(w->closed[0]);
}

static void when_all_connections_are_in_use_a_new_one_is_told(void **state) {
    http_limits limits = WORLD_LIMITS;
    limits.conns_max = 2;
    world *w = with_limits(state, &limits);
    dial(w, 0, 0);
    post(w, 0, "/v1/completions", "", "{\"prompt\":\"a\",\"stream\":true}");
    dial(w, 1, 0);
    say(w, 1, "GET /pi"); /* the half of a head is a use, too */
    PUMP_UNTIL(w, w->core.last == 1);
    for (int i = 0; i < 5; i++) pump(w);
    dial(w, 2, 0);
    say(w, 2, PING);
    PUMP_UNTIL(w, refused(w, 2, "503", "limits.max_connections"));
    assert_true(has(w, 2, "Retry-After: ") && count_of(w, 2, "HTTP/1.1 ") == 1);
    fake_text(&w->core, 1, "x"); /* those that are in use are served */
    say(w, 1, "ng HTTP/1.1\r\nHost: x\r\n\r\n");
    PUMP_UNTIL(w, has(w, 0, "data: ") && has(w, 1, "HTTP/1.1 200 OK"));
    hang_up(w, 2);
    hang_up(w, 0);
    PUMP_UNTIL(w, w->core.requests[1].canceled);
    dial(w, 2, 0);
    say(w, 2, PING);
    PUMP_UNTIL(w, has(w, 2, "HTTP/1.1 200 OK"));
    assert_false(w->closed[1]);
}

static void more_than_a_few_are_not_even_told(void **state) {
    http_limits limits = WORLD_LIMITS;
    limits.conns_max = 1;
    world *w = with_limits(state, &limits);
    dial(w, 0, 0);
    say(w, 0, "GET /pi");
    for (int i = 0; i < 5; i++) pump(w);
    int fd[HTTP_TURNED_AWAY_MAX];
    SSL *ssl[HTTP_TURNED_AWAY_MAX];
    w->stands_ns = clock_now_ns(); /* they linger for seconds only, and handshakes take time */
    for (size_t i = 0; i < ARRAY_LEN(fd); i++) {
        dial(w, 1, 0);
        fd[i] = w->fd[1];
        ssl[i] = w->ssl[1];
        w->ssl[1] = NULL;
        pump(w);
    }
    w->fd[1] = -1;
    dial(w, 2, 0);
    PUMP_UNTIL(w, w->closed[2]);
    assert_int_equal(w->in[2].len, 0);
    w->stands_ns = 0;
    for (size_t i = 0; i < ARRAY_LEN(fd); i++) {
        SSL_free(ssl[i]);
        close(fd[i]);
    }
    hang_up(w, 2);
    for (int i = 0; i < 20; i++) pump(w);
    dial(w, 2, 0);
    PUMP_UNTIL(w, refused(w, 2, "503", "limits.max_connections"));
}

static void one_address_may_have_so_many_connections(void **state) {
    http_limits limits = WORLD_LIMITS;
    limits.conns_per_client_max = 2;
    world *w = with_limits(state, &limits);
    for (int i = 0; i < 2; i++) {
        dial(w, i, 0);
        say(w, i, PING);
        PUMP_UNTIL(w, has(w, i, "HTTP/1.1 200 OK"));
    }
    dial(w, 2, 0);
    PUMP_UNTIL(w, refused(w, 2, "429", "limits.max_connections_per_client"));
    assert_true(has(w, 2, "Retry-After: "));
    assert_false(w->closed[0] || w->closed[1]);
    hang_up(w, 2);
    hang_up(w, 1);
    for (int i = 0; i < 5; i++) pump(w);
    dial(w, 2, 0);
    say(w, 2, PING);
    PUMP_UNTIL(w, has(w, 2, "HTTP/1.1 200 OK"));
}

/* ---- clients that read slowly ---- */

enum { RATE = 2048 }; /* so much in 30 s is several lumps of the kernel's */

/* Of the one connection that there is. */
static size_t unsent(const world *w) {
    assert_int_equal(w->http->server->crowd.count, 1);
    return evbuffer_get_length(http_conn_output(w->http->server->conns));
}

/* Client 0 takes so many bytes, or more until some of what waits for it has left. */
static void take(world *w, size_t bytes) {
    uint64_t before = w->http->server->conns->reader.taken, taken = 0;
    uint64_t give_up = clock_now_ns() + GIVE_UP_NS;
    while (w->http->server->conns && (taken < bytes || w->http->server->conns->reader.taken == before)) {
        assert_true(clock_now_ns() < give_up);
        char some[1024];
        ssize_t n = w->ssl[0] ? SSL_read(w->ssl[0], some, sizeof some)
                              : recv(w->fd[0], some, sizeof some, MSG_DONTWAIT);
        ERR_clear_error();
        if (n > 0) taken += (uint64_t)n;
        pump(w);
    }
}

/* The kernel takes and gives in small lumps. */
static void narrow(world *w) {
    PUMP_UNTIL(w, w->http->server->conns);
    int bytes = 4096;
    int fd = bufferevent_getfd(w->http->server->conns->bev);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
}

static void ask_for_a_long_stream(world *w) {
    enum { TOKENS = 4000 };
    dial(w, 0, 4096);
    narrow(w);
    post(w, 0, "/v1/completions", "", "{\"prompt\":\"a\",\"stream\":true,\"max_tokens\":4000}");
    while (w->core.last == 0) pump(w);
    for (int i = 0; i < TOKENS; i++) fake_token(&w->core, 1, (token_out){.id = 'a'});
    for (int i = 0; i < 30; i++) pump(w);
}

static void ask_for_long_answers(world *w) {
    static const char ask[] = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";
    dial(w, 0, 4096);
    narrow(w);
    for (int i = 0; i < 100; i++) say(w, 0, ask);
    while (unsent(w) <= HTTP_OUTPUT_MAX) pump(w);
}

/* Whether the client is still there after it has taken so much, or a little more, five times, 16 s apart. */
static bool is_kept(world *w, size_t bytes) {
    for (int i = 0; i < 5 && w->http->server->crowd.count; i++) {
        take(w, bytes);
        w->skip_ns += 16 * NS_PER_S;
        pump(w);
    }
    return w->http->server->crowd.count;
}

static void who_takes_a_little_now_and_then_is_hung_up_on(void **state) {
    http_limits limits = WORLD_LIMITS;
    for (int rate = 0; rate <= RATE; rate += RATE) {
        limits.reader_rate = (uint64_t)rate;
        world *w = with_limits(state, &limits);
        ask_for_a_long_stream(w);
        bool kept = is_kept(w, 1);
        assert_int_equal(kept, !rate);
        assert_int_equal(w->core.requests[1].canceled, !kept);
        w = with_limits(state, &limits);
        ask_for_long_answers(w);
        assert_int_equal(is_kept(w, 1), !rate);
    }
}

static void who_takes_enough_is_kept(void **state) {
    http_limits limits = WORLD_LIMITS;
    limits.reader_rate = RATE;
    world *w = with_limits(state, &limits);
    ask_for_a_long_stream(w);
    assert_true(is_kept(w, RATE * 30));
    w = with_limits(state, &limits);
    ask_for_long_answers(w);
    assert_true(is_kept(w, RATE * 30));
}

static void a_reader_must_take_what_waits_or_its_rate(void **state) {
    (void)state;
    http_limits l = WORLD_LIMITS;
    l.slow_client_ns = 10 * NS_PER_S;
    l.reader_rate = 100; /* 1000 bytes in that time */
    const uint64_t s = NS_PER_S;
    http_reader r = {0};
    /* Nothing waits for a long time: that is not slow. */
    assert_true(http_reader_keeps_up(&r, 0, &l, 5 * s) && http_reader_keeps_up(&r, 0, &l, 100 * s));
    /* 7 bytes wait; all the others that come meanwhile are no matter. */
    assert_true(http_reader_keeps_up(&r, 7, &l, 101 * s));
    r.taken = 6;
    assert_true(http_reader_keeps_up(&r, 5000, &l, 110 * s));
    http_reader lazy = r;
    assert_false(http_reader_keeps_up(&lazy, 5000, &l, 111 * s));
    r.taken = 7;
    assert_true(http_reader_keeps_up(&r, 5000, &l, 111 * s));
    /* 5000 wait now: 1000 of them are enough. */
    r.taken = 7 + 999;
    assert_true(http_reader_keeps_up(&r, 6000, &l, 120 * s));
    lazy = r;
    assert_false(http_reader_keeps_up(&lazy, 6000, &l, 121 * s));
    r.taken++;
    assert_true(http_reader_keeps_up(&r, 6000, &l, 121 * s));
    /* Nothing at all is judged by itself, and from the last byte on. */
    r.taken += 2000;
    assert_true(http_reader_keeps_up(&r, 4000, &l, 122 * s));
    assert_true(http_reader_keeps_up(&r, 4000, &l, 132 * s - 1));
    assert_false(http_reader_keeps_up(&r, 4000, &l, 132 * s));
    /* Without a rate one byte is enough. */
    l.reader_rate = 0;
    r = (http_reader){0};
    for (uint64_t i = 0; i < 20; i++, r.taken++) assert_true(http_reader_keeps_up(&r, 9000, &l, i * 9 * s));
}

/* ---- what all hold ---- */

/* A body of `whole` bytes of which `part` are sent. */
static void upload(world *w, int i, size_t whole, size_t part) {
    char *head = xasprintf(TOKENIZE "Content-Length: %zu\r\n\r\n", whole), *body = xmalloc(part);
    memset(body, ' ', part);
    say(w, i, head);
    send_all(w, i, body, part);
    for (int k = 0; k < 5; k++) pump(w);
    free(head);
    free(body);
}

static void more_of(world *w, int i, size_t bytes) {
    char *body = xmalloc(bytes);
    memset(body, ' ', bytes);
    send_all(w, i, body, bytes);
    for (int k = 0; k < 5; k++) pump(w);
    for (int k = 0; k < CLIENTS; k++) read_client(w, k);
    free(body);
}

static void the_slowest_upload_makes_room(void **state) {
    http_limits limits = WORLD_LIMITS;
    limits.held_max = 100000;
    world *w = with_limits(state, &limits);
    dial(w, 0, 0);
    upload(w, 0, 100000, 1); /* the slowest of all from here on */
    dial(w, 1, 0);
    upload(w, 1, 60000, 50000);
    dial(w, 2, 0);
    upload(w, 2, 60000, 49999); /* 100000 are held now */
    for (int i = 0; i < 20; i++) pump(w);
    for (int i = 0; i < 3; i++) read_client(w, i);
    assert_int_equal(w->in[0].len + w->in[1].len + w->in[2].len, 0);
    more_of(w, 1, 1);
    PUMP_UNTIL(w, has(w, 0, "HTTP/1.1 503 ") && has(w, 0, "limits.max_uploads_mb"));
    assert_true(has(w, 0, "Retry-After: "));
    assert_int_equal(w->in[1].len + w->in[2].len, 0);
    hang_up(w, 0);
    /* A request that is whole at once never waits for others' room: it is not slow. */
    dial(w, 3, 0);
    say(w, 3, PING);
    PUMP_UNTIL(w, has(w, 3, "HTTP/1.1 200 OK"));
    assert_int_equal(w->in[1].len + w->in[2].len, 0);
    hang_up(w, 1);
    more_of(w, 2, 10001); /* the rest; of spaces */
    PUMP_UNTIL(w, has(w, 2, "HTTP/1.1 400 ") && has(w, 2, "not valid JSON"));
}

static void who_has_no_key_uploads_nothing(void **state) {
    http_limits limits = WORLD_LIMITS;
    limits.held_max = 50000;
    world *w = with_limits(state, &limits);
    http_keys *keys = http_keys_new();
    errbuf eb = {0};
    assert_int_equal(http_keys_add(keys, NULL, "k-1", &eb), ST_OK);
    http_set_keys(w->http, keys);
    dial(w, 0, 0);
    say(w, 0, TOKENIZE "Authorization: Bearer k-1\r\nContent-Length: 30000\r\n\r\n");
    more_of(w, 0, 29000);
    dial(w, 1, 0);
    upload(w, 1, 60000, 40000);
    PUMP_UNTIL(w, has(w, 1, "HTTP/1.1 401 ") && has(w, 1, "Connection: close"));
    hang_up(w, 1);
    dial(w, 2, 0);
    say(w, 2, "POST /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n");
    more_of(w, 2, 40000);
    PUMP_UNTIL(w, has(w, 2, "HTTP/1.1 200 ") && has(w, 2, "Connection: close"));
    assert_int_equal(w->in[0].len, 0); /* it was not ended to make room */
    more_of(w, 0, 1000);
    PUMP_UNTIL(w, has(w, 0, "HTTP/1.1 400 ") && has(w, 0, "not valid JSON"));
    http_set_keys(w->http, NULL);
    http_keys_free(keys);
}

static void an_upload_that_alone_is_too_much_is_told(void **state) {
    http_limits limits = WORLD_LIMITS;
    limits.held_max = 50000;
    world *w = with_limits(state, &limits);
    dial(w, 0, 0);
    upload(w, 0, 60000, 50000);
    read_client(w, 0);
    assert_int_equal(w->in[0].len, 0);
    more_of(w, 0, 1);
    PUMP_UNTIL(w, has(w, 0, "HTTP/1.1 503 "));
}

static void who_sends_ahead_beyond_all_room_is_hung_up_on(void **state) {
    http_limits limits = WORLD_LIMITS;
    limits.held_max = 1000;
    world *w = with_limits(state, &limits);
    dial(w, 0, 0);
    buf b = {0};
    static const char body[] = "{\"prompt\":\"a\"}";
    buf_addf(&b, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", strlen(body),
             body);
    for (int i = 0; i < 1001; i++) buf_adds(&b, "x");
    say(w, 0, b.data);
    PUMP_UNTIL(w, w->closed[0]);
    assert_true(w->core.last == 0 || w->core.requests[1].canceled);
    buf_done(&b);
}

static void a_body_that_comes_slowly_has_an_end(void **state) {
    (void)state;
    http_limits l = WORLD_LIMITS;
    l.body_ns = 30 * NS_PER_S;
    l.body_rate = 1000;
    const uint64_t begin = 7 * NS_PER_S;
    /* At first, and when enough comes, silence alone counts. */
    assert_int_equal(http_crowd_body_deadline(&l, begin, begin, 0), begin + 30 * NS_PER_S);
    assert_int_equal(http_crowd_body_deadline(&l, begin, begin + 10 * NS_PER_S, 10000),
                     begin + 40 * NS_PER_S);
    assert_int_equal(http_crowd_body_deadline(&l, begin, begin + 10 * NS_PER_S, 1000000),
                     begin + 40 * NS_PER_S);
    /* Less than 1000 bytes per second: what has come has paid for so much. */
    assert_int_equal(http_crowd_body_deadline(&l, begin, begin + 10 * NS_PER_S, 9999),
                     begin + 30 * NS_PER_S + 9999 * (NS_PER_S / 1000));
    l.body_rate = 0;
    assert_int_equal(http_crowd_body_deadline(&l, begin, begin + 10 * NS_PER_S, 0), begin + 40 * NS_PER_S);
}

static void each_wait_has_its_own_end(void **state) {
    http_limits limits = WORLD_LIMITS;
    limits.idle_ns = 1000 * NS_PER_S;
    limits.head_ns = 2000 * NS_PER_S;
    limits.body_ns = 3000 * NS_PER_S;
    world *w = with_limits(state, &limits);
    dial(w, 0, 0);
    dial(w, 1, 0);
    say(w, 1, "GET /ping HTTP/1.1\r\nA: b\r\n");
    dial(w, 2, 0);
    say(w, 2, TOKENIZE "Content-Length: 42\r\n\r\n{");
    for (int i = 0; i < 20; i++) pump(w);
    w->skip_ns = 900 * NS_PER_S;
    for (int i = 0; i < 3; i++) pump(w);
    for (int i = 0; i < 3; i++) read_client(w, i);
    assert_false(w->closed[0]);
    w->skip_ns = 1100 * NS_PER_S;
    PUMP_UNTIL(w, w->closed[0]);
    assert_int_equal(w->in[0].len + w->in[1].len, 0);
    w->skip_ns = 2100 * NS_PER_S;
    PUMP_UNTIL(w, refused(w, 1, "408", "in time"));
    assert_int_equal(w->in[2].len, 0);
    w->skip_ns = 3100 * NS_PER_S;
    PUMP_UNTIL(w, refused(w, 2, "408", "in time"));
}

int main(int argc, char **argv) {
    world_main(argc, argv);
    const struct CMUnitTest tests[] = {
        WITH_WORLD(a_head_may_have_so_many_bytes),
        WITH_WORLD(a_body_may_have_so_many_bytes),
        WITH_WORLD(the_longest_idle_connection_makes_room_for_a_new_one),
        WITH_WORLD(when_all_connections_are_in_use_a_new_one_is_told),
        WITH_WORLD(more_than_a_few_are_not_even_told),
        WITH_WORLD(one_address_may_have_so_many_connections),
        WITH_WORLD(the_slowest_upload_makes_room),
        WITH_WORLD(who_has_no_key_uploads_nothing),
        WITH_WORLD(an_upload_that_alone_is_too_much_is_told),
        WITH_WORLD(who_sends_ahead_beyond_all_room_is_hung_up_on),
        cmocka_unit_test(a_body_that_comes_slowly_has_an_end),
        WITH_WORLD(each_wait_has_its_own_end),
        WITH_WORLD(who_takes_a_little_now_and_then_is_hung_up_on),
        WITH_WORLD(who_takes_enough_is_kept),
        cmocka_unit_test(a_reader_must_take_what_waits_or_its_rate),
    };
    return world_end(cmocka_run_group_tests(tests, NULL, NULL));
}
