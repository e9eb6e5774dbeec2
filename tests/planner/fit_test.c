/* Cost curves of measured points, and the error that is claimed for them. */
#include "tests/test.h"

#include "base/mem.h"
#include "planner/profile/fit.h"
#include "planner/profile/nnls.h"

#include <math.h>
#include <string.h>

static void assert_near(double value, double want, double most) {
    if (!(fabs(value - want) <= most)) fail_msg("%.17g, want %.17g +- %g", value, want, most);
}

static void assert_refused(const fit_point *points, uint32_t count, const char *text) {
    step_cost c = {0};
    errbuf eb = {{0}};
    assert_int_equal(fit_cost(&c, NULL, points, count, &eb), ST_INVALID);
    assert_string_equal(eb.text, text);
}

static void least_squares_without_negatives_stop_at_zero(void **state) {
    (void)state;
    /* The free minimum is (-1, 2); with x0 = 0 it is x1 = 1.5. */
    static const double rows[3][2] = {{1, 0}, {0, 1}, {1, 1}};
    static const double right[3] = {-1, 2, 1};
    nnls p = {.n = 2};
    for (int i = 0; i < 3; i++) nnls_add(&p, rows[i], right[i], 1);
    double x[NNLS_MAX];
    nnls_solve(&p, x);
    assert_near(x[0], 0, 0);
    assert_near(x[1], 1.5, 1e-12);
}

static void a_column_that_others_explain_stays_out(void **state) {
    (void)state;
    nnls p = {.n = 3};
    for (int i = 1; i < 6; i++) nnls_add(&p, (const double[]){1, i, 2.0 * i}, 3 + 4 * i, 1);
    double x[NNLS_MAX];
    nnls_solve(&p, x);
    assert_near(x[0], 3, 1e-9);
    assert_near(x[1] + 2 * x[2], 4, 1e-9);
    assert_true(x[1] == 0 || x[2] == 0);
}

static uint32_t grid_of(fit_point *out, double alpha, double beta, double gamma) {
    uint32_t n = 0;
    for (double x = 1; x <= 64; x *= 2)
        for (double each = 100; each <= 6400; each *= 4)
            out[n++] = (fit_point){x, x * each, alpha + beta * x + gamma * x * each};
    return n;
}

static void three_coefficients_come_back(void **state) {
    (void)state;
    fit_point p[64];
    uint32_t n = grid_of(p, 2e7, 4e4, 600);
    step_cost c = {0};
    profile_error e;
    assert_int_equal(fit_cost(&c, &e, p, n, NULL), ST_OK);
    assert_int_equal(c.count, 1);
    assert_near(c.knots[0].base_ns, 2e7, 1);
    assert_near(c.rise_ns, 4e4, 0.01);
    assert_near(c.knots[0].slope_ns, 600, 1e-4);
    assert_true(e.max < 1e-8);
    assert_int_equal(e.points, n);
    assert_near(c.x_min, 1, 0);
    assert_near(c.x_max, 64, 0);
    assert_near(c.y_max, 64 * 6400, 0);
    step_cost_done(&c);
}

static void a_bend_gets_its_knot(void **state) {
    (void)state;
    fit_point p[64];
    uint32_t n = 0;
    for (double x = 1; x <= 16; x++)
        for (double each = 10; each <= 1000; each *= 10)
            p[n++] = (fit_point){x, x * each, 1000 + 10 * x + (x > 8 ? 200 * (x - 8) : 0) + 0.5 * x * each};
    step_cost c = {0};
    profile_error e;
    assert_int_equal(fit_cost(&c, &e, p, n, NULL), ST_OK);
    assert_int_equal(c.count, 3);
    assert_near(c.knots[1].x, 8, 0);
    assert_near(c.knots[0].base_ns, 1000, 1e-3);
    assert_near(c.knots[1].base_ns, 1080, 1e-3);
    assert_near(c.knots[2].base_ns, 2760, 1e-3);
    assert_true(e.max < 1e-6);
    assert_near(step_cost_ns(&c, 12, 100), 1000 + 120 + 800 + 50, 1e-3);
    step_cost_done(&c);
    assert_int_equal(fit_linear(&c, &e, p, n, NULL), ST_OK);
    assert_int_equal(c.count, 1);
    assert_true(e.mean > 0.05);
    step_cost_done(&c);
}

static void more_work_never_costs_less(void **state) {
    (void)state;
    /* A measured dip, and longer contexts that were faster. */
    static const fit_point p[] = {{1, 10, 100}, {2, 20, 150}, {4, 40, 120}, {8, 80, 200}, {8, 8000, 190}};
    step_cost c = {0};
    assert_int_equal(fit_cost(&c, NULL, p, ARRAY_LEN(p), NULL), ST_OK);
    for (double x = 1; x < 9; x += 0.25) {
        assert_true(step_cost_ns(&c, x, 50) >= step_cost_ns(&c, x - 0.25, 50));
        assert_true(step_cost_ns(&c, x, 5000) >= step_cost_ns(&c, x, 50));
    }
    step_cost_done(&c);
}

static void points_of_one_place_are_averaged_and_give_the_spread(void **state) {
    (void)state;
    static const fit_point p[] = {{1, 1, 90}, {2, 1, 200}, {1, 1, 110}, {3, 1, 300}, {2, 1, 200}};
    step_cost c = {0};
    profile_error e;
    assert_int_equal(fit_cost(&c, &e, p, ARRAY_LEN(p), NULL), ST_OK);
    assert_near(step_cost_ns(&c, 1, 1), 100, 1e-6);
    assert_near(step_cost_ns(&c, 3, 1), 300, 1e-6);
    assert_int_equal(e.points, 0); /* those at 1 and 3 have nobody beyond them, and one is too few */
    step_cost_done(&c);
    /* Deviations .1, .1, 0, 0 with two degrees of freedom. */
    assert_near(fit_cv(p, ARRAY_LEN(p)), 0.1, 1e-12);
    assert_near(fit_cv(p, 2), 0, 0);
}

