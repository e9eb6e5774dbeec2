/* What a profile is made of: steps read from a trace, points, slowdowns, overheads. */
#include "tests/test.h"

#include "base/mem.h"
#include "planner/measure/assemble.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MS 1e6

/* ---- traces ---- */

#define HEAD                                                                                                 \
    "{\"traceEvents\":["                                                                                     \
    "{\"ph\":\"M\",\"pid\":1,\"tid\":0,\"name\":\"process_name\",\"args\":{\"name\":\"coordinator\"}},"      \
    "{\"ph\":\"M\",\"pid\":2,\"tid\":0,\"name\":\"process_name\",\"args\":{\"name\":\"prefill-0\"}},"        \
    "{\"ph\":\"M\",\"pid\":3,\"tid\":0,\"name\":\"process_name\","                                           \
    "\"args\":{\"name\":\"decode-0\",\"steps_left_out\":7}},"
#define STEP(pid, ts, dur, p, d, chunks, squares, context)                                                   \
    "{\"ph\":\"X\",\"pid\":" #pid ",\"tid\":0,\"ts\":" #ts ",\"dur\":" #dur                                  \
    ",\"name\":\"x\",\"cat\":\"step\",\"args\":{\"prefill_rows\":" #p ",\"decode_rows\":" #d                 \
    ",\"chunks\":" #chunks ",\"squares\":" #squares ",\"context\":" #context ",\"duration_us\":" #dur "}}"
#define SLICE(pid, ts, dur, name, args)                                                                      \
    "{\"ph\":\"X\",\"pid\":" #pid ",\"tid\":1,\"ts\":" #ts ",\"dur\":" #dur ",\"name\":\"" name              \
    "\",\"cat\":\"request\",\"args\":{\"req\":5" args "}}"

/* clang-format off */
static const char trace_text[] = HEAD
    SLICE(1, 100.000, 900.5, "request 5", ",\"prompt_tokens\":40,\"output_tokens\":2,\"attempts\":1") ","
    SLICE(1, 100.000, 50, "queue", "") ","
    SLICE(1, 150, 400, "prefill", "") ","
    SLICE(2, 150, 400, "prefill", "") ","
    SLICE(1, 550, 100, "hand-off", "") ","
    SLICE(1, 650, 100, "decode wait", "") ","
    SLICE(1, 750, 250.5, "decode", "") ","
    STEP(3, 500, 100, 0, 2, 0, 0, 90) ","
    STEP(2, 160, 390, 40, 0, 1, 1600, 0) ","
    STEP(3, 400, 50, 3, 1, 1, 9, 8) "]}";
/* clang-format on */

static void steps_and_stages_are_read_from_a_trace(void **state) {
    (void)state;
    seen s;
    errbuf eb = {0};
    assert_int_equal(seen_read(&s, trace_text, &eb), ST_OK);
    assert_int_equal(s.worker_count, 2);
    assert_int_equal(s.workers[0].role, ROLE_PREFILL);
    assert_int_equal(s.workers[1].role, ROLE_DECODE);
    assert_int_equal(seen_left_out(&s), 7);
    assert_int_equal(s.step_count, 3);
    assert_int_equal(s.steps[0].sum.tokens, 40);
    assert_int_equal(s.steps[0].sum.squares, 1600);
    assert_int_equal(s.steps[0].begin_ns, 160000);
    assert_int_equal(s.steps[0].duration_ns, 390000);
    assert_int_equal(s.steps[1].begin_ns, 400000); /* of one worker by time */
    assert_int_equal(s.steps[2].sum.batch, 2);
    assert_int_equal(s.steps[2].sum.context, 90);
    assert_int_equal(s.request_count, 1);
    assert_int_equal(s.requests[0].born_ns, 100000);
    assert_int_equal(s.requests[0].end_ns, 1000500);
    assert_int_equal(s.requests[0].begin_ns[SEEN_HANDOFF], 550000);
    assert_int_equal(s.requests[0].begin_ns[SEEN_DECODE], 750000);
    seen_done(&s);
}

