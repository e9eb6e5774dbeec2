/* Random numbers and arrivals: exact first values, moments with a fixed seed, and how times scale. */
#include "bench/workload/arrivals.h"

#include "bench/workload/draw.h"

#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N 100000u

static const arrivals_options POISSON = {.kind = ARRIVALS_GAMMA, .burstiness = 1};

static void make(double *at_s, uint32_t count, const arrivals_options *opt, double rate, uint64_t seed) {
    errbuf eb = {0};
    if (arrivals_make(at_s, count, opt, rate, seed, &eb) != ST_OK) fail_msg("%s", eb.text);
}

static void assert_near(double is, double want, double tolerance) {
    if (!(fabs(is - want) <= tolerance)) fail_msg("%.12g is not %.12g +- %g", is, want, tolerance);
}

static void a_generator_is_a_function_of_seed_index_and_stream(void **state) {
    (void)state;
    draw d = draw_begin(1, 2, DRAW_GAP), same = draw_begin(1, 2, DRAW_GAP);
    uint64_t first = draw_bits(&d);
    assert_true(first == 0x11b09ca6ac10278b);
    assert_true(draw_bits(&same) == first);
    draw other[] = {draw_begin(2, 2, DRAW_GAP), draw_begin(1, 3, DRAW_GAP), draw_begin(1, 2, DRAW_PROMPT)};
    for (uint32_t i = 0; i < 3; i++) assert_true(draw_bits(&other[i]) != first);
}

static void uniform_numbers_lie_within_and_are_even(void **state) {
    (void)state;
    draw d = draw_begin(7, 0, DRAW_GAP);
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < N; i++) {
        double u = draw_uniform(&d);
        assert_true(u > 0 && u < 1);
        sum += u;
        squares += u * u;
    }
    assert_near(sum / N, 0.5, 0.004); /* 4 standard errors */
    assert_near(squares / N, 1.0 / 3, 0.004);
}

static void numbers_below_n_reach_every_value_alike(void **state) {
    (void)state;
    draw d = draw_begin(7, 0, DRAW_GAP);
    uint32_t seen[7] = {0};
    for (uint32_t i = 0; i < 70000; i++) seen[draw_below(&d, 7)]++;
    for (uint32_t i = 0; i < 7; i++) assert_in_range(seen[i], 9630, 10370); /* 4 deviations of 93 */
    for (uint32_t i = 0; i < 100; i++) assert_true(draw_below(&d, 1) == 0);
}

static void normal_numbers_have_mean_0_and_deviation_1(void **state) {
    (void)state;
    double sum = 0, squares = 0, fourth = 0;
    for (uint32_t i = 0; i < N; i++) {
        draw d = draw_begin(11, i, DRAW_PROMPT_LENGTH); /* one generator per number, as lengths are drawn */
        double x = draw_normal(&d);
        sum += x;
        squares += x * x;
        fourth += x * x * x * x;
    }
    assert_near(sum / N, 0, 0.0127);
    assert_near(squares / N, 1, 0.018);
    assert_near(fourth / N, 3, 0.13);
}

static void gaps_have_mean_1_and_variance_1_over_burstiness(void **state) {
    (void)state;
    static const double shapes[] = {0.25, 0.5, 1, 2, 10, 400};
    double *at_s = malloc(N * sizeof *at_s);
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        arrivals_options opt = {.kind = ARRIVALS_GAMMA, .burstiness = shapes[k]};
        make(at_s, N, &opt, 1, 3);
        double squares = 0, before = 0, mean = at_s[N - 1] / N;
        for (uint32_t i = 0; i < N; i++) {
            assert_true(at_s[i] > before || (i && shapes[k] < 1 && at_s[i] == before));
            squares += (at_s[i] - before) * (at_s[i] - before);
            before = at_s[i];
        }
        double variance = squares / N - mean * mean, error = sqrt(1 / shapes[k] / N);
        assert_near(mean, 1, 4 * error);
        /* The variance of a sample variance is (kurtosis - 1) s^4 / n; a gamma's kurtosis is 3 + 6 / shape.
         */
        assert_near(variance * shapes[k], 1, 4 * sqrt((2 + 6 / shapes[k]) / N));
    }
    free(at_s);
}