static void the_error_of_a_point_is_that_of_the_curve_without_it(void **state) {
    (void)state;
    /* Without the first one at 2, those at 1 and 3 say 200; without the second one, more than that. */
    static const fit_point p[] = {{1, 0, 100}, {2, 0, 250}, {2, 10, 250}, {3, 0, 300}};
    profile_error e;
    step_cost c = {0};
    assert_int_equal(fit_linear(&c, &e, p, ARRAY_LEN(p), NULL), ST_OK);
    assert_near(e.max, 0.2, 1e-9);
    assert_int_equal(e.points, 2);
    step_cost_done(&c);
}

static void what_both_phases_share_comes_back(void **state) {
    (void)state;
    step_cost prefill = step_cost_linear(2000, 10, 0), decode = step_cost_linear(3000, 1, 0.5);
    fit_mixed_point p[8];
    for (uint32_t i = 0; i < 8; i++) {
        p[i] = (fit_mixed_point){i + 1, i, 2 * i + 1, 10 * i, 0};
        p[i].ns = step_cost_ns(&prefill, p[i].prefill_x, p[i].prefill_y) +
                  step_cost_ns(&decode, p[i].decode_x, p[i].decode_y) - 0.6 * 2000;
    }
    double shared = 0;
    profile_error e;
    assert_int_equal(fit_mixed(&shared, &e, &prefill, &decode, p, 8, NULL), ST_OK);
    assert_near(shared, 0.6, 1e-9);
    assert_true(e.max < 1e-9);
    assert_int_equal(e.points, 8);
    for (uint32_t i = 0; i < 8; i++) p[i].ns += 9000;
    assert_int_equal(fit_mixed(&shared, &e, &prefill, &decode, p, 8, NULL), ST_OK);
    assert_near(shared, 0, 0);
    errbuf eb = {{0}};
    assert_int_equal(fit_mixed(&shared, &e, &prefill, &decode, p, 0, &eb), ST_INVALID);
    assert_string_equal(eb.text, "0 mixed points: want 1 to 65536");
    step_cost_done(&prefill);
    step_cost_done(&decode);
}

/* Who has made the curve alone cannot judge it. */
static void an_error_of_less_than_two_points_is_unknown(void **state) {
    (void)state;
    step_cost prefill = step_cost_linear(2000, 10, 0), decode = step_cost_linear(3000, 1, 0.5), c;
    fit_mixed_point m[2] = {{1, 1, 1, 1, 4000}, {2, 2, 2, 2, 4100}};
    double shared = 0;
    profile_error e;
    assert_int_equal(fit_mixed(&shared, &e, &prefill, &decode, m, 1, NULL), ST_OK);
    assert_true(isnan(e.mean) && isnan(e.p90) && isnan(e.max));
    assert_int_equal(e.points, 0);
    assert_int_equal(fit_mixed(&shared, &e, &prefill, &decode, m, 2, NULL), ST_OK);
    assert_int_equal(e.points, 2);
    fit_point p[4] = {{1, 1, 10}, {2, 2, 21}, {3, 3, 30}, {4, 4, 41}};
    assert_int_equal(fit_cost(&c, &e, p, 3, NULL), ST_OK); /* only the middle one */
    assert_true(isnan(e.mean) && isnan(e.p90) && isnan(e.max));
    assert_int_equal(e.points, 0);
    step_cost_done(&c);
    assert_int_equal(fit_cost(&c, &e, p, 4, NULL), ST_OK);
    assert_int_equal(e.points, 2);
    step_cost_done(&c);
    step_cost_done(&prefill);
    step_cost_done(&decode);
}

static void points_that_are_no_numbers_are_refused_by_name(void **state) {
    (void)state;
    fit_point p[4] = {{1, 1, 1}, {2, 1, 2}, {3, 1, 3}, {4, 1, 4}};
    p[2].ns = NAN;
    assert_refused(p, 4, "point 2: it takes nan ns: want a finite number above 0");
    p[2] = (fit_point){3, INFINITY, 3};
    assert_refused(p, 4, "point 2: inf is no finite number of 0 or more");
    p[2] = (fit_point){-3, 1, 3};
    assert_refused(p, 4, "point 2: -3 is no finite number of 0 or more");
    p[2] = p[1];
    assert_refused(p, 3, "2 distinct points: want 3 to 1024");
    assert_refused(NULL, 0, "0 distinct points: want 3 to 1024");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(least_squares_without_negatives_stop_at_zero),
        cmocka_unit_test(a_column_that_others_explain_stays_out),
        cmocka_unit_test(three_coefficients_come_back),
        cmocka_unit_test(a_bend_gets_its_knot),
        cmocka_unit_test(more_work_never_costs_less),
        cmocka_unit_test(points_of_one_place_are_averaged_and_give_the_spread),
        cmocka_unit_test(the_error_of_a_point_is_that_of_the_curve_without_it),
        cmocka_unit_test(what_both_phases_share_comes_back),
        cmocka_unit_test(an_error_of_less_than_two_points_is_unknown),
        cmocka_unit_test(points_that_are_no_numbers_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
