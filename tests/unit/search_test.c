/* The highest rate that meets a target, and ratios of two. */
#include "bench/stats/search.h"

#include "base/mem.h"
#include "bench/stats/bootstrap.h"
#include "tests/test.h"

#include <math.h>
#include <string.h>

#define NEAR(a, b) assert_true(fabs((double)(a) - (b)) <= 1e-12 * fmax(1, fabs((double)(b))))

static rate_point point(double rate, double mean, double half) {
    return (rate_point){rate, {mean, mean - half, mean + half, 5}, false};
}

static void the_example(rate_point *p) {
    p[0] = point(4, .99, .01);
    p[1] = point(5, .97, .01);
    p[2] = point(6, .92, .015);
    p[3] = point(7, .86, .02);
    p[4] = point(8, .60, .05);
}

static void the_example_passes_6_fails_7_and_crosses_at_6_333(void **state) {
    (void)state;
    rate_point p[5];
    the_example(p);
    const verdict want[] = {VERDICT_PASS, VERDICT_PASS, VERDICT_PASS, VERDICT_FAIL, VERDICT_FAIL};
    for (size_t i = 0; i < 5; i++) assert_int_equal(search_judge(&p[i], 0.9), want[i]);
    search_result r = search_goodput(p, 5, 0.9);
    assert_true(r.pass == 6);
    assert_true(r.fail == 7);
    NEAR(r.crossing, 6 + 1.0 / 3);
    assert_true(r.low >= 6);
    assert_true(r.low < r.crossing);
    assert_true(r.high <= 7);
    assert_true(r.high > r.crossing);
    assert_false(r.contradiction);
    char text[32];
    assert_string_equal(search_text(&r, 1, text, sizeof text), "6.33");
    assert_string_equal(search_text(&r, 2, text, sizeof text), "3.17");
}

static void bounds_on_the_target_pass_and_their_neighbours_do_not(void **state) {
    (void)state;
    rate_point p = {1, {0.95, 0.9, 1, 5}, false};
    assert_int_equal(search_judge(&p, 0.9), VERDICT_PASS);
    p.attainment.low = 0.8999;
    assert_int_equal(search_judge(&p, 0.9), VERDICT_UNDECIDED);
    p.attainment.high = 0.9;
    assert_int_equal(search_judge(&p, 0.9), VERDICT_UNDECIDED);
    p.attainment.high = 0.8999;
    assert_int_equal(search_judge(&p, 0.9), VERDICT_FAIL);
}

static void without_an_interval_a_point_is_undecided_unless_unstable(void **state) {
    (void)state;
    rate_point p = {1, {1, NAN, NAN, 1}, false};
    assert_int_equal(search_judge(&p, 0.9), VERDICT_UNDECIDED);
    p.unstable = true;
    assert_int_equal(search_judge(&p, 0.9), VERDICT_FAIL);
    assert_string_equal(verdict_name(VERDICT_UNDECIDED), "undecided");
}

static void pooled_values_never_rise_and_keep_their_sum(void **state) {
    (void)state;
    const double y[] = {3, 5, 4, 1, 2, 2, 0}, want[] = {4, 4, 4, 5.0 / 3, 5.0 / 3, 5.0 / 3, 0};
    double fit[7];
    search_isotonic(y, 7, fit);
    for (size_t i = 0; i < 7; i++) NEAR(fit[i], want[i]);
    search_isotonic((const double[]){7}, 1, fit);
    assert_true(fit[0] == 7);
    search_isotonic((const double[]){1, 2, 3}, 3, fit);
    for (size_t i = 0; i < 3; i++) NEAR(fit[i], 2);
}

static void off_the_grid_it_says_which_side(void **state) {
    (void)state;
    char text[32];
    rate_point low[] = {point(4, .8, .01), point(5, .7, .01)};
    search_result r = search_goodput(low, 2, 0.9);
    assert_true(r.crossing == 0);
    assert_true(isnan(r.pass));
    assert_true(r.fail == 4);
    assert_string_equal(search_text(&r, 2, text, sizeof text), "< 2");
    rate_point high[] = {point(4, .99, .001), point(5, .98, .001)};
    r = search_goodput(high, 2, 0.9);
    assert_true(isinf(r.crossing));
    assert_true(r.pass == 5);
    assert_true(isnan(r.fail));
    assert_string_equal(search_text(&r, 2, text, sizeof text), "> 2.5");
}

static void off_the_grid_by_undecided_rates_it_is_undecided(void **state) {
    (void)state;
    char text[32];
    rate_point low[] = {point(4, .88, .05), point(5, .7, .01)};
    search_result r = search_goodput(low, 2, 0.9);
    assert_true(r.crossing == 0);
    assert_true(r.fail == 5);
    assert_string_equal(search_text(&r, 2, text, sizeof text), "undecided below 2");
    rate_point high[] = {point(4, .99, .001), point(5, .92, .05)};
    r = search_goodput(high, 2, 0.9);
    assert_true(isinf(r.crossing));
    assert_true(r.pass == 4);
    assert_string_equal(search_text(&r, 2, text, sizeof text), "undecided above 2.5");
    rate_point one = {4, {0.95, NAN, NAN, 1}, false};
    r = search_goodput(&one, 1, 0.9);
    assert_string_equal(search_text(&r, 1, text, sizeof text), "undecided above 4");
}

