/* Which rate a search for goodput tries next. */
#include "tests/test.h"

#include "bench/experiment/goodput_search.h"

#include <math.h>
#include <string.h>

static const goodput_rules rules = {.target = 0.9,
                                    .start = 1,
                                    .max_rate = 100,
                                    .resolution = 0.1,
                                    .seeds = 5,
                                    .seeds_cap = 10,
                                    .probes_max = 12};

static double good[] = {1, 1, 1, 1, 1}, bad[] = {.5, .51, .5, .51, .5}, mixed[] = {1, .8, 1, .8, 1},
              ten_low[] = {1, .7, 1, .7, 1, .7, 1, .7, 1, .7};

#define PASS(r)                                                                                              \
    { .rate = r, .attainments = good, .seeds = 5, .good = 1000, .members = 1000 }
#define FAIL(r)                                                                                              \
    { .rate = r, .attainments = bad, .seeds = 5, .good = 504, .members = 1000 }
#define MIXED(r)                                                                                             \
    { .rate = r, .attainments = mixed, .seeds = 5, .good = 920, .members = 1000 }
#define ASK(...)                                                                                             \
    goodput_decide(&rules, (const goodput_point[]){__VA_ARGS__},                                             \
                   sizeof((const goodput_point[]){__VA_ARGS__}) / sizeof(goodput_point))

static void assert_probe(goodput_next n, double rate) {
    assert_int_equal(n.step, GOODPUT_PROBE);
    assert_true(n.rate == rate);
}

static void assert_end(goodput_next n, const char *why) {
    assert_int_equal(n.step, GOODPUT_END);
    assert_non_null(strstr(n.why, why));
}

static void rates_are_doubled_until_one_is_too_high(void **state) {
    (void)state;
    assert_probe(goodput_decide(&rules, NULL, 0), 1);
    assert_probe(ASK(PASS(1)), 2);
    assert_probe(ASK(PASS(1), PASS(2)), 4);
    assert_probe(ASK(PASS(1), PASS(64)), 100);
    assert_end(ASK(PASS(1), PASS(100)), "highest rate");
}

static void then_halves_lie_between_the_highest_good_and_the_lowest_bad_rate(void **state) {
    (void)state;
    assert_probe(ASK(PASS(4), FAIL(8)), 6);
    assert_probe(ASK(PASS(4), FAIL(8), FAIL(6)), 5);
    assert_probe(ASK(PASS(4), FAIL(8), FAIL(6), PASS(5)), 5.5);
    assert_end(ASK(PASS(5), FAIL(5.5)), "close enough");
    assert_probe(ASK(FAIL(1)), .5);
    assert_end(ASK(FAIL(1. / 1024)), "lowest rate");
}

static void an_undecided_rate_gets_more_seeds_up_to_the_cap(void **state) {
    (void)state;
    goodput_next n = ASK(PASS(4), MIXED(8));
    assert_int_equal(n.step, GOODPUT_MORE_SEEDS);
    assert_int_equal(n.point, 1);
    assert_true(n.rate == 8);
    /* At the cap, its mean says where to look. */
    assert_probe(ASK(PASS(4), {.rate = 8, .attainments = ten_low, .seeds = 10}), 6);
}

static void a_rate_gets_more_seeds_while_its_interval_is_wide_whatever_its_verdict(void **state) {
    (void)state;
    static double high[] = {.97, 1, .94, 1, .96}, low[] = {.1, .3, .2, .3, .1};
    const goodput_point passes = {.rate = 8, .attainments = high, .seeds = 5, .good = 974, .members = 1000};
    const goodput_point fails = {.rate = 8, .attainments = low, .seeds = 5, .good = 200, .members = 1000};
    assert_int_equal(goodput_judge(&rules, &passes), VERDICT_PASS);
    assert_int_equal(goodput_judge(&rules, &fails), VERDICT_FAIL);
    assert_int_equal(goodput_decide(&rules, &passes, 1).step, GOODPUT_MORE_SEEDS);
    assert_int_equal(goodput_decide(&rules, &fails, 1).step, GOODPUT_MORE_SEEDS);
    goodput_rules capped = rules;
    capped.seeds_cap = 5;
    assert_string_equal(goodput_seeds_name(goodput_seeds_of(&capped, &passes)), "cap");
    const goodput_point narrow = PASS(8);
    assert_string_equal(goodput_seeds_name(goodput_seeds_of(&rules, &narrow)), "width");
    const goodput_point unstable = {.rate = 8, .attainments = low, .seeds = 5, .unstable = true};
    assert_string_equal(goodput_seeds_name(goodput_seeds_of(&rules, &unstable)), "few");
}

