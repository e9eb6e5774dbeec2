/* What the HTTP front shows of the cluster while it runs: the trace. */
#include "http_world.h"

#include <jansson.h>

static void record(world *w, uint64_t req) {
    core_record r = {.req = req,
                     .state = REQ_DONE,
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
    for (int i = 0; i < 20; i++) pump(w); /* what fits into the socket's buffers leaves */
    w->skip_ns = 2 * SLOW_NS;
    wait_for_readers(w, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_WORLD(the_trace_is_json_of_the_last_requests),
        WITH_WORLD(a_number_of_requests_that_is_none_is_400_with_the_range),
        WITH_WORLD(a_reader_of_the_trace_that_leaves_or_never_reads_is_let_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