static void poisson_gaps_are_exponential(void **state) {
    (void)state;
    double *at_s = malloc(N * sizeof *at_s);
    make(at_s, N, &POISSON, 1, 5);
    static const double quantiles[] = {0.1, 0.5, 0.9, 0.99};
    for (size_t k = 0; k < 4; k++) {
        uint32_t below = 0;
        for (uint32_t i = 0; i < N; i++) below += at_s[i] - (i ? at_s[i - 1] : 0) <= -log(1 - quantiles[k]);
        assert_near((double)below / N, quantiles[k], 4 * sqrt(quantiles[k] * (1 - quantiles[k]) / N));
    }
    free(at_s);
}

static void the_first_gaps_of_seed_1_stay_what_they_are(void **state) {
    (void)state;
    double at_s[3];
    make(at_s, 3, &POISSON, 1, 1);
    assert_near(at_s[0], 1.006779133386358, 1e-12);
    assert_near(at_s[1], 1.3706282510610703, 1e-12);
    assert_near(at_s[2], 4.0428123883194065, 1e-12);
    arrivals_options bursty = {.kind = ARRIVALS_GAMMA, .burstiness = 0.5};
    make(at_s, 3, &bursty, 1, 1);
    assert_near(at_s[0], 3.613604483173172, 1e-12);
    assert_near(at_s[2], 3.8355513456946837, 1e-12);
}

static void times_scale_exactly_with_the_rate(void **state) {
    (void)state;
    double slow[1000], fast[1000], odd[1000];
    make(slow, 1000, &POISSON, 0.5, 9);
    make(fast, 1000, &POISSON, 8, 9);
    make(odd, 1000, &POISSON, 3, 9);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_true(slow[i] == 16 * fast[i]);
        assert_near(odd[i] * 3, slow[i] / 2, 1e-12 * slow[i]);
    }
}

static void a_longer_sequence_begins_with_the_shorter_one(void **state) {
    (void)state;
    double few[10], many[500], other[10];
    make(few, 10, &POISSON, 2, 4);
    make(many, 500, &POISSON, 2, 4);
    make(other, 10, &POISSON, 2, 5);
    assert_memory_equal(few, many, sizeof few);
    assert_memory_not_equal(few, other, sizeof few);
}

static void constant_arrivals_are_one_gap_apart(void **state) {
    (void)state;
    double constant[100], infinite[100];
    arrivals_options opt = {.kind = ARRIVALS_CONSTANT};
    make(constant, 100, &opt, 4, 1);
    for (uint32_t i = 0; i < 100; i++) assert_true(constant[i] == (i + 1) / 4.0);
    opt = (arrivals_options){.kind = ARRIVALS_GAMMA, .burstiness = INFINITY};
    make(infinite, 100, &opt, 4, 1);
    assert_memory_equal(constant, infinite, sizeof constant);
}

static void an_infinite_rate_puts_all_at_zero(void **state) {
    (void)state;
    double at_s[5] = {1, 1, 1, 1, 1};
    make(at_s, 5, &POISSON, INFINITY, 1);
    for (uint32_t i = 0; i < 5; i++) assert_true(at_s[i] == 0);
}

static void ramps_follow_the_request_number_as_vllm_has_it(void **state) {
    (void)state;
    double at_s[5];
    arrivals_options opt = {
        .kind = ARRIVALS_RAMP_LINEAR, .burstiness = INFINITY, .ramp_from = 1, .ramp_to = 5};
    make(at_s, 5, &opt, 1, 1); /* rates 1 2 3 4 5 */
    assert_near(at_s[4], 1 + 1 / 2.0 + 1 / 3.0 + 1 / 4.0 + 1 / 5.0, 1e-12);
    opt = (arrivals_options){
        .kind = ARRIVALS_RAMP_EXPONENTIAL, .burstiness = INFINITY, .ramp_from = 1, .ramp_to = 16};
    make(at_s, 5, &opt, 2, 1); /* rates 2 4 8 16 32 */
    assert_near(at_s[4], 31 / 32.0, 1e-12);
    make(at_s, 1, &opt, 1, 1);
    assert_near(at_s[0], 1, 1e-12);
    double poisson[2];
    opt.burstiness = 1;
    make(at_s, 2, &opt, 1, 6);
    make(poisson, 2, &POISSON, 1, 6);
    assert_near(at_s[1], poisson[0] + (poisson[1] - poisson[0]) / 16, 1e-12);
}

