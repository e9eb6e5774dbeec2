/* Lengths as functions of (seed, index): exact first values, moments, clipping, names. */
#include "bench/workload/workload.h"

#include "bench/workload/named.h"

#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N 100000u

static workload *made(workload_options opt) {
    workload *w = NULL;
    errbuf eb = {0};
    if (workload_new(&w, &opt, &eb) != ST_OK) fail_msg("%s", eb.text);
    return w;
}

static void assert_near(double is, double want, double tolerance) {
    if (!(fabs(is - want) <= tolerance)) fail_msg("%.12g is not %.12g +- %g", is, want, tolerance);
}

typedef struct moments {
    double mean, cv;
    uint32_t min, max;
} moments;

static void measure(const workload *w, uint64_t seed, moments *prompt, moments *output) {
    double sums[2] = {0}, squares[2] = {0};
    moments *out[2] = {prompt, output};
    *prompt = *output = (moments){.min = UINT32_MAX};
    for (uint32_t i = 0; i < N; i++) {
        workload_item it = workload_at(w, seed, i);
        uint32_t n[2] = {it.prompt_tokens, it.output_tokens};
        for (uint32_t k = 0; k < 2; k++) {
            sums[k] += n[k];
            squares[k] += (double)n[k] * n[k];
            if (n[k] < out[k]->min) out[k]->min = n[k];
            if (n[k] > out[k]->max) out[k]->max = n[k];
        }
    }
    for (uint32_t k = 0; k < 2; k++) {
        out[k]->mean = sums[k] / N;
        out[k]->cv = sqrt(squares[k] / N - out[k]->mean * out[k]->mean) / out[k]->mean;
    }
}

static void fixed_lengths_are_the_mean(void **state) {
    (void)state;
    workload *w = made((workload_options){.kind = WORKLOAD_FIXED, .prompt_mean = 100, .output_mean = 7.5});
    workload_item it = workload_at(w, 3, 9);
    assert_int_equal(it.prompt_tokens, 100);
    assert_int_equal(it.output_tokens, 8);
    assert_true(isnan(it.at_s));
    assert_int_equal(workload_count(w), UINT32_MAX);
    assert_true(isnan(workload_trace_rate(w)));
    workload_facts facts;
    assert_false(workload_trace_facts(w, &facts));
    workload_free(w);
    workload_free(NULL);
}

static void uniform_lengths_reach_both_ends_as_vllm_has_them(void **state) {
    (void)state;
    workload *w = made((workload_options){.kind = WORKLOAD_UNIFORM,
                                          .prompt_mean = 101,
                                          .output_mean = 9,
                                          .prompt_range = 0.25,
                                          .output_range = 1});
    moments prompt, output;
    measure(w, 1, &prompt, &output);
    assert_int_equal(prompt.min, 75);  /* floor(75.75) */
    assert_int_equal(prompt.max, 127); /* ceil(126.25) */
    assert_near(prompt.mean, 101, 4 * 15.3 / sqrt(N));
    assert_int_equal(output.min, 1); /* 0 is no answer */
    assert_int_equal(output.max, 18);
    workload_free(w);
    w = made((workload_options){.kind = WORKLOAD_UNIFORM, .prompt_mean = 1024, .output_mean = 128});
    assert_int_equal(workload_at(w, 5, 5).prompt_tokens, 1024);
    assert_int_equal(workload_at(w, 5, 5).output_tokens, 128);
    workload_free(w);
}

static void lognormal_lengths_have_the_mean_and_the_coefficient_of_variation(void **state) {
    (void)state;
    workload *w = made((workload_options){.kind = WORKLOAD_LOGNORMAL,
                                          .prompt_mean = 755.5,
                                          .output_mean = 200.3,
                                          .prompt_cv = 0.8,
                                          .output_cv = 0.5});
    moments prompt, output;
    measure(w, 42, &prompt, &output);
    assert_near(prompt.mean, 755.5, 4 * 0.8 * 755.5 / sqrt(N));
    assert_near(output.mean, 200.3, 4 * 0.5 * 200.3 / sqrt(N));
    assert_near(prompt.cv, 0.8, 0.02);
    assert_near(output.cv, 0.5, 0.01);
    workload_free(w);
    w = made((workload_options){.kind = WORKLOAD_LOGNORMAL, .prompt_mean = 50, .output_mean = 20});
    assert_int_equal(workload_at(w, 1, 1).prompt_tokens, 50); /* without variation: the mean */
    workload_free(w);
}

