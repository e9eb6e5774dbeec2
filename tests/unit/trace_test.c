/* The recent past, and its Chrome trace JSON. */
#include "coordinator/trace_json.h"

#include "base/clock.h"
#include "tests/test.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define US NS_PER_US
#define MS NS_PER_MS

enum { P = 1, D = 2 };

static const core_record disaggregated = {.req = 17,
                                          .state = REQ_DONE,
                                          .prompt_tokens = 40,
                                          .output_tokens = 3,
                                          .attempts = 1,
                                          .born_ns = 10 * MS,
                                          .first_token_ns = 15 * MS,
                                          .end_ns = 20 * MS + 1,
                                          .span_count = 5,
                                          .spans = {{10 * MS, 0, STAGE_QUEUE},
                                                    {11 * MS, P, STAGE_PREFILL},
                                                    {15 * MS, P, STAGE_HANDOFF},
                                                    {16 * MS, D, STAGE_DECODE_WAIT},
                                                    {17 * MS + 500, D, STAGE_DECODE}}};

static void tell_steps(trace *t, uint32_t worker, const char *name, worker_role role, const ctl_step *steps,
                       uint32_t count, uint64_t now_ns) {
    trace_add_steps(
        t,
        &(core_steps){
            .worker = worker, .name = name, .role = role, .steps = steps, .count = count, .now_ns = now_ns});
}

/* Caller frees with free. */
static char *written(const trace *t, uint32_t last) {
    buf out = {0};
    trace_json *j = trace_json_new(t, last, NULL, 0);
    while (trace_json_next(j, &out)) {
    }
    trace_json_free(j);
    return out.data;
}

