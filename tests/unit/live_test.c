/* What the HTTP front shows of the cluster while it runs: the trace, the live page and its events. */
#include "http_world.h"

#include "coordinator/http_feed.h"
#include "coordinator/live.h"
#include "coordinator/live_json.h"

#include <jansson.h>

#define LONG_AGO (0 - 600 * NS_PER_S) /* as skip_ns */

static void record_as(world *w, uint64_t req, req_state state) {
    core_record r = {.req = req,
                     .state = state,
                     .prompt_tokens = 5,
                     .output_tokens = 4,
                     .attempts = 1,
                     .born_ns = req * NS_PER_MS,
                     .first_token_ns = req * NS_PER_MS + 2 * NS_PER_MS,
                     .end_ns = req * NS_PER_MS + 8 * NS_PER_MS,
                     .span_count = 3,
                     .spans = {{req * NS_PER_MS, 0, STAGE_QUEUE},
                               {req * NS_PER_MS + NS_PER_MS, 1, STAGE_PREFILL},
                               {req * NS_PER_MS + 2 * NS_PER_MS, 1, STAGE_DECODE}}};
    trace_record(w->trace, &r);
}

static void record(world *w, uint64_t req) {
    record_as(w, req, REQ_DONE);
}

/* The chunks of the one answer that client i has, without their sizes. Caller frees. */
static char *body_of(const world *w, int i) {
    const char *at = strstr(w->in[i].data, "\r\n\r\n") + 4;
    buf out = {0};
    for (;;) {
        char *end;
        size_t len = strtoul(at, &end, 16);
        if (!len) return out.data;
        buf_add(&out, end + 2, len);
        at = end + 2 + len + 2;
    }
}

static void the_trace_is_json_of_the_last_requests(void **state) {
    world *w = *state;
    for (uint64_t i = 1; i <= 300; i++) record(w, i);
    const struct {
        const char *path;
        uint32_t first;
    } cases[] = {{"/trace", 201}, {"/trace?last=7", 294}, {"/trace?last=4096", 1}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        dial(w, 0, 0);
        get(w, 0, "GET", cases[i].path);
        PUMP_UNTIL(w, has(w, 0, "\r\n0\r\n\r\n"));
        assert_true(has(w, 0, "Content-Type: application/json\r\n"));
        char *body = body_of(w, 0);
        json_t *root = json_loads(body, 0, NULL);
        assert_non_null(root);
        char want[64];
        snprintf(want, sizeof want, "\"name\":\"request %u\"", cases[i].first);
        assert_non_null(strstr(body, want));
        snprintf(want, sizeof want, "\"name\":\"request %u\"", cases[i].first - 1);
        assert_null(strstr(body, want));
        json_decref(root);
        free(body);
        hang_up(w, 0);
    }
}

static void a_number_of_requests_that_is_none_is_400_with_the_range(void **state) {
    world *w = *state;
    static const char *const bad[] = {"/trace?last=0",  "/trace?last=4097",
                                      "/trace?last=-1", "/trace?last=9x",
                                      "/trace?last=",   "/trace?last=99999999999999999999"};
    dial(w, 0, 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        buf_reset(&w->in[0]);
        get(w, 0, "GET", bad[i]);
        PUMP_UNTIL(w, has(w, 0, "}}"));
        assert_true(has(w, 0, "HTTP/1.1 400 "));
        assert_true(has(w, 0, "last must be a number from 1 to 4096: /trace?last=100"));
    }
    buf_reset(&w->in[0]);
    get(w, 0, "HEAD", "/trace");
    get(w, 0, "GET", "/ping");
    PUMP_UNTIL(w, count_of(w, 0, "HTTP/1.1 200 ") == 2);
}

/* Nobody reads meanwhile. */
static void wait_for_readers(world *w, uint32_t count) {
    uint64_t give_up = clock_now_ns() + GIVE_UP_NS;
    while (http_client_count(w->http) != count) {
        assert_true(clock_now_ns() < give_up);
        pump(w);
    }
}