static void the_first_lengths_of_seed_1_stay_what_they_are(void **state) {
    (void)state;
    workload_options opt;
    assert_int_equal(workload_named("chatbot", &opt, NULL), ST_OK);
    workload *w = made(opt);
    static const uint32_t prompts[] = {225, 991, 675}, outputs[] = {168, 203, 254};
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(workload_at(w, 1, i).prompt_tokens, prompts[i]);
        assert_int_equal(workload_at(w, 1, i).output_tokens, outputs[i]);
    }
    workload_free(w);
}

static void lengths_are_scaled_then_clipped(void **state) {
    (void)state;
    workload_options opt = {.kind = WORKLOAD_LOGNORMAL,
                            .prompt_mean = 800,
                            .output_mean = 200,
                            .prompt_cv = 0.8,
                            .output_cv = 0.8};
    workload *whole = made(opt);
    opt.prompt_scale = 0.25;
    opt.prompt_min = 100, opt.prompt_max = 256;
    opt.output_max = 64;
    workload *w = made(opt);
    uint32_t least = 0, most = 0, between = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        uint32_t n = workload_at(w, 1, i).prompt_tokens;
        assert_in_range(n, 100, 256);
        least += n == 100;
        most += n == 256;
        if (n == 100 || n == 256) continue;
        between++;
        assert_near(n, workload_at(whole, 1, i).prompt_tokens / 4.0, 0.63);
        assert_true(workload_at(w, 1, i).output_tokens <= 64);
    }
    assert_true(least > 100 && most > 100 && between > 300);
    workload_free(w);
    workload_free(whole);
}

static void both_sides_and_all_seeds_are_drawn_apart(void **state) {
    (void)state;
    workload *w = made((workload_options){.kind = WORKLOAD_UNIFORM,
                                          .prompt_mean = 1000,
                                          .output_mean = 1000,
                                          .prompt_range = 0.5,
                                          .output_range = 0.5});
    uint32_t equal = 0, same = 0;
    double product = 0;
    for (uint32_t i = 0; i < 10000; i++) {
        workload_item a = workload_at(w, 1, i), b = workload_at(w, 2, i);
        equal += a.prompt_tokens == a.output_tokens;
        same += a.prompt_tokens == b.prompt_tokens;
        product += (a.prompt_tokens - 1000.0) * (a.output_tokens - 1000.0);
    }
    assert_true(equal < 30); /* 10 expected */
    assert_true(same < 30);
    assert_near(product / 10000 / (1001.0 * 1001 / 12), 0, 0.04); /* 4 standard errors of a correlation */
    workload_free(w);
}

static void prompts_are_as_long_as_said_and_within_the_ids(void **state) {
    (void)state;
    workload *w = made((workload_options){
        .kind = WORKLOAD_UNIFORM, .prompt_mean = 20, .output_mean = 1, .prompt_range = 0.9});
    int32_t ids[64];
    for (uint32_t i = 0; i < 500; i++) {
        for (uint32_t k = 0; k < 64; k++) ids[k] = -7;
        uint32_t n = workload_at(w, 8, i).prompt_tokens;
        workload_prompt(w, 8, i, 1000, 1010, ids);
        for (uint32_t k = 0; k < n; k++) assert_in_range(ids[k], 1000, 1010);
        assert_int_equal(ids[n], -7);
    }
    workload_free(w);
}

static void assert_refused(workload_options opt, const char *text) {
    workload *w = NULL;
    errbuf eb = {0};
    assert_int_equal(workload_new(&w, &opt, &eb), ST_INVALID);
    assert_string_equal(eb.text, text);
    assert_null(w);
}