static void exactly_the_target_at_the_last_rate_is_above_it(void **state) {
    (void)state;
    const double rates[] = {1, 2, 3};
    assert_true(isinf(search_crossing(rates, (const double[]){1, .95, .9}, 3, 0.9)));
    NEAR(search_crossing(rates, (const double[]){1, .9, .8}, 3, 0.9), 2);
    const double sum = nextafter(.9, 0); /* of five times 0.9, it may be */
    assert_true(isinf(search_crossing(rates, (const double[]){sum, sum, sum}, 3, 0.9)));
}

static void an_unstable_rate_is_no_goodput_however_good_its_answers(void **state) {
    (void)state;
    rate_point p[] = {point(4, .99, .001), point(5, .98, .001), point(6, .97, .001)};
    p[2].unstable = true;
    search_result r = search_goodput(p, 3, 0.9);
    assert_true(r.pass == 5);
    assert_true(r.fail == 6);
    assert_true(r.crossing == 6);
}

static void where_the_lowest_rate_fails_there_is_no_crossing(void **state) {
    (void)state;
    rate_point p[] = {point(4, .99, .001), point(5, .98, .001)};
    p[0].unstable = true;
    search_result r = search_goodput(p, 2, 0.9);
    assert_true(r.crossing == 0);
    assert_true(r.high == 0);
    char text[32];
    assert_string_equal(search_text(&r, 1, text, sizeof text), "< 4");
}

static void a_pass_above_a_fail_is_said_and_not_counted(void **state) {
    (void)state;
    rate_point p[] = {point(4, .99, .001), point(5, .80, .001), point(6, .95, .001)};
    search_result r = search_goodput(p, 3, 0.9);
    assert_true(r.contradiction);
    assert_true(r.pass == 4);
    assert_true(r.fail == 5);
    assert_true(r.crossing >= 4);
    assert_true(r.crossing <= 5);
}

static void a_rate_without_a_value_is_left_out(void **state) {
    (void)state;
    rate_point p[] = {point(4, 1, .001), point(5, NAN, NAN), point(6, .8, .001)};
    NEAR(search_goodput(p, 3, 0.9).crossing, 5);
    rate_point none[] = {point(4, NAN, NAN)};
    search_result r = search_goodput(none, 1, 0.9);
    assert_true(isnan(r.crossing));
    char text[32];
    assert_string_equal(search_text(&r, 1, text, sizeof text), "no value");
}

/* Bootstrap */

static const double RATES[] = {1, 2, 3, 4};
/* crossings of 0.9: 2.5, 2.25, 2.75, 2.5, 2.5 per seed */
static const double A[] = {1,    .95, .85, .5,  1,   .925, .825, .5,  1,   .975,
                           .875, .5,  1,   .95, .85, .5,   1,    .95, .85, .5};

static void a_system_against_itself_has_the_ratio_one_exactly(void **state) {
    (void)state;
    attainment_grid a = {RATES, 4, A, 2, NULL};
    ratio r = bootstrap_goodput_ratio(&a, &a, 5, 0.9, 500, 7);
    assert_true(r.mean == 1);
    assert_true(r.low == 1);
    assert_true(r.high == 1);
    assert_int_equal(r.n, 5);
}

static void twice_the_devices_halve_the_goodput_of_each(void **state) {
    (void)state;
    attainment_grid a = {RATES, 4, A, 1, NULL}, b = {RATES, 4, A, 2, NULL};
    ratio r = bootstrap_goodput_ratio(&a, &b, 5, 0.9, 500, 7);
    assert_true(r.mean == 2);
    assert_true(r.low == 2);
    assert_true(r.high == 2);
}

static void goodput_lies_within_the_crossings_of_its_seeds(void **state) {
    (void)state;
    attainment_grid a = {RATES, 4, A, 1, NULL};
    interval g = bootstrap_goodput(&a, 5, 0.9, 1000, 1);
    NEAR(g.mean, 2.5);
    assert_true(g.low >= 2.25);
    assert_true(g.low < 2.5);
    assert_true(g.high <= 2.75);
    assert_true(g.high > 2.5);
}

static void the_same_key_draws_the_same_seeds(void **state) {
    (void)state;
    attainment_grid a = {RATES, 4, A, 1, NULL};
    const double b_cells[] = {1, .93, .7, .5, 1, .91, .6, .5, 1, .96, .8, .5, 1, .92, .7, .5, 1, .95, .7, .5};
    attainment_grid b = {RATES, 4, b_cells, 1, NULL};
    ratio x = bootstrap_goodput_ratio(&a, &b, 5, 0.9, 400, 3);
    ratio y = bootstrap_goodput_ratio(&a, &b, 5, 0.9, 400, 3);
    assert_memory_equal(&x, &y, offsetof(ratio, n)); /* behind it there is padding */
    assert_int_equal(x.n, y.n);
    assert_true(x.low <= x.mean);
    assert_true(x.mean <= x.high);
    assert_true(x.mean > 1);
}