static void seeds_all_alike_have_the_interval_of_their_requests(void **state) {
    (void)state;
    const goodput_point p = {.rate = 8, .attainments = good, .seeds = 5, .good = 33, .members = 33};
    const interval i = goodput_interval(&p);
    assert_true(i.mean == 1 && i.high == 1);
    assert_true(fabs(i.low - 0.8957) < 1e-4);
    assert_int_equal(goodput_judge(&rules, &p), VERDICT_UNDECIDED); /* 33 of 33 are not 90 % for certain */
    assert_int_equal(goodput_decide(&rules, &p, 1).step, GOODPUT_MORE_SEEDS);
}

static void void_and_unstable_rates_are_looked_below(void **state) {
    (void)state;
    assert_probe(ASK(PASS(4), {.rate = 8, .attainments = good, .seeds = 5, .void_ = true}), 6);
    assert_end(ASK(PASS(4), {.rate = 4.2, .void_ = true}), "void");
    const goodput_point unstable = {.rate = 8, .attainments = good, .seeds = 5, .unstable = true};
    assert_int_equal(goodput_judge(&rules, &unstable), VERDICT_FAIL);
    assert_probe(ASK(PASS(4), {.rate = 8, .attainments = good, .seeds = 5, .unstable = true}), 6);
}

static void an_unsettled_rate_may_fail_but_not_pass(void **state) {
    (void)state;
    const goodput_point high = {.rate = 8, .attainments = good, .seeds = 5, .unsettled = true};
    const goodput_point low = {.rate = 8, .attainments = bad, .seeds = 5, .unsettled = true};
    assert_int_equal(goodput_judge(&rules, &high), VERDICT_UNDECIDED);
    assert_int_equal(goodput_judge(&rules, &low), VERDICT_FAIL);
    /* More seeds would not settle it: its mean says where to look. */
    assert_probe(ASK(PASS(4), {.rate = 8, .attainments = good, .seeds = 5, .unsettled = true}), 16);
    const rate_point curve[] = {goodput_rate_point(&high)};
    assert_true(isnan(search_goodput(curve, 1, rules.target).pass));
    assert_false(goodput_counts(&rules, &high));
    assert_true(goodput_counts(&rules, &low));
}

static void no_rate_is_tried_twice_and_no_more_than_allowed(void **state) {
    (void)state;
    goodput_rules few = rules;
    few.probes_max = 2;
    const goodput_point two[] = {PASS(4), FAIL(8)};
    assert_end(goodput_decide(&few, two, 2), "as many rates");
    assert_true(search_round(1.23456) == 1.23 && search_round(0.0456789) == 0.0457 &&
                search_round(12345) == 12300);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_doubled_until_one_is_too_high),
        cmocka_unit_test(then_halves_lie_between_the_highest_good_and_the_lowest_bad_rate),
        cmocka_unit_test(an_undecided_rate_gets_more_seeds_up_to_the_cap),
        cmocka_unit_test(a_rate_gets_more_seeds_while_its_interval_is_wide_whatever_its_verdict),
        cmocka_unit_test(seeds_all_alike_have_the_interval_of_their_requests),
        cmocka_unit_test(void_and_unstable_rates_are_looked_below),
        cmocka_unit_test(an_unsettled_rate_may_fail_but_not_pass),
        cmocka_unit_test(no_rate_is_tried_twice_and_no_more_than_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
