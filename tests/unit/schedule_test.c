/* The planned list: what is sent when, counted and steady; the same requests at every rate. */
#include "bench/workload/schedule.h"

#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define S 1000000000ull

static const arrivals_options POISSON = {.kind = ARRIVALS_GAMMA, .burstiness = 1};
static const arrivals_options CONSTANT = {.kind = ARRIVALS_CONSTANT};

static workload *random_lengths(void) {
    workload *w = NULL;
    errbuf eb = {0};
    workload_options opt = {
        .kind = WORKLOAD_LOGNORMAL, .prompt_mean = 100, .output_mean = 20, .prompt_cv = 1, .output_cv = 0.5};
    if (workload_new(&w, &opt, &eb) != ST_OK) fail_msg("%s", eb.text);
    return w;
}

static int setup(void **state) {
    *state = random_lengths();
    return 0;
}

static int teardown(void **state) {
    workload_free(*state);
    return 0;
}

static schedule counted(const workload *w, const arrivals_options *a, schedule_counted_options opt) {
    schedule s = {0};
    errbuf eb = {0};
    if (schedule_counted(&s, w, a, &opt, &eb) != ST_OK) fail_msg("%s", eb.text);
    return s;
}

static schedule steady(const workload *w, const arrivals_options *a, schedule_steady_options opt) {
    schedule s = {0};
    errbuf eb = {0};
    if (schedule_steady(&s, w, a, &opt, &eb) != ST_OK) fail_msg("%s", eb.text);
    return s;
}

static void counted_requests_are_members_of_one_seed(void **state) {
    schedule s = counted(*state, &CONSTANT, (schedule_counted_options){.requests = 5, .seed = 7, .rate = 2});
    assert_int_equal(s.count, 5);
    assert_int_equal(s.before_count, 0);
    assert_int_equal(s.window_count, 1);
    assert_int_equal(s.windows[0].seed, 7);
    assert_int_equal(s.windows[0].count, 5);
    assert_true(s.windows[0].end_ns == ROW_NEVER);
    for (uint32_t i = 0; i < 5; i++) {
        workload_item it = workload_at(*state, 7, i);
        assert_true(s.items[i].seed == 7);
        assert_int_equal(s.items[i].index, i);
        assert_int_equal(s.items[i].phase, ROW_WINDOW);
        assert_true(s.items[i].at_ns == (i + 1) * S / 2);
        assert_int_equal(s.items[i].prompt_tokens, it.prompt_tokens);
        assert_int_equal(s.items[i].output_tokens, it.output_tokens);
    }
    assert_true(s.end_ns == 5 * S / 2);
    schedule_done(&s);
    assert_null(s.items);
}

static void an_infinite_rate_sends_all_at_once(void **state) {
    schedule s = counted(*state, &POISSON,
                         (schedule_counted_options){.requests = 9, .rate = INFINITY, .rescale = true});
    for (uint32_t i = 0; i < 9; i++) assert_true(s.items[i].at_ns == 0);
    schedule_done(&s);
}

static void warm_ups_go_first_and_have_another_seed(void **state) {
    schedule s = counted(*state, &POISSON,
                         (schedule_counted_options){.requests = 3, .warmups = 2, .seed = 7, .rate = 1});
    assert_int_equal(s.count, 5);
    assert_int_equal(s.before_count, 2);
    assert_int_equal(s.windows[0].first, 2);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(s.items[i].phase, ROW_WARMUP);
        assert_true(s.items[i].seed == schedule_warmup_seed(7));
        assert_true(s.items[i].at_ns == 0);
    }
    assert_int_equal(s.items[2].index, 0);
    assert_int_equal(s.items[2].phase, ROW_WINDOW);
    schedule_done(&s);
}

static void rescaled_arrivals_end_at_count_over_rate(void **state) {
    schedule s = counted(*state, &POISSON,
                         (schedule_counted_options){.requests = 100, .seed = 3, .rate = 4, .rescale = true});
    assert_in_range(s.items[99].at_ns, 25 * S - 10, 25 * S + 10);
    schedule_done(&s);
}