static void off_its_grid_a_ratio_is_open_at_that_end(void **state) {
    (void)state;
    const double all[] = {1, 1, 1, 1, 1, 1, 1, 1};
    attainment_grid above = {RATES, 4, all, 1, NULL}, a = {RATES, 4, A, 1, NULL};
    ratio r = bootstrap_goodput_ratio(&above, &a, 2, 0.9, 200, 1);
    assert_true(isnan(r.mean));
    assert_true(r.low >= 4 / 2.75);
    assert_true(isinf(r.high));
    const double none[] = {.1, .1, .1, .1, .1, .1, .1, .1};
    attainment_grid below = {RATES, 4, none, 1, NULL};
    r = bootstrap_goodput_ratio(&below, &a, 2, 0.9, 200, 1);
    assert_true(isnan(r.mean));
    assert_true(r.low == 0);
    assert_true(r.high <= 1 / 2.25);
    r = bootstrap_goodput_ratio(&above, &above, 2, 0.9, 200, 1);
    assert_true(r.low == 0);
    assert_true(isinf(r.high));
}

static void a_cell_that_was_not_measured_is_left_out_of_its_rates_mean(void **state) {
    (void)state;
    const double cells[] = {1, NAN, .8, .5, 1, NAN, .8, .5};
    attainment_grid a = {RATES, 4, cells, 1, NULL};
    NEAR(bootstrap_goodput(&a, 2, 0.9, 50, 1).mean, 2);
}

static void no_goodput_lies_beyond_an_unstable_rate(void **state) {
    (void)state;
    const double all[] = {1, 1, 1, 1, 1, 1, 1, 1};
    const bool third[] = {false, false, true, false}, first[] = {true, false, false, false};
    attainment_grid a = {RATES, 4, all, 2, third};
    interval g = bootstrap_goodput(&a, 2, 0.9, 100, 1);
    assert_true(g.mean == 1.5);
    assert_true(g.low == 1.5);
    assert_true(g.high == 1.5);
    a.unstable = first;
    g = bootstrap_goodput(&a, 2, 0.9, 100, 1);
    assert_true(isnan(g.mean));
    assert_true(g.low == 0);
    assert_true(g.high == 0.5);
}

static void paired_means_have_no_spread_where_the_ratio_has_none(void **state) {
    (void)state;
    const double a[] = {2, 4, 6, 8}, b[] = {1, 2, 3, 4};
    ratio r = bootstrap_mean_ratio(a, b, 4, 500, 9);
    assert_true(r.mean == 2);
    assert_true(r.low == 2);
    assert_true(r.high == 2);
    r = bootstrap_mean_ratio(a, b, 1, 500, 9);
    assert_true(r.mean == 2);
    assert_true(isnan(r.low));
}

/* Of a resample of two seeds a quarter is twice the first, a quarter twice the second. */
static void resamples_are_spread_evenly(void **state) {
    (void)state;
    const double a[] = {1, 3}, b[] = {1, 1};
    ratio r = bootstrap_mean_ratio(a, b, 2, 4000, 5);
    assert_true(r.low == 1);
    assert_true(r.high == 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_passes_6_fails_7_and_crosses_at_6_333),
        cmocka_unit_test(bounds_on_the_target_pass_and_their_neighbours_do_not),
        cmocka_unit_test(without_an_interval_a_point_is_undecided_unless_unstable),
        cmocka_unit_test(pooled_values_never_rise_and_keep_their_sum),
        cmocka_unit_test(off_the_grid_it_says_which_side),
        cmocka_unit_test(off_the_grid_by_undecided_rates_it_is_undecided),
        cmocka_unit_test(exactly_the_target_at_the_last_rate_is_above_it),
        cmocka_unit_test(an_unstable_rate_is_no_goodput_however_good_its_answers),
        cmocka_unit_test(where_the_lowest_rate_fails_there_is_no_crossing),
        cmocka_unit_test(a_pass_above_a_fail_is_said_and_not_counted),
        cmocka_unit_test(a_rate_without_a_value_is_left_out),
        cmocka_unit_test(a_system_against_itself_has_the_ratio_one_exactly),
        cmocka_unit_test(twice_the_devices_halve_the_goodput_of_each),
        cmocka_unit_test(goodput_lies_within_the_crossings_of_its_seeds),
        cmocka_unit_test(the_same_key_draws_the_same_seeds),
        cmocka_unit_test(off_its_grid_a_ratio_is_open_at_that_end),
        cmocka_unit_test(a_cell_that_was_not_measured_is_left_out_of_its_rates_mean),
        cmocka_unit_test(no_goodput_lies_beyond_an_unstable_rate),
        cmocka_unit_test(paired_means_have_no_spread_where_the_ratio_has_none),
        cmocka_unit_test(resamples_are_spread_evenly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