static void a_reader_of_the_trace_that_leaves_or_never_reads_is_let_go(void **state) {
    world *w = *state;
    for (uint64_t i = 1; i <= TRACE_REQUESTS; i++) record(w, i);
    dial(w, 0, 4096);
    dial(w, 1, 4096);
    get(w, 0, "GET", "/trace?last=4096");
    get(w, 1, "GET", "/trace?last=4096");
    wait_for_readers(w, 2);
    hang_up(w, 0);
    wait_for_readers(w, 1);
    for (int i = 0; i < 2000 && http_client_count(w->http); i++) {
        w->skip_ns += NS_PER_S;
        pump(w);
    }
    assert_int_equal(http_client_count(w->http), 0);
}

/* No turn looks at more than some thousands of them. */
static void a_trace_with_very_many_steps_of_another_time_takes_several_turns(void **state) {
    world *w = *state;
    enum { AT_ONCE = 4096 };
    ctl_step *steps = xcalloc(AT_ONCE, sizeof *steps);
    core_steps told = {
        .worker = 1, .name = "d", .role = ROLE_DECODE, .steps = steps, .count = AT_ONCE, .now_ns = 1};
    for (uint32_t i = 0; i < TRACE_STEPS / AT_ONCE; i++) trace_add_steps(w->trace, &told);
    free(steps);
    record(w, 100);
    dial(w, 0, 0);
    get(w, 0, "GET", "/trace");
    PUMP_UNTIL(w, has(w, 0, "\"request 100\""));
    uint32_t turns = 0;
    PUMP_UNTIL(w, (turns++, has(w, 0, "\r\n0\r\n\r\n")));
    assert_true(turns >= 10); /* 262,144 steps, 16,384 in each */
}

static void the_page_and_its_files_come_with_a_policy_that_lets_nothing_else_in(void **state) {
    world *w = *state;
    static const struct {
        const char *path, *type, *text;
    } files[] = {{"/", "text/html; charset=utf-8", "<title>Baton</title>"},
                 {"/live.js", "text/javascript; charset=utf-8", "new EventSource('events')"},
                 {"/live.css", "text/css; charset=utf-8", "prefers-color-scheme: dark"}};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        dial(w, 0, 0);
        get(w, 0, "GET", files[i].path);
        PUMP_UNTIL(w, has(w, 0, files[i].text));
        char *type = xasprintf("Content-Type: %s\r\n", files[i].type);
        assert_true(has(w, 0, type));
        assert_true(has(w, 0,
                        "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
                        "connect-src 'self'; "));
        assert_true(has(w, 0, "X-Content-Type-Options: nosniff\r\n"));
        free(type);
        hang_up(w, 0);
    }
}

/* The data of the last event of that name that client i has. Caller frees with json_decref; NULL: none yet.
 */
static json_t *event_of(const world *w, int i, const char *name) {
    char *begin = xasprintf("event: %s\ndata: ", name);
    const char *last = NULL, *p = w->in[i].data;
    for (; p && (p = strstr(p, begin)); p++) last = p;
    json_t *got =
        last && strstr(last, "\n\n") ? json_loads(last + strlen(begin), JSON_DISABLE_EOF_CHECK, NULL) : NULL;
    free(begin);
    return got;
}

static json_int_t number_at(json_t *row, size_t i) {
    return json_integer_value(json_array_get(row, i));
}