static void a_steady_run_is_warm_up_windows_and_tail_without_a_break(void **state) {
    const uint64_t seeds[] = {1, 2, 3};
    schedule s = steady(
        *state, &POISSON,
        (schedule_steady_options){
            .seeds = seeds, .seed_count = 3, .rate = 20, .warmup_s = 10, .window_s = 30, .tail_s = 60});
    assert_int_equal(s.window_count, 3);
    assert_int_equal(s.before_count, 0);
    assert_true(s.end_ns == 160 * S);
    uint32_t next = 0;
    while (s.items[next].phase == ROW_WARMUP) {
        assert_true(s.items[next].at_ns < 10 * S);
        assert_true(s.items[next].seed == schedule_warmup_seed(1));
        next++;
    }
    assert_in_range(next, 150, 250); /* 200 expected, sd 14 */
    for (uint32_t k = 0; k < 3; k++) {
        const schedule_window *win = &s.windows[k];
        assert_int_equal(win->first, next);
        assert_true(win->begin_ns == (10 + 30 * k) * S);
        assert_true(win->end_ns == (40 + 30 * k) * S);
        assert_in_range(win->count, 500, 700); /* 600 expected, sd 24 */
        for (uint32_t i = 0; i < win->count; i++, next++) {
            assert_int_equal(s.items[next].phase, ROW_WINDOW);
            assert_true(s.items[next].seed == seeds[k]);
            assert_int_equal(s.items[next].index, i);
            assert_true(s.items[next].at_ns >= win->begin_ns);
            assert_true(s.items[next].at_ns < win->end_ns);
        }
    }
    assert_in_range(s.count - next, 1000, 1400);
    for (uint32_t i = next; i < s.count; i++) {
        assert_int_equal(s.items[i].phase, ROW_TAIL);
        assert_true(s.items[i].seed == schedule_tail_seed(1));
        assert_true(s.items[i].at_ns >= 100 * S);
    }
    for (uint32_t i = 1; i < s.count; i++) assert_true(s.items[i].at_ns >= s.items[i - 1].at_ns);
    schedule_done(&s);
}

static void a_request_is_the_same_at_every_rate_at_a_time_divided_by_the_rate(void **state) {
    const uint64_t seeds[] = {5};
    schedule_steady_options opt = {.seeds = seeds, .seed_count = 1, .rate = 4, .window_s = 50};
    schedule slow = steady(*state, &POISSON, opt);
    opt.rate = 8;
    schedule fast = steady(*state, &POISSON, opt);
    assert_true(fast.count > slow.count);
    for (uint32_t i = 0; i < slow.count; i++) {
        assert_int_equal(slow.items[i].index, fast.items[i].index);
        assert_int_equal(slow.items[i].prompt_tokens, fast.items[i].prompt_tokens);
        assert_int_equal(slow.items[i].output_tokens, fast.items[i].output_tokens);
        assert_in_range(slow.items[i].at_ns - 2 * fast.items[i].at_ns, 0, 1); /* rounded down */
    }
    schedule_done(&slow);
    schedule_done(&fast);
}

static void a_request_at_the_end_of_a_window_is_not_its_member(void **state) {
    const uint64_t seeds[] = {5};
    schedule s = steady(*state, &CONSTANT,
                        (schedule_steady_options){.seeds = seeds, .seed_count = 1, .rate = 1, .window_s = 3});
    assert_int_equal(s.count, 2); /* at 1 s and at 2 s */
    schedule_done(&s);
}

static void windows_over_a_trace_begin_with_rows_of_their_own(void **state) {
    (void)state;
    char path[] = "/tmp/baton-trace-XXXXXX";
    FILE *file = fdopen(mkstemp(path), "w");
    assert_non_null(file);
    for (uint32_t i = 0; i < 50; i++)
        fprintf(file, "{\"at_s\": %u, \"prompt_tokens\": %u, \"output_tokens\": 1}\n", i, i + 1);
    fclose(file);
    workload *w = NULL;
    workload_options trace = {.kind = WORKLOAD_TRACE, .path = path};
    assert_int_equal(workload_new(&w, &trace, NULL), ST_OK);
    unlink(path);

    const arrivals_options times = {.kind = ARRIVALS_TRACE};
    const uint64_t seeds[] = {0, 3};
    schedule s = steady(w, &times,
                        (schedule_steady_options){.seeds = seeds,
                                                  .seed_count = 2,
                                                  .rate = 2, /* the file has one a second */
                                                  .warmup_s = 5,
                                                  .window_s = 40});
    assert_int_equal(s.windows[0].first, 10);
    for (uint32_t k = 0; k < 2; k++) {
        assert_int_equal(s.windows[k].count, 80);
        const planned *first = &s.items[s.windows[k].first];
        for (uint32_t i = 0; i < 80; i++) {
            assert_true(first[i].at_ns == s.windows[k].begin_ns + i * (S / 2));
            assert_int_equal(first[i].prompt_tokens, (first[0].prompt_tokens - 1 + i) % 50 + 1);
        }
    }
    assert_int_equal(s.items[10].prompt_tokens, 1); /* seed 0: the first row */
    assert_int_not_equal(s.items[90].prompt_tokens, 1);
    schedule_done(&s);
    s = counted(w, &times, (schedule_counted_options){.requests = 3, .rate = NAN});
    assert_true(s.items[2].at_ns == 2 * S); /* by the file's own clock */
    schedule_done(&s);
    workload_free(w);
}

