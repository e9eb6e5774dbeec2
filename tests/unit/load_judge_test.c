/* What is judged of a run from its rows: validity, the steady state; and what the server's pages say. */
#include "tests/test.h"

#include "base/clock.h"
#include "base/mem.h"
#include "bench/load/facts.h"
#include "bench/load/validity.h"
#include "bench/rows/settled.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* `count` members, 10 ms apart, all as asked: TTFT 20 ms, 5 tokens 10 ms apart. */
typedef struct run {
    row_list rows;
    schedule plan;
    schedule_window window;
    validity_facts facts;
    validity v;
} run;

static row member(uint32_t i) {
    row r;
    row_init(&r);
    r.seed = 1;
    r.index = i;
    r.phase = ROW_WINDOW;
    r.scheduled_ns = (uint64_t)i * 10 * NS_PER_MS;
    r.sent_ns = r.scheduled_ns;
    for (uint64_t k = 0; k < 5; k++) row_add_event(&r, r.scheduled_ns + (20 + 10 * k) * NS_PER_MS, 1);
    r.end_ns = r.last_ns;
    r.prompt_asked = r.prompt_tokens = 100;
    r.output_asked = r.output_tokens = 5;
    strcpy(r.finish, "length");
    return r;
}

static run *run_of(uint32_t count) {
    run *u = xcalloc(1, sizeof *u);
    for (uint32_t i = 0; i < count; i++) {
        row r = member(i);
        row_list_add(&u->rows, &r);
    }
    u->window = (schedule_window){
        .seed = 1, .begin_ns = 0, .end_ns = (uint64_t)count * 10 * NS_PER_MS, .first = 0, .count = count};
    u->plan = (schedule){.windows = &u->window, .window_count = 1, .end_ns = u->window.end_ns};
    u->facts = (validity_facts){.open_loop = true, .ignore_eos = true, .cpu_share = 0.1};
    return u;
}

static row *at(run *u, uint32_t i) {
    return &u->rows.rows[i];
}

/* Judges, expects `count` reasons of which the first has this text, and frees. */
static void expect(run *u, size_t count, const char *text) {
    validity_judge(&u->v, &u->rows, &u->plan, &u->facts);
    assert_int_equal(u->v.reason_count, count);
    if (count) assert_non_null(strstr(u->v.reasons[0], text));
    validity_done(&u->v);
    row_list_done(&u->rows);
    free(u);
}

static void a_run_as_asked_is_valid(void **state) {
    (void)state;
    run *u = run_of(200);
    validity_judge(&u->v, &u->rows, &u->plan, &u->facts);
    assert_true(u->v.late.p99_ms == 0);
    assert_true(fabs(u->v.achieved_rate - 100) < 1e-9);
    validity_done(&u->v);
    expect(u, 0, NULL);
}

static void lateness_is_judged_at_p99_by_5_ms_or_5_percent_of_the_median_ttft(void **state) {
    (void)state;
    run *u = run_of(200);
    for (uint32_t i = 0; i < 3; i++) at(u, i)->sent_ns += 6 * NS_PER_MS; /* 1.5 %: P99 is 6 */
    expect(u, 1, "P99 lateness 6.0 ms, more than 5.0 ms");
    u = run_of(200);
    for (uint32_t i = 0; i < 3; i++) at(u, i)->sent_ns += 5 * NS_PER_MS;
    expect(u, 0, NULL);
    u = run_of(200);
    at(u, 0)->sent_ns += 6 * NS_PER_MS; /* 0.5 % */
    expect(u, 0, NULL);
    u = run_of(200);
    for (uint32_t i = 0; i < 200; i++) {
        at(u, i)->first_ns += 180 * NS_PER_MS; /* median TTFT 200 ms: 10 ms are allowed */
        at(u, i)->sent_ns += 9 * NS_PER_MS;
    }
    u->window.end_ns += 10 * NS_PER_MS;
    expect(u, 0, NULL);
    u = run_of(200);
    for (uint32_t i = 0; i < 200; i++) at(u, i)->sent_ns += 50 * NS_PER_MS;
    u->facts.open_loop = false; /* they wait for a place */
    expect(u, 0, NULL);
}

