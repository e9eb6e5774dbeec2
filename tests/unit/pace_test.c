/* What is learned of the queue's speed, in exact virtual times. */
#include "coordinator/pace.h"

#include "base/clock.h"
#include "base/mem.h"
#include "tests/test.h"

#define S NS_PER_S

/* `count` requests of 100 tokens leave, one every `gap_ns`, while others wait. Returns when. */
static uint64_t run(pace *p, uint32_t count, uint64_t gap_ns, uint64_t now_ns) {
    pace_turn(p, true, now_ns);
    for (uint32_t i = 0; i < count; i++) {
        now_ns += gap_ns;
        pace_left(p, 100);
        pace_turn(p, true, now_ns);
    }
    return now_ns;
}

static void nothing_is_said_before_eight_have_left_a_queue(void **state) {
    (void)state;
    pace p = {0};
    uint64_t now_ns = run(&p, 7, S / 10, S);
    assert_false(pace_known(&p));
    assert_int_equal(pace_wait_ns(&p, 1000, now_ns), 0);
    assert_true(pace_rate(&p, now_ns) == 0);
    pace_left(&p, 100);
    now_ns += S / 10;
    pace_turn(&p, true, now_ns);
    assert_true(pace_known(&p));
    assert_int_equal(pace_wait_ns(&p, 1000, now_ns), S); /* 100 tokens in 100 ms */
    assert_int_equal(pace_wait_count_ns(&p, 20, now_ns), 2 * S);
    assert_true(pace_rate(&p, now_ns) == 1000);
}

static void what_leaves_while_nobody_waits_teaches_nothing(void **state) {
    (void)state;
    pace p = {0};
    for (uint32_t i = 1; i <= 100; i++) {
        pace_left(&p, 100);
        pace_turn(&p, false, i * S);
    }
    assert_false(pace_known(&p));
    uint64_t now_ns = run(&p, 10, S / 10, 200 * S);
    pace_turn(&p, false, now_ns);
    assert_int_equal(pace_wait_ns(&p, 1000, now_ns + 100 * S), S); /* idle since then */
}

static void a_queue_that_stands_still_is_slower_by_the_second(void **state) {
    (void)state;
    pace p = {0};
    uint64_t now_ns = run(&p, 10, S / 10, S);
    pace_turn(&p, true, now_ns + S / 2); /* a turn in which nobody left */
    assert_int_equal(pace_wait_ns(&p, 1000, now_ns + S), 2 * S);
    assert_int_equal(pace_wait_ns(&p, 1000, now_ns + 9 * S), 10 * S);
}

static void the_last_seconds_count_and_doubt_makes_them_fewer(void **state) {
    (void)state;
    pace fresh = {0}, doubted = {0};
    uint64_t at_ns = run(&fresh, 1000, S / 100, S);
    (void)run(&doubted, 1000, S / 100, S);
    assert_true(pace_rate(&fresh, at_ns) == 10000);
    pace_doubt(&doubted);
    assert_true(pace_rate(&doubted, at_ns) == 10000);
    uint64_t now_ns = run(&fresh, 20, S / 10, at_ns); /* a tenth as fast now */
    (void)run(&doubted, 20, S / 10, at_ns);
    assert_true(pace_rate(&fresh, now_ns) > 5000);
    assert_true(pace_rate(&doubted, now_ns) < 1400);
    now_ns = run(&fresh, 1000, S / 10, now_ns);
    assert_true(pace_rate(&fresh, now_ns) < 1001);
    pace_doubt(&fresh);
    for (uint32_t i = 0; i < 9; i++) pace_doubt(&fresh);
    assert_true(pace_known(&fresh)); /* what was known is doubted, not forgotten */
}

static void a_stage_is_a_moving_mean(void **state) {
    (void)state;
    pace p = {0};
    pace_stage(&p, 1600);
    assert_true(p.stage_ns == 1600);
    pace_stage(&p, 3200);
    assert_true(p.stage_ns == 1700);
}

/* Errors that go through 0, 10, ..., 990 in an order that mixes them: 98 % of them are at most 970. */
static void the_margin_is_what_one_in_fifty_exceeds(void **state) {
    (void)state;
    pace p = {0};
    uint32_t over = 0;
    enum { WARM = 4000, COUNT = 20000 };
    for (uint32_t i = 0; i < WARM + COUNT; i++) {
        int64_t late = (int64_t)(i * 37 % 100) * 10;
        if (i >= WARM) over += (double)late > p.margin_ns;
        pace_error(&p, late);
    }
    assert_in_range(over, COUNT * 1 / 100, COUNT * 3 / 100);
    for (uint32_t i = 0; i < WARM; i++) pace_error(&p, -500); /* always early now: no margin is needed */
    assert_true(p.margin_ns == 0);
}

/* Everything stood still once. */
static void a_margin_that_is_far_too_large_comes_down_when_nobody_is_late(void **state) {
    (void)state;
    pace p = {0};
    for (uint32_t i = 0; i < 100; i++) pace_error(&p, (int64_t)(20 * S));
    assert_true(p.margin_ns > 10e9);
    for (uint32_t i = 0; i < 1000; i++) pace_error(&p, (int64_t)(i % 10 * NS_PER_MS));
    assert_true(p.margin_ns < 10e9);
    for (uint32_t i = 0; i < 6000; i++) pace_error(&p, (int64_t)(i % 10 * NS_PER_MS));
    assert_true(p.margin_ns < 100e6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_said_before_eight_have_left_a_queue),
        cmocka_unit_test(what_leaves_while_nobody_waits_teaches_nothing),
        cmocka_unit_test(a_queue_that_stands_still_is_slower_by_the_second),
        cmocka_unit_test(the_last_seconds_count_and_doubt_makes_them_fewer),
        cmocka_unit_test(a_stage_is_a_moving_mean),
        cmocka_unit_test(a_margin_that_is_far_too_large_comes_down_when_nobody_is_late),
        cmocka_unit_test(the_margin_is_what_one_in_fifty_exceeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
