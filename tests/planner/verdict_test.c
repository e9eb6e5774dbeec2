/* What a search says in one line of two contenders that are known. */
#include "planner/search/plan_verdict.h"

#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct told {
    candidate items[2];
    judge_goodput found[2];
    plan_outcome o;
    plan_input in;
} told;

static void told_init(told *t, double disaggregated, double colocated, double half) {
    *t = (told){.in = {.devices = 3}};
    t->items[0].placement = (fleet_placement){.roles = {[ROLE_PREFILL] = {.count = 1, .tp = 1, .devices = 1},
                                                        [ROLE_DECODE] = {.count = 2, .tp = 1, .devices = 1}}};
    t->items[1].placement = (fleet_placement){
        .prefill_first = true, .roles = {[ROLE_COLOCATED] = {.count = 3, .tp = 1, .devices = 1}}};
    t->items[1].colocated = true;
    const double value[2] = {disaggregated, colocated};
    for (int i = 0; i < 2; i++) {
        t->items[i].devices = 3;
        t->items[i].found = &t->found[i];
        t->found[i].result = (search_result){.pass = 3 * (value[i] - half),
                                             .fail = 3 * (value[i] + half),
                                             .crossing = 3 * value[i],
                                             .low = 3 * (value[i] - half),
                                             .high = 3 * (value[i] + half)};
    }
    t->o = (plan_outcome){.list = {t->items, 2}, .best_of = {0, 1}, .best = colocated > disaggregated};
}

static const ratio unpaired = {NAN, NAN, NAN, 0};

static void the_verdict_says_not_to_disaggregate_and_when_it_would(void **state) {
    (void)state;
    told t;
    told_init(&t, 1.62, 1.84, 0.03);
    plan_verdict v = plan_verdict_of(&t.o, &t.in, unpaired, "TPOT <= 31 ms");
    assert_int_equal(v.answer, ANSWER_COLOCATED);
    assert_string_equal(v.text,
                        "do not disaggregate: colocated 3 x tp1, prefill first 1.84 +- 0.03, 1P 2D 1.62 +- "
                        "0.03 requests/s/device; flips at TPOT <= 31 ms");
}

static void the_verdict_says_to_disaggregate(void **state) {
    (void)state;
    told t;
    told_init(&t, 1.84, 1.62, 0.04);
    plan_verdict v = plan_verdict_of(&t.o, &t.in, unpaired, "");
    assert_int_equal(v.answer, ANSWER_DISAGGREGATE);
    assert_string_equal(v.text,
                        "disaggregate: 1P 2D 1.84 +- 0.04, colocated 3 x tp1, prefill first 1.62 +- 0.04 "
                        "requests/s/device");
}

static void the_verdict_is_open_where_intervals_overlap_unless_pairs_decide(void **state) {
    (void)state;
    told t;
    told_init(&t, 1.84, 1.82, 0.04);
    plan_verdict v = plan_verdict_of(&t.o, &t.in, unpaired, "");
    assert_int_equal(v.answer, ANSWER_UNDECIDED);
    assert_string_equal(v.text,
                        "undecided: 1P 2D 1.84 +- 0.04, colocated 3 x tp1, prefill first 1.82 +- 0.04 "
                        "requests/s/device: the intervals overlap");
    v = plan_verdict_of(&t.o, &t.in, (ratio){1.011, 1.004, 1.018, 8}, "");
    assert_int_equal(v.answer, ANSWER_DISAGGREGATE);
    v = plan_verdict_of(&t.o, &t.in, (ratio){1.011, 0.994, 1.028, 8}, "");
    assert_int_equal(v.answer, ANSWER_UNDECIDED);
    assert_non_null(strstr(v.text, ": their ratio is between 0.994 and 1.03"));
    v = plan_verdict_of(&t.o, &t.in, (ratio){0.98, 0.97, 0.99, 8},
                        ""); /* the pairs say that the other is better */
    assert_int_equal(v.answer, ANSWER_UNDECIDED);
}

static void the_verdict_names_why_the_other_kind_cannot(void **state) {
    (void)state;
    told t;
    told_init(&t, 1.84, 1.62, 0.04);
    t.items[0].reason = REJECT_SLO;
    snprintf(t.items[0].why, sizeof t.items[0].why, "TTFT: too slow");
    t.o.best = 1;
    t.o.best_of[0] = PLAN_NOBODY;
    plan_verdict v = plan_verdict_of(&t.o, &t.in, unpaired, "");
    assert_int_equal(v.answer, ANSWER_COLOCATED);
    assert_string_equal(
        v.text, "do not disaggregate: colocated 3 x tp1, prefill first 1.62 +- 0.04 requests/s/device; "
                "none of 1 disaggregated placements can serve it (SLO: TTFT: too slow)");
}

static void the_fewest_devices_are_those_that_serve_the_rate(void **state) {
    (void)state;
    told t;
    told_init(&t, 1.84, 1.62, 0.04);
    uint32_t devices;
    t.items[1].devices = 2; /* goodput 4.86, per device 2.43 */
    assert_int_equal(plan_fewest(&t.o, 4.7, &devices), 1);
    assert_int_equal(devices, 2);
    assert_int_equal(plan_fewest(&t.o, 5.3, &devices), 0);
    assert_int_equal(devices, 3);
    assert_int_equal(plan_fewest(&t.o, 6, &devices), PLAN_NOBODY);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_verdict_says_not_to_disaggregate_and_when_it_would),
        cmocka_unit_test(the_verdict_says_to_disaggregate),
        cmocka_unit_test(the_verdict_is_open_where_intervals_overlap_unless_pairs_decide),
        cmocka_unit_test(the_verdict_names_why_the_other_kind_cannot),
        cmocka_unit_test(the_fewest_devices_are_those_that_serve_the_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