static void a_small_history_is_this_json(void **state) {
    (void)state;
    trace *t = trace_new();
    const ctl_step p_step = {.age_us = 9000,
                             .duration_us = 4000,
                             .sums = {.tokens = 40, .batch = 0, .chunks = 1, .squares = 1600, .context = 0}};
    const ctl_step d_steps[] = {
        {.age_us = 50000, .duration_us = 1, .sums.batch = 1}, /* long ago */
        {.age_us = 4000,
         .duration_us = 500,
         .sums = {.tokens = 0, .batch = 2, .chunks = 0, .squares = 0, .context = 82}}};
    tell_steps(t, P, "prefill-\"0\"", ROLE_PREFILL, &p_step, 1, 20 * MS);
    tell_steps(t, D, "decode-0", ROLE_DECODE, d_steps, 2, 20 * MS);
    trace_record(t, &disaggregated);
    char *got = written(t, 100);
#define REQ ",\"cat\":\"request\",\"args\":{\"req\":17"
    const char *want =
        "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n"
        "{\"ph\":\"M\",\"pid\":1,\"tid\":0,\"name\":\"process_name\",\"args\":{\"name\":\"coordinator\"}},\n"
        "{\"ph\":\"M\",\"pid\":1,\"tid\":0,\"name\":\"process_sort_index\",\"args\":{\"sort_index\":0}},\n"
        "{\"ph\":\"M\",\"pid\":1,\"tid\":1,\"name\":\"thread_name\",\"args\":{\"name\":\"requests 1\"}},\n"
        "{\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":10000.000,\"dur\":10000.001,\"name\":\"request 17\"" REQ
        ",\"prompt_tokens\":40,\"output_tokens\":3,\"attempts\":1,\"replays\":0,\"preemptions\":0,"
        "\"end\":\"done\",\"prefill\":\"prefill-\\\"0\\\"\",\"decode\":\"decode-0\"}},\n"
        "{\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":10000.000,\"dur\":1000.000,\"name\":\"queue\"" REQ "}},\n"
        "{\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":11000.000,\"dur\":4000.000,\"name\":\"prefill\"" REQ
        ",\"worker\":\"prefill-\\\"0\\\"\"}},\n"
        "{\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":15000.000,\"dur\":1000.000,\"name\":\"hand-off\"" REQ
        ",\"worker\":\"prefill-\\\"0\\\"\"}},\n"
        "{\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":16000.000,\"dur\":1000.500,\"name\":\"decode wait\"" REQ
        ",\"worker\":\"decode-0\"}},\n"
        "{\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":17000.500,\"dur\":2999.501,\"name\":\"decode\"" REQ
        ",\"worker\":\"decode-0\"}},\n"
        "{\"ph\":\"M\",\"pid\":2,\"tid\":0,\"name\":\"process_name\","
        "\"args\":{\"name\":\"prefill-\\\"0\\\"\"}},\n"
        "{\"ph\":\"M\",\"pid\":2,\"tid\":0,\"name\":\"process_sort_index\",\"args\":{\"sort_index\":1}},\n"
        "{\"ph\":\"M\",\"pid\":2,\"tid\":0,\"name\":\"thread_name\",\"args\":{\"name\":\"steps\"}},\n"
        "{\"ph\":\"M\",\"pid\":2,\"tid\":1,\"name\":\"thread_name\",\"args\":{\"name\":\"requests 1\"}},\n"
        "{\"ph\":\"X\",\"pid\":2,\"tid\":1,\"ts\":11000.000,\"dur\":4000.000,\"name\":\"prefill\"" REQ "}},\n"
        "{\"ph\":\"X\",\"pid\":2,\"tid\":1,\"ts\":15000.000,\"dur\":1000.000,\"name\":\"hand-off\"" REQ
        "}},\n"
        "{\"ph\":\"s\",\"pid\":2,\"tid\":1,\"ts\":15999.999,\"name\":\"hand-off\",\"cat\":\"hand-off\","
        "\"id\":275},\n"
        "{\"ph\":\"M\",\"pid\":3,\"tid\":0,\"name\":\"process_name\",\"args\":{\"name\":\"decode-0\"}},\n"
        "{\"ph\":\"M\",\"pid\":3,\"tid\":0,\"name\":\"process_sort_index\",\"args\":{\"sort_index\":2}},\n"
        "{\"ph\":\"M\",\"pid\":3,\"tid\":0,\"name\":\"thread_name\",\"args\":{\"name\":\"steps\"}},\n"
        "{\"ph\":\"M\",\"pid\":3,\"tid\":1,\"name\":\"thread_name\",\"args\":{\"name\":\"requests 1\"}},\n"
        "{\"ph\":\"X\",\"pid\":3,\"tid\":1,\"ts\":16000.000,\"dur\":1000.500,\"name\":\"decode wait\"" REQ
        "}},\n"
        "{\"ph\":\"f\",\"pid\":3,\"tid\":1,\"ts\":16000.000,\"name\":\"hand-off\",\"cat\":\"hand-off\","
        "\"id\":275,\"bp\":\"e\"},\n"
        "{\"ph\":\"X\",\"pid\":3,\"tid\":1,\"ts\":17000.500,\"dur\":2999.501,\"name\":\"decode\"" REQ "}},\n"
        "{\"ph\":\"X\",\"pid\":2,\"tid\":0,\"ts\":11000.000,\"dur\":4000.000,\"name\":\"prefill\","
        "\"cat\":\"step\",\"args\":{\"prefill_rows\":40,\"decode_rows\":0,\"chunks\":1,\"squares\":1600,"
        "\"context\":0,\"duration_us\":4000}},\n"
        "{\"ph\":\"X\",\"pid\":3,\"tid\":0,\"ts\":16000.000,\"dur\":500.000,\"name\":\"decode\","
        "\"cat\":\"step\",\"args\":{\"prefill_rows\":0,\"decode_rows\":2,\"chunks\":0,\"squares\":0,"
        "\"context\":82,\"duration_us\":500}}\n"
        "]}\n";
#undef REQ
    assert_string_equal(got, want);
    free(got);
    trace_free(t);
}

static void nothing_that_happened_is_json_too(void **state) {
    (void)state;
    trace *t = trace_new();
    char *got = written(t, 1);
    json_t *root = json_loads(got, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(root, "traceEvents")), 2); /* the coordinator's name */
    json_decref(root);
    free(got);
    trace_free(t);
}

