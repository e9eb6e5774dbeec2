/* Warm-up, growth, drift and batch means on series whose answer is known. */
#include "bench/stats/steady.h"

#include "base/mem.h"
#include "base/mix.h"
#include "tests/test.h"

#include <math.h>
#include <string.h>

#define NEAR(a, b) assert_true(fabs((double)(a) - (b)) <= 1e-12 * fmax(1, fabs((double)(b))))

/* Uniform in (0, 1) */
static double uniform(uint64_t *x) {
    *x += MIX64_STEP;
    return ((double)(mix64(*x) >> 11) + 0.5) * 0x1p-53;
}

static void a_transient_is_cut_where_it_ends(void **state) {
    (void)state;
    double x[1000];
    uint64_t seed = 1;
    for (uint32_t i = 0; i < 1000; i++) x[i] = (i < 200 ? 50 : 0) + uniform(&seed);
    size_t cut = 0;
    assert_true(steady_mser5(x, 1000, &cut));
    assert_in_range(cut, 200, 300);
}

static void a_constant_series_needs_no_cut(void **state) {
    (void)state;
    double x[400];
    for (uint32_t i = 0; i < 400; i++) x[i] = 3;
    size_t cut = 9;
    assert_true(steady_mser5(x, 400, &cut));
    assert_int_equal(cut, 0);
}

/* Exponential values as latencies have them: of the shortest series that is judged, few are misjudged. */
static void a_short_series_without_a_transient_is_seldom_cut_beyond_its_half(void **state) {
    (void)state;
    uint64_t seed = 2;
    uint32_t wrong = 0;
    for (uint32_t run = 0; run < 1000; run++) {
        double x[STEADY_MSER_LEAST];
        size_t cut;
        for (uint32_t i = 0; i < STEADY_MSER_LEAST; i++) x[i] = -log(uniform(&seed));
        wrong += !steady_mser5(x, STEADY_MSER_LEAST, &cut);
    }
    assert_in_range(wrong, 0, 50);
}

static void a_series_that_grows_to_its_end_reaches_no_steady_state(void **state) {
    (void)state;
    double x[500];
    for (uint32_t i = 0; i < 500; i++) x[i] = i < 400 ? i : 400;
    size_t cut = 77;
    assert_false(steady_mser5(x, 500, &cut));
    assert_false(steady_mser5(x, STEADY_MSER_LEAST - 1, &cut));
    assert_int_equal(cut, 77);
}

static void warm_up_is_the_latest_of_four(void **state) {
    (void)state;
    assert_true(steady_warmup_s(1, 2, 3) == 30);
    assert_true(steady_warmup_s(7, 2, 3) == 35);
    assert_true(steady_warmup_s(7, 41, 3) == 41);
    assert_true(steady_warmup_s(7, 41, 43) == 43);
    assert_true(isnan(steady_warmup_s(1, NAN, 3)));
}

static void in_flight_is_what_overlaps(void **state) {
    (void)state;
    const double begin[] = {0, 1, 5}, end[] = {2, INFINITY, 6};
    NEAR(steady_in_flight(begin, end, 3, 0, 4), (2 + 3) / 4.0);
    NEAR(steady_in_flight(begin, end, 3, 4, 8), (4 + 1) / 4.0);
    NEAR(steady_in_flight(begin, end, 0, 4, 8), 0);
}

static void growth_beyond_chance_is_unstable(void **state) {
    (void)state;
    growth g = steady_growth(10, 110, 1500, 1);
    NEAR(g.g, 0.1);
    NEAR(g.limit, 2.33 * sqrt(2.0 / 1500));
    assert_true(g.unstable == (g.g > g.limit));
    assert_true(g.unstable);
    g = steady_growth(10, 90, 1500, 1);
    NEAR(g.g, 0.08);
    assert_false(g.unstable);
    g = steady_growth(10, 60, 1000000, 0);
    assert_true(g.limit == 0.02);
    assert_false(steady_growth(10, 0, 1000, 1).unstable);
    assert_false(steady_growth(0, 0, 0, 1).unstable);
}

/* D/D/1: an arrival per second that takes `service` seconds. */
static growth queue_growth(double service) {
    static double begin[6000], end[6000];
    double free_at = 0;
    for (uint32_t i = 0; i < 6000; i++) {
        begin[i] = i;
        free_at = fmax(free_at, begin[i]) + service;
        end[i] = free_at;
    }
    return steady_growth_of(begin, end, 6000, 600, 5400, 1);
}

static void a_queue_that_is_overloaded_by_a_tenth_grows_by_a_tenth(void **state) {
    (void)state;
    growth g = queue_growth(1 / 0.9);
    assert_true(fabs(g.g - 0.1) < 0.001);
    assert_true(g.unstable);
    g = queue_growth(0.99);
    assert_true(fabs(g.g) < 0.001);
    assert_false(g.unstable);
}