static void a_busy_client_voids_the_run(void **state) {
    (void)state;
    run *u = run_of(100);
    u->facts.cpu_share = 0.8;
    expect(u, 0, NULL);
    u = run_of(100);
    u->facts.cpu_share = 0.81;
    expect(u, 1, "81 % of its core");
}

static void requests_sent_after_the_window_void_the_run_beyond_2_percent(void **state) {
    (void)state;
    for (uint32_t late = 2; late <= 3; late++) {
        run *u = run_of(100);
        for (uint32_t i = 0; i < late; i++) {
            row *r = at(u, 99 - i);
            r->sent_ns = u->window.end_ns + 6 * NS_PER_MS;
            r->scheduled_ns = r->sent_ns; /* so that lateness is no reason here */
        }
        expect(u, late > 2 ? 1 : 0, "97 of 100 requests were sent in time (3.0 % missing)");
    }
}

static void errors_beyond_1_percent_void_the_run(void **state) {
    (void)state;
    for (uint32_t bad = 1; bad <= 2; bad++) {
        run *u = run_of(100);
        for (uint32_t i = 0; i < bad; i++) {
            at(u, i)->outcome = ROW_FAILED;
            at(u, i)->http = 500;
            at(u, i)->error = xstrdup("HTTP 500: broken");
        }
        expect(u, bad > 1 ? 1 : 0, "2 of 100 requests failed (HTTP 500: broken)");
    }
    run *u = run_of(100);
    for (uint32_t i = 0; i < 100; i++) at(u, i)->phase = ROW_TAIL;
    u->window.count = 0;
    expect(u, 1, "no request was a member");
}

/* An overloaded server is measured, not doubted: these are misses. */
static void refusals_and_deadlines_void_no_run(void **state) {
    (void)state;
    run *u = run_of(100);
    for (uint32_t i = 0; i < 90; i++) {
        at(u, i)->outcome = i < 30 ? ROW_TIMED_OUT : i < 60 ? ROW_REFUSED : ROW_FAILED;
        at(u, i)->http = i < 30 ? 0 : i < 60 ? 503 : 504;
    }
    expect(u, 0, NULL);
}

static void counts_other_than_asked_void_the_run(void **state) {
    (void)state;
    run *u = run_of(100);
    at(u, 7)->prompt_tokens = 101;
    expect(u, 1, "1 of 100 prompts had another length than asked (request 7: 101 tokens, asked 100)");
    u = run_of(100);
    u->facts.prompt_extra = 1;
    for (uint32_t i = 0; i < 100; i++) at(u, i)->prompt_tokens = 101;
    expect(u, 0, NULL);
    u = run_of(100);
    at(u, 9)->output_tokens = 4;
    expect(u, 1, "1 of 100 answers had another length than asked (request 9: 4 tokens, asked 5)");
    u = run_of(100);
    strcpy(at(u, 9)->finish, "stop");
    expect(u, 1, "1 of 100 answers ended by 'stop'");
    u = run_of(100);
    strcpy(at(u, 9)->finish, "stop");
    at(u, 9)->output_tokens = 4;
    u->facts.ignore_eos = false;
    expect(u, 0, NULL);
    u = run_of(100);
    at(u, 3)->output_tokens = 0;
    expect(u, 1, "1 of 100 answers came without usage");
    u = run_of(100);
    at(u, 3)->prompt_tokens = 1; /* warm-up and tail are not judged */
    at(u, 3)->phase = ROW_TAIL;
    expect(u, 0, NULL);
}

static void a_prefix_cache_voids_the_run_unless_prompts_share(void **state) {
    (void)state;
    for (uint32_t cached = 100; cached <= 101; cached++) {
        run *u = run_of(100);
        at(u, 0)->cached_tokens = cached; /* of 10,000 */
        expect(u, cached > 100 ? 1 : 0, "1.0 % of the prompt tokens came from a prefix cache");
    }
    run *u = run_of(100);
    at(u, 0)->cached_tokens = 100;
    at(u, 1)->cached_tokens = 100;
    u->facts.shares_prefixes = true;
    expect(u, 0, NULL);
}