static void rescaled_the_last_arrival_is_at_count_over_rate(void **state) {
    (void)state;
    double at_s[50], before[50];
    make(before, 50, &POISSON, 7, 2);
    memcpy(at_s, before, sizeof at_s);
    arrivals_rescale(at_s, 50, 7);
    assert_near(at_s[49], 50 / 7.0, 1e-12);
    assert_near(at_s[20] / at_s[49], before[20] / before[49], 1e-12);
    double zeros[2] = {0, 0};
    arrivals_rescale(zeros, 2, 7);
    assert_true(zeros[1] == 0);
    arrivals_rescale(zeros, 0, 7);
}

static void assert_refused(arrivals_options opt, uint32_t count, double rate, const char *why) {
    double at_s[4];
    errbuf eb = {0};
    assert_int_equal(arrivals_make(at_s, count, &opt, rate, 1, &eb), ST_INVALID);
    if (!strstr(eb.text, why)) fail_msg("'%s' does not say '%s'", eb.text, why);
}

static void options_out_of_range_are_refused(void **state) {
    (void)state;
    assert_refused(POISSON, 4, 0, "0 requests per second");
    assert_refused(POISSON, 4, -1, "-1 requests per second");
    assert_refused(POISSON, 4, NAN, "requests per second");
    assert_refused(POISSON, ARRIVALS_COUNT_MAX + 1, 1, "want at most");
    assert_refused((arrivals_options){.kind = ARRIVALS_GAMMA}, 4, 1, "burstiness 0: want at least 0.001");
    assert_refused((arrivals_options){.kind = ARRIVALS_GAMMA, .burstiness = NAN}, 4, 1, "burstiness");
    assert_refused((arrivals_options){.kind = ARRIVALS_GAMMA, .burstiness = -1}, 4, 1, "burstiness -1");
    arrivals_options ramp = {.kind = ARRIVALS_RAMP_LINEAR, .burstiness = 1, .ramp_from = 1, .ramp_to = 2};
    assert_refused(ramp, 4, INFINITY, "want a finite request rate");
    ramp.ramp_from = 0;
    assert_refused(ramp, 4, 1, "the ramp starts at 0 requests per second");
    ramp.ramp_from = 1, ramp.ramp_to = INFINITY;
    assert_refused(ramp, 4, 1, "the ramp ends at inf requests per second");
}

static void a_stream_gives_the_times_of_the_sequence_one_by_one(void **state) {
    (void)state;
    const arrivals_options all[] = {
        POISSON, {.kind = ARRIVALS_GAMMA, .burstiness = .5}, {.kind = ARRIVALS_CONSTANT}};
    for (uint32_t k = 0; k < 3; k++) {
        double at_s[1000];
        make(at_s, 1000, &all[k], 7, 3);
        arrivals_stream s;
        assert_int_equal(arrivals_begin(&s, &all[k], NULL, 7, 3, NULL), ST_OK);
        for (uint32_t i = 0; i < 1000; i++) assert_true(arrivals_next(&s) == at_s[i]);
    }
    arrivals_stream s;
    errbuf eb = {0};
    assert_int_equal(arrivals_begin(&s, &POISSON, NULL, INFINITY, 1, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "finite"));
    const arrivals_options ramp = {.kind = ARRIVALS_RAMP_LINEAR, 1, 1, 2};
    assert_int_equal(arrivals_begin(&s, &ramp, NULL, 1, 1, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "ramp"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_generator_is_a_function_of_seed_index_and_stream),
        cmocka_unit_test(uniform_numbers_lie_within_and_are_even),
        cmocka_unit_test(numbers_below_n_reach_every_value_alike),
        cmocka_unit_test(normal_numbers_have_mean_0_and_deviation_1),
        cmocka_unit_test(gaps_have_mean_1_and_variance_1_over_burstiness),
        cmocka_unit_test(poisson_gaps_are_exponential),
        cmocka_unit_test(the_first_gaps_of_seed_1_stay_what_they_are),
        cmocka_unit_test(times_scale_exactly_with_the_rate),
        cmocka_unit_test(a_longer_sequence_begins_with_the_shorter_one),
        cmocka_unit_test(constant_arrivals_are_one_gap_apart),
        cmocka_unit_test(an_infinite_rate_puts_all_at_zero),
        cmocka_unit_test(ramps_follow_the_request_number_as_vllm_has_it),
        cmocka_unit_test(rescaled_the_last_arrival_is_at_count_over_rate),
        cmocka_unit_test(a_stream_gives_the_times_of_the_sequence_one_by_one),
        cmocka_unit_test(options_out_of_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