static void steps_that_are_missing_are_told_with_their_worker(void **state) {
    (void)state;
    trace *t = trace_new();
    const ctl_step step = {.age_us = 9000, .duration_us = 4000, .sums.tokens = 40};
    core_steps told = {.worker = P,
                       .name = "prefill-0",
                       .role = ROLE_PREFILL,
                       .steps = &step,
                       .count = 1,
                       .left_out = 30,
                       .now_ns = 20 * MS};
    trace_add_steps(t, &told);
    trace_add_steps(t, &told);
    tell_steps(t, D, "decode-0", ROLE_DECODE, &step, 1, 20 * MS);
    trace_record(t, &disaggregated);
    char *got = written(t, 1);
    assert_non_null(strstr(got, "\"args\":{\"name\":\"prefill-0\",\"steps_left_out\":60}}"));
    assert_non_null(strstr(got, "\"args\":{\"name\":\"decode-0\"}}"));
    free(got);
    trace_free(t);
}

static core_record some_request(uint64_t i) {
    core_record r = disaggregated;
    uint64_t shift = i * 2 * MS + i * i % 7 * 300 * US; /* so that some five are alive at once */
    r.req = i + 1;
    r.born_ns += shift;
    r.end_ns += shift;
    for (uint32_t k = 0; k < r.span_count; k++) r.spans[k].begin_ns += shift;
    if (i % 5 == 0) { /* preempted once, and canceled in the queue */
        r.spans[r.span_count++] = (core_span){.begin_ns = r.end_ns, .stage = STAGE_QUEUE};
        r.end_ns += 3 * MS;
        r.state = REQ_CANCELED;
        r.replays = 1;
    }
    return r;
}

static void the_living_are_told_up_to_now(void **state) {
    (void)state;
    trace *t = trace_new();
    trace_record(t, &disaggregated);
    core_record alive = disaggregated;
    alive.req = 18;
    alive.state = REQ_WAIT_KV;
    alive.span_count = 3;
    alive.end_ns = 30 * MS;
    const ctl_step step = {.age_us = 1000, .duration_us = 500, .sums.tokens = 40};
    tell_steps(t, P, "prefill-0", ROLE_PREFILL, &step, 1, 30 * MS);
    trace_json *j = trace_json_new(t, 1, &alive, 1);
    alive.req = 0; /* it was copied */
    core_record later = some_request(5);
    for (uint32_t i = 0; i < TRACE_REQUESTS; i++) trace_record(t, &later); /* the other one goes */
    buf out = {0};
    while (trace_json_next(j, &out)) {
    }
    static const char *const want[] = {
        "\"ts\":10000.000,\"dur\":20000.000,\"name\":\"request 18\"", "\"end\":\"alive\"",
        "\"ts\":15000.000,\"dur\":15000.000,\"name\":\"hand-off\"",
        "\"ts\":29000.000,\"dur\":500.000,\"name\":\"prefill\",\"cat\":\"step\""};
    for (size_t i = 0; i < ARRAY_LEN(want); i++) assert_non_null(strstr(out.data, want[i]));
    assert_null(strstr(out.data, "\"request 17\""));
    assert_null(strstr(out.data, "\"ph\":\"s\"")); /* no arrow: it has not arrived */
    buf_done(&out);
    trace_json_free(j);
    trace_free(t);
}

/* All alive at once, so that each has a lane of its own, everywhere. */
static void pieces_are_bounded_however_many_lanes_there_are(void **state) {
    (void)state;
    trace *t = trace_new();
    for (uint64_t i = 0; i < TRACE_REQUESTS; i++) {
        core_record r = disaggregated;
        r.req = i + 1;
        r.end_ns += NS_PER_S;
        for (uint32_t k = 1; k < r.span_count; k++) r.spans[k].begin_ns += i + 1;
        trace_record(t, &r);
    }
    trace_json *j = trace_json_new(t, TRACE_REQUESTS, NULL, 0);
    buf out = {0};
    size_t before = 0, longest = 0;
    for (bool more = true; more; before = out.len) {
        more = trace_json_next(j, &out);
        longest = MAX(longest, out.len - before);
    }
    assert_true(longest < TRACE_PIECE + 4096);
    char *last = xasprintf("{\"ph\":\"M\",\"pid\":1,\"tid\":%u,\"name\":\"thread_name\",", TRACE_REQUESTS);
    const char *named = strstr(out.data, last);
    assert_non_null(named);
    assert_null(strstr(named + 1, last)); /* once */
    free(last);
    buf_done(&out);
    trace_json_free(j);
    trace_free(t);
}