static void events_are_history_once_and_then_a_state_every_second_for_all(void **state) {
    world *w = *state;
    record(w, 1);
    record(w, 2);
    w->skip_ns = LONG_AGO; /* no second passes unless the test says so */
    for (int i = 0; i < 2; i++) {
        dial(w, i, 0);
        get(w, i, "GET", "/events");
    }
    PUMP_UNTIL(w, count_of(w, 0, "event: state") == 1 && count_of(w, 1, "event: state") == 1);
    assert_true(has(w, 0, "Content-Type: text/event-stream; charset=utf-8\r\n"));
    assert_true(has(w, 0, "retry: 2000\n\n"));
    json_t *history = event_of(w, 0, "history");
    assert_int_equal(json_array_size(json_object_get(history, "ended")), 2);
    json_t *row = json_array_get(json_object_get(history, "ended"), 1);
    char *text = json_dumps(row, JSON_COMPACT);
    assert_string_equal(text,
                        "[2,10.0,\"done\",5,4,2.0,2.0,8.0,1,[[\"queue\",0.0,null],[\"prefill\",1.0,null],"
                        "[\"decode\",2.0,null]]]");
    free(text);
    json_decref(history);
    json_t *now = event_of(w, 0, "state");
    assert_int_equal(json_array_size(json_object_get(now, "ended")), 0);
    assert_int_equal(json_array_size(json_object_get(now, "workers")), 2);
    assert_string_equal(json_string_value(json_object_get(now, "status")), "ok");
    json_t *handoffs = json_object_get(now, "handoffs");
    text = json_dumps(handoffs, JSON_COMPACT);
    assert_string_equal(text, "{\"count\":1,\"oldest\":[[9,\"prefill-0\",null,2.5]]}");
    free(text);
    json_decref(now);
    record(w, 3);
    w->skip_ns = NS_PER_S;
    pump(w);
    w->skip_ns = LONG_AGO;
    PUMP_UNTIL(w, count_of(w, 0, "event: state") == 2 && count_of(w, 1, "event: state") == 2);
    for (int i = 0; i < 2; i++) {
        now = event_of(w, i, "state");
        assert_int_equal(json_array_size(json_object_get(now, "ended")), 1);
        assert_int_equal(number_at(json_array_get(json_object_get(now, "ended"), 0), 0), 3);
        json_decref(now);
    }
    assert_int_equal(count_of(w, 0, "event: history"), 1);
    http_stop(w->http, "the coordinator is stopping");
    PUMP_UNTIL(w, w->closed[0] && w->closed[1]);
}

static void a_reader_too_many_is_503_and_those_that_leave_make_room(void **state) {
    world *w = *state;
    int fds[LIVE_READERS_MAX];
    for (uint32_t i = 0; i < LIVE_READERS_MAX; i++) {
        dial(w, 0, 0);
        get(w, 0, "GET", "/events");
        fds[i] = w->fd[0];
        wait_for_readers(w, i + 1);
    }
    dial(w, 1, 0);
    get(w, 1, "GET", "/events");
    PUMP_UNTIL(w, has(w, 1, "}}"));
    assert_true(has(w, 1, "HTTP/1.1 503 "));
    assert_true(has(w, 1, "32 readers are the most"));
    buf_reset(&w->in[1]);
    get(w, 1, "GET", "/trace"); /* which has room of its own */
    PUMP_UNTIL(w, has(w, 1, "\r\n0\r\n\r\n"));
    for (uint32_t i = 1; i < LIVE_READERS_MAX; i++) close(fds[i]);
    w->fd[0] = fds[0];
    wait_for_readers(w, 1);
    buf_reset(&w->in[1]);
    get(w, 1, "GET", "/events");
    PUMP_UNTIL(w, count_of(w, 1, "event: state") == 1);
}

static void a_reader_that_does_not_read_misses_states_and_is_dropped(void **state) {
    world *w = *state;
    w->core.more_workers = 2000; /* a state is some 400 KiB */
    dial(w, 0, 4096);
    get(w, 0, "GET", "/events");
    wait_for_readers(w, 1);
    size_t most = 0;
    for (uint32_t i = 0; i < 2000 && http_client_count(w->http); i++) {
        w->skip_ns += NS_PER_S;
        pump(w);
        if (w->http->feeds) most = MAX(most, http_feed_unsent(w->http->feeds));
    }
    assert_int_equal(http_client_count(w->http), 0);
    assert_true(most > LIVE_OUT_MAX); /* without the bound: 30 states and more */
    assert_true(most <= LIVE_OUT_MAX + (1u << 20));
}