static void what_others_computed_beside_a_step_is_a_share_of_its_time(void **state) {
    (void)state;
    seen s;
    assert_int_equal(seen_read(&s, trace_text, NULL), ST_OK);
    assert_float_equal(s.steps[0].by_prefill, 50.0 / 390, 1e-9); /* the mixed one computes a prompt */
    assert_float_equal(s.steps[0].by_decode, 50.0 / 390, 1e-9);
    assert_float_equal(s.steps[1].by_prefill, 1, 1e-9);
    assert_float_equal(s.steps[2].by_prefill, 0.5, 1e-9);
    assert_float_equal(s.steps[2].by_decode, 0, 1e-9);
    seen_done(&s);
}

static void what_is_no_trace_with_sums_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"{", "the trace is no JSON"},
        {"[]", "the trace has no traceEvents"},
        {"{\"traceEvents\":[{}]}", "an event without ph or name"},
        {HEAD STEP(9, 1, 1, 1, 0, 1, 1, 0) "]}", "a step of a worker without a name"},
        {HEAD "{\"ph\":\"X\",\"pid\":2,\"ts\":1,\"dur\":1,\"name\":\"prefill\",\"cat\":\"step\","
              "\"args\":{\"prefill_rows\":1,\"decode_rows\":0}}]}",
         "its steps do not tell squares, context and duration"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        seen s;
        errbuf eb = {0};
        assert_int_equal(seen_read(&s, cases[i].text, &eb), ST_INVALID);
        assert_non_null(strstr(eb.text, cases[i].why));
    }
}

/* ---- points ---- */

static void put(samples *s, sample one) {
    s->items = xrealloc(s->items, s->count + 1, sizeof one);
    s->items[s->count++] = one;
}

static sample prefill_of(uint64_t tokens, uint64_t squares, double ms) {
    return (sample){.role = ROLE_PREFILL,
                    .sum = {.chunks = 1, .tokens = tokens, .squares = squares},
                    .ns = ms * MS,
                    .gap_ns = NAN};
}

static sample decode_of(uint32_t batch, uint64_t context, double ms) {
    return (sample){
        .role = ROLE_DECODE, .sum = {.batch = batch, .context = context}, .ns = ms * MS, .gap_ns = 0.1 * MS};
}

static void equal_steps_are_one_point_with_their_mean_but_for_disturbed_ones(void **state) {
    (void)state;
    samples s = {0};
    points p;
    put(&s, prefill_of(64, 4096, 9));
    put(&s, prefill_of(64, 4096, 30)); /* something came between */
    put(&s, prefill_of(64, 4096, 10));
    put(&s, prefill_of(64, 8192, 13)); /* of two, the shorter counts */
    put(&s, prefill_of(64, 8192, 12));
    for (uint32_t i = 0; i < 4; i++) put(&s, decode_of(2, 100 + 2 * i, 5)); /* contexts grow */
    points_make(&p, &s);
    assert_int_equal(p.count, 3);
    assert_float_equal(p.items[0].ns, 9.5 * MS, 1);
    assert_float_equal(p.items[0].min_ns, 9 * MS, 1);
    assert_int_equal(p.items[0].n, 3);
    assert_float_equal(p.items[1].ns, 12 * MS, 1);
    assert_int_equal(p.items[2].phase, POINT_DECODE);
    assert_float_equal(p.items[2].x, 2, 1e-9);
    assert_float_equal(p.items[2].y, 103, 1e-9);
    assert_float_equal(p.items[2].cv, 0, 1e-9);
    points_done(&p);
    samples_done(&s);
}

static void steps_beside_others_and_first_ones_after_a_pause_make_no_points(void **state) {
    (void)state;
    samples s = {0};
    points p;
    sample beside = prefill_of(64, 4096, 9), first = decode_of(1, 50, 9);
    beside.by_decode = 0.5;
    first.gap_ns = NAN;
    put(&s, beside);
    for (uint32_t i = 0; i < 5; i++) put(&s, first);
    for (uint32_t i = 0; i < 2; i++) put(&s, decode_of(3, 90, 9)); /* too few to tell */
    points_make(&p, &s);
    assert_int_equal(p.count, 0);
    points_done(&p);
    samples_done(&s);
}