/* All that are alive at once have a place of their own: core_record_test. */
static void every_worker_of_the_largest_cluster_keeps_its_name(void **state) {
    (void)state;
    trace *t = trace_new();
    char name[32];
    for (uint32_t i = 1; i <= WORKERS_MAX; i++) {
        snprintf(name, sizeof name, "decode-%u", i);
        tell_steps(t, i, name, ROLE_DECODE, NULL, 0, MS);
    }
    for (uint32_t i = 1; i <= WORKERS_MAX; i++) {
        snprintf(name, sizeof name, "decode-%u", i);
        assert_string_equal(trace_worker_of(t, i)->name, name);
    }
    tell_steps(t, WORKERS_MAX + 1, "decode-1", ROLE_DECODE, NULL, 0, MS);
    assert_null(trace_worker_of(t, 1));
    assert_string_equal(trace_worker_of(t, 2)->name, "decode-2");
    trace_free(t);
}

typedef struct slice {
    double begin, end;
    json_int_t pid, tid;
} slice;

static int by_track(const void *a, const void *b) {
    const slice *x = a, *y = b;
    if (x->pid != y->pid) return x->pid < y->pid ? -1 : 1;
    if (x->tid != y->tid) return x->tid < y->tid ? -1 : 1;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end > y->end ? -1 : x->end < y->end;
}

/* Within a track slices lie inside each other or apart. */
static void assert_nested(slice *slices, size_t count) {
    qsort(slices, count, sizeof *slices, by_track);
    double ends[64];
    size_t depth = 0;
    for (size_t i = 0; i < count; i++) {
        const slice *s = &slices[i];
        if (i && (slices[i - 1].pid != s->pid || slices[i - 1].tid != s->tid)) depth = 0;
        while (depth && ends[depth - 1] <= s->begin + 1e-4) depth--;
        if (depth) assert_true(s->end <= ends[depth - 1] + 1e-4);
        assert_true(depth < ARRAY_LEN(ends));
        ends[depth++] = s->end;
    }
}

static void many_requests_that_overlap_are_nested_in_every_track_and_each_is_there(void **state) {
    (void)state;
    enum { COUNT = 600, LAST = 500 };
    trace *t = trace_new();
    for (uint64_t i = 0; i < COUNT; i++) {
        core_record r = some_request(i);
        trace_record(t, &r);
        const ctl_step s[] = {{.age_us = 5000, .duration_us = 3000, .sums.tokens = 9},
                              {.age_us = 1700, .duration_us = 2000, .sums.tokens = 1, .sums.batch = 4}};
        tell_steps(t, P, "prefill-0", ROLE_PREFILL, s, 2, r.end_ns);
    }
    char *got = written(t, LAST);
    json_error_t err;
    json_t *root = json_loads(got, 0, &err);
    if (!root) fail_msg("line %d: %s", err.line, err.text);
    json_t *events = json_object_get(root, "traceEvents"), *e;
    slice *slices = xcalloc(json_array_size(events), sizeof *slices);
    static bool seen[COUNT + 1];
    uint32_t requests = 0, out = 0, in = 0, mixed = 0;
    size_t i, count = 0;
    json_array_foreach(events, i, e) {
        const char *ph = json_string_value(json_object_get(e, "ph"));
        out += ph[0] == 's';
        in += ph[0] == 'f';
        if (ph[0] != 'X') continue;
        const char *name = json_string_value(json_object_get(e, "name"));
        double ts = json_number_value(json_object_get(e, "ts"));
        slices[count++] = (slice){.begin = ts,
                                  .end = ts + json_number_value(json_object_get(e, "dur")),
                                  .pid = json_integer_value(json_object_get(e, "pid")),
                                  .tid = json_integer_value(json_object_get(e, "tid"))};
        mixed += strcmp(name, "mixed") == 0;
        if (strncmp(name, "request ", 8) != 0) continue;
        json_t *args = json_object_get(e, "args");
        assert_string_equal(json_string_value(json_object_get(args, "prefill")), "prefill-0");
        seen[json_integer_value(json_object_get(args, "req"))] = true;
        requests++;
    }
    assert_int_equal(requests, LAST);
    assert_int_equal(out, LAST);
    assert_int_equal(in, LAST);
    assert_true(mixed > LAST - 20);
    for (uint32_t r = 1; r <= COUNT; r++) assert_int_equal(seen[r], r > COUNT - LAST);
    assert_nested(slices, count);
    free(slices);
    json_decref(root);
    free(got);
    trace_free(t);
}