static void only_a_request_that_is_done_has_a_tpot(void **state) {
    world *w = *state;
    static const req_state ends[] = {REQ_DONE, REQ_FAILED, REQ_CANCELED};
    for (uint32_t i = 0; i < ARRAY_LEN(ends); i++) record_as(w, i + 1, ends[i]);
    buf out = {0};
    live_json_history(&out, w->trace, ARRAY_LEN(ends), NS_PER_S);
    json_t *got = json_loads(out.data, 0, NULL), *ended = json_object_get(got, "ended");
    for (uint32_t i = 0; i < ARRAY_LEN(ends); i++) {
        json_t *row = json_array_get(ended, i);
        assert_int_equal(json_is_real(json_array_get(row, 5)), 1); /* TTFT */
        assert_int_equal(json_is_real(json_array_get(row, 6)), ends[i] == REQ_DONE);
        assert_int_equal(json_is_null(json_array_get(row, 6)), ends[i] != REQ_DONE);
    }
    json_decref(got);
    buf_done(&out);
}

static void a_history_says_how_many_are_not_kept_any_more(void **state) {
    world *w = *state;
    for (uint64_t i = 1; i <= TRACE_REQUESTS + 10; i++) {
        record(w, i);
        if (i != TRACE_REQUESTS && i != TRACE_REQUESTS + 10) continue;
        buf out = {0};
        live_json_history(&out, w->trace, i, NS_PER_S);
        json_t *got = json_loads(out.data, 0, NULL);
        assert_int_equal(json_integer_value(json_object_get(got, "left_out")), i - TRACE_REQUESTS);
        assert_int_equal(json_array_size(json_object_get(got, "ended")), TRACE_REQUESTS);
        json_decref(got);
        buf_done(&out);
    }
}

static void of_very_many_that_ended_the_newest_are_told_and_the_others_counted(void **state) {
    world *w = *state;
    for (uint64_t i = 1; i <= 3000; i++) record(w, i);
    buf out = {0};
    health_facts facts = {.model = "m\n\"x\"", .backend = "cpu"};
    live_json_state(&out, &w->core, &facts, false, w->trace, &(live_range){500, 3000}, 5 * NS_PER_S);
    assert_null(strchr(out.data, '\n'));
    json_t *got = json_loads(out.data, 0, NULL);
    json_t *ended = json_object_get(got, "ended");
    assert_int_equal(json_array_size(ended), LIVE_ROWS_MAX);
    assert_int_equal(json_integer_value(json_object_get(got, "left_out")), 1500);
    assert_int_equal(number_at(json_array_get(ended, 0), 0), 2001);
    assert_true(json_is_null(json_array_get(json_array_get(ended, 0), 9)));
    assert_true(json_is_array(json_array_get(json_array_get(ended, LIVE_ROWS_MAX - LIVE_SPANS_MAX), 9)));
    assert_string_equal(json_string_value(json_object_get(got, "model")), "m\n\"x\"");
    json_decref(got);
    buf_done(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_WORLD(the_trace_is_json_of_the_last_requests),
        WITH_WORLD(a_number_of_requests_that_is_none_is_400_with_the_range),
        WITH_WORLD(the_page_and_its_files_come_with_a_policy_that_lets_nothing_else_in),
        WITH_WORLD(events_are_history_once_and_then_a_state_every_second_for_all),
        WITH_WORLD(a_reader_too_many_is_503_and_those_that_leave_make_room),
        WITH_WORLD(a_trace_with_very_many_steps_of_another_time_takes_several_turns),
        WITH_WORLD(a_reader_that_does_not_read_misses_states_and_is_dropped),
        WITH_WORLD(only_a_request_that_is_done_has_a_tpot),
        WITH_WORLD(a_history_says_how_many_are_not_kept_any_more),
        WITH_WORLD(of_very_many_that_ended_the_newest_are_told_and_the_others_counted),
        WITH_WORLD(a_reader_of_the_trace_that_leaves_or_never_reads_is_let_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