static void assert_steady_refused(const workload *w, const arrivals_options *a, schedule_steady_options opt,
                                  const char *why) {
    schedule s = {0};
    errbuf eb = {0};
    assert_int_equal(schedule_steady(&s, w, a, &opt, &eb), ST_INVALID);
    if (!strstr(eb.text, why)) fail_msg("'%s' does not say '%s'", eb.text, why);
    assert_null(s.items);
}

static void what_cannot_be_planned_is_refused(void **state) {
    const uint64_t seeds[] = {1, 2, 1};
    schedule_steady_options good = {
        .seeds = seeds, .seed_count = 2, .rate = 1, .warmup_s = 1, .window_s = 10, .tail_s = 1};
    schedule_steady_options bad = good;
    bad.seed_count = 3;
    assert_steady_refused(*state, &POISSON, bad, "seed 1 stands twice");
    bad = good, bad.seed_count = 0;
    assert_steady_refused(*state, &POISSON, bad, "0 seeds");
    bad = good, bad.rate = INFINITY;
    assert_steady_refused(*state, &POISSON, bad, "finite rate");
    bad = good, bad.rate = 0;
    assert_steady_refused(*state, &POISSON, bad, "finite rate");
    bad = good, bad.rate = NAN;
    assert_steady_refused(*state, &POISSON, bad, "finite rate");
    bad = good, bad.rate = 1e6;
    assert_steady_refused(*state, &POISSON, bad, "lower the rate");
    bad = good, bad.window_s = 0;
    assert_steady_refused(*state, &POISSON, bad, "a window of 0 seconds");
    bad = good, bad.warmup_s = -1;
    assert_steady_refused(*state, &POISSON, bad, "a warm-up of -1 seconds");
    bad = good, bad.tail_s = NAN;
    assert_steady_refused(*state, &POISSON, bad, "a tail of ");
    bad = good, bad.rate = 1e-6;
    assert_steady_refused(*state, &POISSON, bad, "no request arrives in the window of seed 1");
    const arrivals_options ramp = {
        .kind = ARRIVALS_RAMP_LINEAR, .burstiness = 1, .ramp_from = 1, .ramp_to = 2};
    assert_steady_refused(*state, &ramp, good, "no steady state");
    const arrivals_options trace = {.kind = ARRIVALS_TRACE};
    assert_steady_refused(*state, &trace, good, "no times of its own");
}

static void assert_counted_refused(const workload *w, const arrivals_options *a, schedule_counted_options opt,
                                   const char *why) {
    schedule s = {0};
    errbuf eb = {0};
    assert_int_equal(schedule_counted(&s, w, a, &opt, &eb), ST_INVALID);
    if (!strstr(eb.text, why)) fail_msg("'%s' does not say '%s'", eb.text, why);
    assert_null(s.items);
}

static void counts_and_rates_out_of_range_are_refused(void **state) {
    assert_counted_refused(*state, &POISSON, (schedule_counted_options){.rate = 1}, "0 requests");
    assert_counted_refused(
        *state, &POISSON, (schedule_counted_options){.requests = SCHEDULE_COUNT_MAX, .warmups = 1, .rate = 1},
        "want at most");
    assert_counted_refused(*state, &POISSON,
                           (schedule_counted_options){.requests = UINT32_MAX, .warmups = 5, .rate = 1},
                           "want at most");
    assert_counted_refused(*state, &POISSON, (schedule_counted_options){.requests = 5, .rate = -1},
                           "-1 requests");
    assert_counted_refused(*state, &POISSON, (schedule_counted_options){.requests = 5, .rate = 1e-9},
                           "seconds");
    assert_counted_refused(*state, &POISSON, (schedule_counted_options){.requests = 5, .rate = NAN},
                           "above 0");
    const arrivals_options ramp = {
        .kind = ARRIVALS_RAMP_LINEAR, .burstiness = 1, .ramp_from = 1, .ramp_to = 2};
    assert_counted_refused(
        *state, &ramp, (schedule_counted_options){.requests = 5, .rate = 1, .rescale = true}, "not rescaled");
}

static uint32_t repeated(uint32_t prompt_tokens, uint32_t requests, uint32_t warmups, prompt_range range) {
    workload *w = NULL;
    errbuf eb = {0};
    workload_options opt = {.kind = WORKLOAD_FIXED, .prompt_mean = prompt_tokens, .output_mean = 1};
    if (workload_new(&w, &opt, &eb) != ST_OK) fail_msg("%s", eb.text);
    schedule s =
        counted(w, &CONSTANT,
                (schedule_counted_options){.requests = requests, .warmups = warmups, .seed = 7, .rate = 2});
    uint32_t out = schedule_repeated_prompts(&s, w, range);
    schedule_done(&s);
    workload_free(w);
    return out;
}