/* ---- profiles ---- */

/* 2 ms + .1 per sequence + .001 per token; 4 ms + .05 per token + .00001 per square; what is beside slows. */
static void known_engine(samples *s) {
    for (uint32_t x = 16; x <= 256; x *= 2)
        for (uint64_t before = 0; before <= 512; before += 256) {
            uint64_t y = x * (2 * before + x);
            put(s, prefill_of(x, y, 4 + 0.05 * x + 0.00001 * (double)y));
        }
    for (uint32_t b = 1; b <= 16; b *= 2)
        for (uint64_t y = 100; y <= 1600; y *= 4)
            for (uint32_t i = 0; i < 3; i++) put(s, decode_of(b, y, 2 + 0.1 * b + 0.001 * (double)y));
    for (uint32_t i = 0; i < 6; i++) {
        sample d = decode_of(4, 400, (2 + 0.4 + 0.4) * 1.25),
               p = prefill_of(64, 4096, (4 + 3.2 + 0.04096) * 1.1);
        d.by_prefill = 1;
        p.by_decode = 0.8;
        put(s, d);
        put(s, p);
    }
}

static void a_known_engine_is_found_again(void **state) {
    (void)state;
    samples s = {0};
    overheads o = {0};
    known_engine(&s);
    assemble_input in = {.steps = &s,
                         .overheads = &o,
                         .roles = {[ROLE_PREFILL] = {1, 1, 1, 100, 8}, [ROLE_DECODE] = {1, 1, 2, 200, 16}},
                         .pair_bytes_per_s = NAN};
    profile *p = xcalloc(1, sizeof *p);
    points pts;
    errbuf eb = {0};
    assemble_slowed slowed[ROLE_COUNT];
    assert_int_equal(assemble(p, &pts, slowed, &in, &eb), ST_OK);
    assert_int_equal(p->engine_count, 2);
    const profile_engine *P = profile_find(p, ROLE_PREFILL, 1, 1), *D = profile_find(p, ROLE_DECODE, 1, 1);
    assert_float_equal(step_cost_ns(&P->prefill, 100, 50000), (4 + 5 + 0.5) * MS, 100);
    assert_float_equal(step_cost_ns(&D->decode, 5, 300), (2 + 0.5 + 0.3) * MS, 100);
    assert_float_equal(D->decode_slowed_by_prefill, 0.25, 1e-4);
    assert_float_equal(P->slowed_by_decode, 0.1 / 0.8, 1e-4);
    assert_float_equal(P->slowed_by_prefill, 0, 0); /* nobody saw it */
    assert_false(slowed[ROLE_PREFILL].prefill_by_prefill);
    assert_true(slowed[ROLE_PREFILL].prefill_by_decode);
    assert_true(slowed[ROLE_DECODE].decode_by_prefill);
    assert_false(slowed[ROLE_DECODE].decode_by_decode);
    assert_float_equal(D->gap_ns, 0.1 * MS, 1e-3);
    assert_int_equal(D->kv_pages, 200);
    assert_int_equal(D->devices, 2);
    assert_false(p->link.known);
    assert_true(profile_worst_error(p).error < 1e-4);
    points_done(&pts);
    profile_free(p);
    samples_done(&s);
}