static void hits_that_the_server_counts_void_the_run_unless_prompts_share(void **state) {
    (void)state;
    static const double shares[] = {NAN, 0, 0.01, 0.02, 1};
    for (size_t i = 0; i < ARRAY_LEN(shares); i++) {
        run *u = run_of(100);
        u->facts.cached_share = shares[i];
        char text[128];
        snprintf(text, sizeof text, "%.1f %% of the prompt tokens that the server looked up",
                 100 * shares[i]);
        expect(u, i >= 3 ? 1 : 0, text);
    }
    run *u = run_of(100);
    u->facts.cached_share = 1;
    u->facts.shares_prefixes = true;
    expect(u, 0, NULL);
}

static void an_interrupted_run_says_how_far_it_came(void **state) {
    (void)state;
    run *u = run_of(100);
    for (uint32_t i = 60; i < 100; i++) {
        row *r = at(u, i);
        r->outcome = i < 63 ? ROW_UNFINISHED : ROW_UNSENT;
        if (i >= 63) r->sent_ns = r->first_ns = r->last_ns = r->end_ns = ROW_NEVER;
    }
    u->facts.interrupted = true;
    expect(u, 1, "the run was interrupted: 60 of 100 requests had ended");
}

/* ---- the steady state ---- */

static run_steady settled(const run *u) {
    return settled_of(&u->rows, (double)u->window.begin_ns / 1e9, (double)u->window.end_ns / 1e9);
}

static void a_long_run_of_equal_requests_is_steady(void **state) {
    (void)state;
    run *u = run_of(6000); /* 60 s */
    for (uint32_t i = 0; i < 4000; i++) at(u, i)->phase = ROW_WARMUP;
    u->window = (schedule_window){
        .seed = 1, .begin_ns = 40 * NS_PER_S, .end_ns = 60 * NS_PER_S, .first = 4000, .count = 2000};
    run_steady s = settled(u);
    assert_true(s.reached);
    assert_true(s.warmup_needed_s == 30);
    assert_false(s.unstable);
    assert_false(s.drift);
    assert_true(s.drift_ttft_p == 1);
    expect(u, 0, NULL);
}

static void a_queue_that_grows_is_unstable_and_drifts(void **state) {
    (void)state;
    run *u = run_of(6000);
    for (uint32_t i = 0; i < 6000; i++) {
        row *r = at(u, i);
        uint64_t wait = (uint64_t)i * 5 * NS_PER_MS; /* each waits 5 ms longer than the one before */
        r->first_ns += wait;
        r->last_ns += wait;
        r->end_ns += wait;
    }
    run_steady s = settled(u);
    assert_true(s.unstable);
    assert_true(s.g > s.g_limit);
    assert_true(s.drift);
    assert_false(s.reached);
    expect(u, 0, NULL);
}

/* MSER-5 of 40 values would say nothing but noise. */
static void a_short_run_is_judged_by_its_warm_up_alone(void **state) {
    (void)state;
    for (uint64_t begin_s = 29; begin_s <= 30; begin_s++) {
        run *u = run_of(40);
        u->window.begin_ns = begin_s * NS_PER_S;
        u->window.end_ns = 60 * NS_PER_S;
        for (uint32_t i = 0; i < 40; i++) {
            row *r = at(u, i);
            uint64_t later = i * NS_PER_S;
            r->scheduled_ns += later;
            r->sent_ns += later;
            r->first_ns += later + (i > 30 ? NS_PER_S / 2 : 0);
            r->last_ns += later + NS_PER_S;
            r->end_ns += later + NS_PER_S;
        }
        run_steady s = settled(u);
        assert_true(s.warmup_needed_s == 30);
        assert_int_equal(s.reached, begin_s == 30);
        row_list_done(&u->rows);
        free(u);
    }
}

static void a_run_without_answers_is_not_steady(void **state) {
    (void)state;
    run *u = run_of(100);
    for (uint32_t i = 0; i < 100; i++) {
        row *r = at(u, i);
        row_done(r);
        row_init(r);
        r->phase = ROW_WINDOW;
        r->outcome = ROW_UNSENT;
    }
    run_steady s = settled(u);
    assert_false(s.reached);
    assert_true(isnan(s.warmup_needed_s));
    row_list_done(&u->rows);
    free(u);
}

/* ---- the server's pages ---- */