static void options_out_of_range_are_refused(void **state) {
    (void)state;
    workload_options good = {.kind = WORKLOAD_LOGNORMAL, .prompt_mean = 10, .output_mean = 10}, bad = good;
    bad.prompt_mean = 0;
    assert_refused(bad, "mean prompt length 0: want a number above 0, at most 16777216");
    bad.prompt_mean = NAN;
    bad.kind = WORKLOAD_FIXED;
    assert_refused(bad, "mean prompt length nan: want a number above 0, at most 16777216");
    bad = good, bad.output_mean = 1e9;
    assert_refused(bad, "mean output length 1e+09: want a number above 0, at most 16777216");
    bad = good, bad.output_cv = -1;
    assert_refused(bad, "coefficient of variation -1 of the output length: want 0 to 100");
    bad = good, bad.kind = WORKLOAD_UNIFORM, bad.prompt_range = 1.5;
    assert_refused(bad, "range ratio 1.5 of the prompt length: want 0 to 1");
    bad = good, bad.prompt_scale = -2;
    assert_refused(bad, "prompt lengths times -2: want a factor above 0");
    bad = good, bad.prompt_min = 20, bad.prompt_max = 10;
    assert_refused(bad, "prompt lengths from 20 to 10: the smallest is above the largest");
    bad = good, bad.output_max = WORKLOAD_TOKENS_MAX + 1;
    assert_refused(bad, "output lengths from 0 to 16777217: want at most 16777216");
    bad = good, bad.kind = WORKLOAD_TRACE;
    assert_refused(bad, "a trace without a path");
}

static void the_applications_of_distserve_have_their_published_means_and_limits(void **state) {
    (void)state;
    static const struct {
        const char *name;
        double prompt, output;
    } means[] = {{"chatbot", 755.5, 200.3}, {"code", 171.3, 98.2}, {"summary", 1738.3, 90.7}};
    for (uint32_t i = 0; i < 3; i++) {
        workload_options opt;
        assert_int_equal(workload_named(means[i].name, &opt, NULL), ST_OK);
        assert_int_equal(opt.kind, WORKLOAD_LOGNORMAL);
        assert_true(opt.prompt_mean == means[i].prompt);
        assert_true(opt.output_mean == means[i].output);
        workload_free(made(opt));
    }
    uint32_t count;
    const workload_slo *slos = workload_slos(&count);
    assert_int_equal(count, 5);
    for (uint32_t i = 0; i < count; i++) {
        workload_options opt;
        assert_int_equal(workload_named(slos[i].workload, &opt, NULL), ST_OK);
        assert_ptr_equal(workload_slo_named(slos[i].name), &slos[i]);
    }
    const workload_slo *slo = workload_slo_named("code-opt-66b");
    assert_true(slo->ttft_s == 0.125);
    assert_true(slo->tpot_s == 0.2);
    assert_null(workload_slo_named("code"));
}

static void the_random_workload_is_that_of_vllm(void **state) {
    (void)state;
    workload_options opt;
    assert_int_equal(workload_named("random", &opt, NULL), ST_OK);
    workload *w = made(opt);
    assert_int_equal(workload_at(w, 0, 77).prompt_tokens, 1024);
    assert_int_equal(workload_at(w, 0, 77).output_tokens, 128);
    workload_free(w);
}

static void an_unknown_name_lists_those_that_there_are(void **state) {
    (void)state;
    workload_options opt;
    errbuf eb = {0};
    assert_int_equal(workload_named("chat", &opt, &eb), ST_INVALID);
    assert_string_equal(eb.text,
                        "workload 'chat': want chatbot, code, summary, random or the path of a file");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixed_lengths_are_the_mean),
        cmocka_unit_test(uniform_lengths_reach_both_ends_as_vllm_has_them),
        cmocka_unit_test(lognormal_lengths_have_the_mean_and_the_coefficient_of_variation),
        cmocka_unit_test(the_first_lengths_of_seed_1_stay_what_they_are),
        cmocka_unit_test(lengths_are_scaled_then_clipped),
        cmocka_unit_test(both_sides_and_all_seeds_are_drawn_apart),
        cmocka_unit_test(prompts_are_as_long_as_said_and_within_the_ids),
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(the_applications_of_distserve_have_their_published_means_and_limits),
        cmocka_unit_test(the_random_workload_is_that_of_vllm),
        cmocka_unit_test(an_unknown_name_lists_those_that_there_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