/* Two colocated workers of so many devices, whose prompts and batches slow their own kind. */
static profile *with_crowd(uint32_t devices, assemble_slowed *slowed) {
    samples s = {0}, crowd = {0};
    overheads o = {0};
    points pts;
    known_engine(&s);
    size_t n = s.count;
    for (size_t i = 0; i < n; i++) {
        sample one = s.items[i];
        one.role = ROLE_COLOCATED;
        put(&s, one);
    }
    for (uint32_t i = 0; i < 6; i++) {
        sample d = decode_of(4, 400, (2 + 0.4 + 0.4) * 1.5),
               p = prefill_of(64, 4096, (4 + 3.2 + 0.04096) * 1.2);
        d.role = p.role = ROLE_COLOCATED;
        d.by_decode = p.by_prefill = 1;
        put(&crowd, d);
        put(&crowd, p);
    }
    assemble_input in = {.steps = &s,
                         .crowd = &crowd,
                         .overheads = &o,
                         .roles = {[ROLE_PREFILL] = {1, 1, 1, 100, 8},
                                   [ROLE_DECODE] = {1, 1, 1, 200, 16},
                                   [ROLE_COLOCATED] = {1, 1, devices, 200, 16}},
                         .pair_bytes_per_s = NAN};
    profile *p = xcalloc(1, sizeof *p);
    assert_int_equal(assemble(p, &pts, slowed, &in, NULL), ST_OK);
    points_done(&pts);
    samples_done(&s);
    samples_done(&crowd);
    return p;
}

static void two_of_a_kind_slow_each_other_as_colocated_ones_of_their_shape_do(void **state) {
    (void)state;
    assemble_slowed slowed[ROLE_COUNT];
    profile *p = with_crowd(1, slowed);
    assert_float_equal(profile_find(p, ROLE_PREFILL, 1, 1)->slowed_by_prefill, 0.2, 1e-4);
    assert_float_equal(profile_find(p, ROLE_PREFILL, 1, 1)->slowed_by_decode, 0.1 / 0.8, 1e-4);
    assert_float_equal(profile_find(p, ROLE_DECODE, 1, 1)->decode_slowed_by_decode, 0.5, 1e-4);
    assert_true(slowed[ROLE_PREFILL].prefill_by_prefill && slowed[ROLE_DECODE].decode_by_decode);
    profile_free(p);
    p = with_crowd(2, slowed);
    assert_float_equal(profile_find(p, ROLE_PREFILL, 1, 1)->slowed_by_prefill, 0, 0);
    assert_float_equal(profile_find(p, ROLE_DECODE, 1, 1)->decode_slowed_by_decode, 0, 0);
    assert_false(slowed[ROLE_PREFILL].prefill_by_prefill || slowed[ROLE_DECODE].decode_by_decode);
    profile_free(p);
}

static void overheads_are_medians_of_what_lone_requests_lost(void **state) {
    (void)state;
    seen s;
    overheads o = {0};
    assert_int_equal(seen_read(&s, trace_text, NULL), ST_OK);
    asked q = {.prompt_tokens = 40, .sent_ns = 90000, .tokens = 1, .token_ns = {560000}};
    overheads_add(&o, &q, &s.requests[0], &s);
    profile_overheads got = overheads_of(&o);
    assert_float_equal(got.arrive_ns, 60000, 1e-6);                   /* 90 to 150 us */
    assert_float_equal(got.dispatch_ns, 10000, 1e-6);                 /* to 160 */
    assert_float_equal(got.emit_ns, 10000, 1e-6);                     /* 550 to 560 */
    assert_float_equal(got.handoff_ns, 0, 1e-6);                      /* a stamp was late */
    assert_float_equal(overheads_transfer_ns(&o, 1000), 60000, 1e-6); /* 100 us but for 40 of the bytes */
    overheads_done(&o);
    seen_done(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_and_stages_are_read_from_a_trace),
        cmocka_unit_test(what_others_computed_beside_a_step_is_a_share_of_its_time),
        cmocka_unit_test(what_is_no_trace_with_sums_is_refused),
        cmocka_unit_test(equal_steps_are_one_point_with_their_mean_but_for_disturbed_ones),
        cmocka_unit_test(steps_beside_others_and_first_ones_after_a_pause_make_no_points),
        cmocka_unit_test(a_known_engine_is_found_again),
        cmocka_unit_test(two_of_a_kind_slow_each_other_as_colocated_ones_of_their_shape_do),
        cmocka_unit_test(overheads_are_medians_of_what_lone_requests_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