static void health_tells_workers_with_their_time_and_pages(void **state) {
    (void)state;
    static const char json[] =
        "{\"workers\":[{\"name\":\"prefill-0\",\"role\":\"prefill\",\"pages\":{\"total\":10,\"used\":4},"
        "\"busy_s\":{\"prefill\":1.5,\"decode\":0,\"mixed\":0.25}},{\"name\":\"decode-0\",\"role\":"
        "\"decode\"}]}";
    facts_worker w[4];
    assert_int_equal(facts_read_health(json, strlen(json), w, 4), 2);
    assert_string_equal(w[0].name, "prefill-0");
    assert_string_equal(w[0].role, "prefill");
    assert_true(w[0].busy_s[0] == 1.5 && w[0].busy_s[1] == 0 && w[0].busy_s[2] == 0.25);
    assert_true(w[0].pages_used == 4 && w[0].pages_total == 10);
    assert_true(isnan(w[1].busy_s[0]) && isnan(w[1].pages_used));
    assert_int_equal(facts_read_health(json, strlen(json), w, 1), 1);
    static const char *const other[] = {"", "OK", "{}", "{\"workers\":7}", "{\"workers\":[1,null]}"};
    for (size_t i = 0; i < 4; i++) assert_int_equal(facts_read_health(other[i], strlen(other[i]), w, 4), 0);
    assert_int_equal(facts_read_health(other[4], strlen(other[4]), w, 4), 2);
    assert_string_equal(w[0].name, "");
}

static void a_metric_is_the_sum_of_its_series(void **state) {
    (void)state;
    static const char text[] =
        "# HELP a_total 5\n# TYPE a_total counter\na_total{x=\"1 2\"} 3\na_total{x=\"b\"} 4.5\n"
        "a_total_created 100\nb 7\na_totals 9";
    assert_true(facts_read_metric(text, "a_total") == 7.5);
    assert_true(facts_read_metric(text, "b") == 7);
    assert_true(isnan(facts_read_metric(text, "c")));
    assert_true(isnan(facts_read_metric("", "c")));
}

static void cache_counters_have_vllms_name_or_its_old_one(void **state) {
    (void)state;
    static const char now[] = "vllm:prefix_cache_queries_total{engine=\"0\"} 100.0\n"
                              "vllm:prefix_cache_hits_total{engine=\"0\"} 7.0\n"
                              "vllm:prefix_cache_hits_total{engine=\"1\"} 2.0\n";
    static const char before[] =
        "vllm:gpu_prefix_cache_queries_total 50\nvllm:gpu_prefix_cache_hits_total 4\n";
    assert_true(facts_read_cache(now, "queries") == 100);
    assert_true(facts_read_cache(now, "hits") == 9);
    assert_true(facts_read_cache(before, "queries") == 50);
    assert_true(facts_read_cache(before, "hits") == 4);
    assert_true(isnan(facts_read_cache("baton_replays_total 2\n", "hits")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_as_asked_is_valid),
        cmocka_unit_test(lateness_is_judged_at_p99_by_5_ms_or_5_percent_of_the_median_ttft),
        cmocka_unit_test(a_busy_client_voids_the_run),
        cmocka_unit_test(requests_sent_after_the_window_void_the_run_beyond_2_percent),
        cmocka_unit_test(errors_beyond_1_percent_void_the_run),
        cmocka_unit_test(refusals_and_deadlines_void_no_run),
        cmocka_unit_test(counts_other_than_asked_void_the_run),
        cmocka_unit_test(a_prefix_cache_voids_the_run_unless_prompts_share),
        cmocka_unit_test(hits_that_the_server_counts_void_the_run_unless_prompts_share),
        cmocka_unit_test(an_interrupted_run_says_how_far_it_came),
        cmocka_unit_test(a_long_run_of_equal_requests_is_steady),
        cmocka_unit_test(a_queue_that_grows_is_unstable_and_drifts),
        cmocka_unit_test(a_short_run_is_judged_by_its_warm_up_alone),
        cmocka_unit_test(a_run_without_answers_is_not_steady),
        cmocka_unit_test(health_tells_workers_with_their_time_and_pages),
        cmocka_unit_test(a_metric_is_the_sum_of_its_series),
        cmocka_unit_test(cache_counters_have_vllms_name_or_its_old_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