/* p by pymannkendall, where its factor is no less than 1; else that of the test without correction. */
static void trends_have_the_p_of_mann_and_kendall(void **state) {
    (void)state;
    double rising[20], saw[20];
    for (uint32_t i = 0; i < 20; i++) {
        rising[i] = i;
        saw[i] = 20.0 - i + i % 3;
    }
    const double mixed[] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4};
    const double walk[] = {-6.0, 3.2,   -5.44, -6.35, -12.08, -4.67, 0.27, 5.21,  14.17, 13.34,
                           6.67, -1.66, 3.67,  -7.07, -3.65,  0.08,  9.06, -2.75, 1.8,   -0.56};
    NEAR(steady_mann_kendall(rising, 20), 8.67976357454836e-10);
    NEAR(steady_mann_kendall(mixed, 20), 0.2009462268643072);
    NEAR(steady_mann_kendall(saw, 20), 2.1145439843550662e-07);
    NEAR(steady_mann_kendall(walk, 20), 0.31452486905097254);
}

static void what_is_all_equal_or_too_short_has_no_trend(void **state) {
    (void)state;
    const double same[] = {2, 2, 2, 2, 2, 2};
    assert_true(steady_mann_kendall(same, 6) == 1);
    assert_true(steady_mann_kendall((const double[]){1, 2, 3}, 3) == 1);
    assert_true(steady_drift(same, 6).p == 1);
    assert_false(steady_drift(same, 6).drifts);
}

static void a_trend_is_a_drift_only_from_five_percent(void **state) {
    (void)state;
    double x[400];
    for (uint32_t i = 0; i < 400; i++) x[i] = 100 + 0.01 * i; /* 3.8 % from first to last batch */
    drift d = steady_drift(x, 400);
    assert_true(d.p < 0.01);
    assert_true(fabs(d.change - 0.038) < 0.001);
    assert_false(d.drifts);
    for (uint32_t i = 0; i < 400; i++) x[i] = 100 - 0.02 * i;
    d = steady_drift(x, 400);
    assert_true(d.change < -0.05);
    assert_true(d.drifts);
}

static void noise_is_no_drift(void **state) {
    (void)state;
    uint32_t alarms = 0;
    uint64_t seed = 7;
    for (uint32_t trial = 0; trial < 1000; trial++) {
        double x[20];
        for (uint32_t i = 0; i < 20; i++) x[i] = 1 + uniform(&seed);
        alarms += steady_drift(x, 20).drifts;
    }
    assert_in_range(alarms, 1, 15);
}

static void batches_leave_out_the_first_few(void **state) {
    (void)state;
    const double x[] = {99, 1, 2, 3, 4, 5, 6};
    double means[3];
    steady_batch_means(x, 7, 3, means);
    assert_true(means[0] == 1.5);
    assert_true(means[1] == 3.5);
    assert_true(means[2] == 5.5);
}

static void independent_values_have_no_inflation_and_repeated_ones_have(void **state) {
    (void)state;
    static double x[20000];
    uint64_t seed = 3;
    for (uint32_t i = 0; i < 20000; i++) x[i] = uniform(&seed);
    batches b = steady_batches(x, 20000);
    assert_true(b.vif > 0.4);
    assert_true(b.vif < 2);
    assert_true(b.mean.low < 0.5);
    assert_true(b.mean.high > 0.5);
    assert_int_equal(b.mean.n, 20);
    for (uint32_t i = 0; i < 20000; i++) x[i] = i % 10 ? x[i - 1] : x[i]; /* ten times each */
    b = steady_batches(x, 20000);
    assert_true(b.vif > 4);
    assert_true(b.vif < 20);
    NEAR(b.n_eff, 20000 / b.vif);
}

static void inflation_is_a_ratio_of_variances(void **state) {
    (void)state;
    double x[40];
    for (uint32_t i = 0; i < 40; i++) x[i] = i / 2 % 2; /* batches of two: 0, 1, 0, 1, ... */
    batches b = steady_batches(x, 40);
    NEAR(b.mean.mean, 0.5);
    NEAR(b.vif, (20 * 0.25 / 19) / ((40 * 0.25 / 39) / 2));
    NEAR(b.mean.high - 0.5, 2.0930240544083087 * sqrt(20 * 0.25 / 19) / sqrt(20));
}

static void a_short_run_has_no_batches(void **state) {
    (void)state;
    const double x[] = {1, 2, 3};
    batches b = steady_batches(x, 3);
    NEAR(b.mean.mean, 2);
    assert_true(isnan(b.mean.low));
    assert_true(b.vif == 1);
    assert_true(b.n_eff == 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_transient_is_cut_where_it_ends),
        cmocka_unit_test(a_constant_series_needs_no_cut),
        cmocka_unit_test(a_short_series_without_a_transient_is_seldom_cut_beyond_its_half),
        cmocka_unit_test(a_series_that_grows_to_its_end_reaches_no_steady_state),
        cmocka_unit_test(warm_up_is_the_latest_of_four),
        cmocka_unit_test(in_flight_is_what_overlaps),
        cmocka_unit_test(growth_beyond_chance_is_unstable),
        cmocka_unit_test(a_queue_that_is_overloaded_by_a_tenth_grows_by_a_tenth),
        cmocka_unit_test(trends_have_the_p_of_mann_and_kendall),
        cmocka_unit_test(what_is_all_equal_or_too_short_has_no_trend),
        cmocka_unit_test(a_trend_is_a_drift_only_from_five_percent),
        cmocka_unit_test(noise_is_no_drift),
        cmocka_unit_test(batches_leave_out_the_first_few),
        cmocka_unit_test(independent_values_have_no_inflation_and_repeated_ones_have),
        cmocka_unit_test(inflation_is_a_ratio_of_variances),
        cmocka_unit_test(a_short_run_has_no_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