static void a_step_is_cut_where_a_later_heartbeat_would_put_it_over_the_one_before(void **state) {
    (void)state;
    trace *t = trace_new();
    const ctl_step s = {.age_us = 5000, .duration_us = 4000, .sums.batch = 1};
    tell_steps(t, D, "d", ROLE_DECODE, &s, 1, 10 * MS); /* 5 to 9 ms */
    tell_steps(t, D, "d", ROLE_DECODE, &s, 1, 12 * MS); /* 7 to 11 */
    tell_steps(t, D, "d", ROLE_DECODE, &s, 1, 12 * MS); /* all of it taken */
    assert_int_equal(trace_step_at(t, 0)->begin_ns, 5 * MS);
    assert_int_equal(trace_step_at(t, 1)->begin_ns, 9 * MS);
    assert_int_equal(trace_step_at(t, 1)->duration_us, 2000);
    assert_int_equal(trace_step_at(t, 2)->begin_ns, 11 * MS);
    assert_int_equal(trace_step_at(t, 2)->duration_us, 0);
    trace_free(t);
}

static void the_oldest_are_overwritten_and_a_slow_reader_leaves_them_out(void **state) {
    (void)state;
    trace *t = trace_new();
    for (uint64_t i = 0; i < TRACE_REQUESTS + 10; i++) {
        core_record r = some_request(i);
        trace_record(t, &r);
    }
    assert_int_equal(trace_requests_begin(t), 10);
    assert_null(trace_request_at(t, 9));
    assert_int_equal(trace_request_at(t, 10)->req, 11);
    buf out = {0};
    trace_json *j = trace_json_new(t, UINT32_MAX, NULL, 0);
    assert_true(trace_json_next(j, &out));
    assert_true(out.len < TRACE_PIECE + 4096);
    for (uint64_t i = 0; i < TRACE_REQUESTS - 1; i++) { /* all but the newest go */
        core_record r = some_request(i);
        trace_record(t, &r);
    }
    while (trace_json_next(j, &out)) {
    }
    json_t *root = json_loads(out.data, 0, NULL);
    assert_non_null(root);
    assert_non_null(strstr(out.data, "\"request 4106\""));
    json_decref(root);
    buf_done(&out);
    trace_json_free(j);
    trace_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_history_is_this_json),
        cmocka_unit_test(nothing_that_happened_is_json_too),
        cmocka_unit_test(steps_that_are_missing_are_told_with_their_worker),
        cmocka_unit_test(the_living_are_told_up_to_now),
        cmocka_unit_test(pieces_are_bounded_however_many_lanes_there_are),
        cmocka_unit_test(every_worker_of_the_largest_cluster_keeps_its_name),
        cmocka_unit_test(many_requests_that_overlap_are_nested_in_every_track_and_each_is_there),
        cmocka_unit_test(a_step_is_cut_where_a_later_heartbeat_would_put_it_over_the_one_before),
        cmocka_unit_test(the_oldest_are_overwritten_and_a_slow_reader_leaves_them_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