static void prompts_repeat_when_they_are_too_short_to_spell_their_index(void **state) {
    (void)state;
    const prompt_range ten = {100, 109};
    assert_int_equal(repeated(1, 10, 0, ten), 0);
    assert_int_equal(repeated(1, 25, 0, ten), 15);
    assert_int_equal(repeated(1, 10, 10, ten), 10); /* of warm-ups */
    assert_int_equal(repeated(2, 25, 0, ten), 0);
    assert_int_equal(repeated(2, 1000, 0, ten), 900);
    assert_int_equal(repeated(prompt_unique_tokens(ten) - 1, 1000, 100, ten), 0);
    assert_int_equal(repeated(prompt_unique_tokens(ten), 1000, 100, ten), 0);
    assert_int_equal(repeated(95, 1000, 100, (prompt_range){0, 1}), 0);
    assert_int_equal(repeated(50000, 8, 0, (prompt_range){5, 5}), 7);
}

/* Nobody waits for the tail, and most of it is never sent. */
static void prompts_of_the_tail_may_repeat(void **state) {
    (void)state;
    workload *w = NULL;
    errbuf eb = {0};
    workload_options opt = {.kind = WORKLOAD_FIXED, .prompt_mean = 1, .output_mean = 1};
    if (workload_new(&w, &opt, &eb) != ST_OK) fail_msg("%s", eb.text);
    const uint64_t seeds[] = {1};
    schedule s = steady(
        w, &CONSTANT,
        (schedule_steady_options){.seeds = seeds, .seed_count = 1, .rate = 5, .window_s = 2, .tail_s = 60});
    assert_true(s.count > 100);
    assert_int_equal(schedule_repeated_prompts(&s, w, (prompt_range){0, 9}), 0);
    schedule_done(&s);
    workload_free(w);
}

static void a_salt_changes_the_ids_of_prompts_and_nothing_else(void **state) {
    (void)state;
    enum { REQUESTS = 50, IDS = 64 };
    workload *w[3] = {0};
    schedule s[3];
    const uint64_t salts[] = {0, 5, 6};
    for (int k = 0; k < 3; k++) {
        errbuf eb = {0};
        workload_options opt = {.kind = WORKLOAD_LOGNORMAL,
                                .prompt_mean = 20,
                                .output_mean = 9,
                                .prompt_cv = 1,
                                .prompt_min = 8,
                                .prompt_max = IDS,
                                .prompt_salt = salts[k]};
        if (workload_new(&w[k], &opt, &eb) != ST_OK) fail_msg("%s", eb.text);
        s[k] =
            counted(w[k], &POISSON, (schedule_counted_options){.requests = REQUESTS, .seed = 7, .rate = 2});
    }
    for (uint32_t i = 0; i < REQUESTS; i++) {
        int32_t ids[3][IDS], plain[IDS];
        uint32_t n = s[0].items[i].prompt_tokens;
        for (int k = 0; k < 3; k++) {
            assert_memory_equal(&s[k].items[i], &s[0].items[i], sizeof s[0].items[i]);
            workload_prompt(w[k], 7, i, 100, 49099, ids[k]);
        }
        prompt_fill(plain, n, (prompt_range){100, 49099}, 7, i);
        assert_memory_equal(ids[0], plain, n * sizeof *plain);
        for (int k = 1; k < 3; k++)
            for (int j = 0; j < k; j++) assert_memory_not_equal(ids[k], ids[j], 8 * sizeof *plain);
    }
    for (int k = 0; k < 3; k++) {
        schedule_done(&s[k]);
        workload_free(w[k]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counted_requests_are_members_of_one_seed),
        cmocka_unit_test(an_infinite_rate_sends_all_at_once),
        cmocka_unit_test(warm_ups_go_first_and_have_another_seed),
        cmocka_unit_test(rescaled_arrivals_end_at_count_over_rate),
        cmocka_unit_test(a_steady_run_is_warm_up_windows_and_tail_without_a_break),
        cmocka_unit_test(a_request_is_the_same_at_every_rate_at_a_time_divided_by_the_rate),
        cmocka_unit_test(a_request_at_the_end_of_a_window_is_not_its_member),
        cmocka_unit_test(windows_over_a_trace_begin_with_rows_of_their_own),
        cmocka_unit_test(what_cannot_be_planned_is_refused),
        cmocka_unit_test(counts_and_rates_out_of_range_are_refused),
        cmocka_unit_test(prompts_repeat_when_they_are_too_short_to_spell_their_index),
        cmocka_unit_test(prompts_of_the_tail_may_repeat),
        cmocka_unit_test(a_salt_changes_the_ids_of_prompts_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
