/* What a worker tells about its steps. */
#include "tests/test.h"

#include "base/clock.h"
#include "base/mem.h"
#include "worker_core/step_log.h"

#include <stdlib.h>

static void steps_are_told_once_oldest_first_with_ages_in_us(void **state) {
    (void)state;
    step_log *l = xcalloc(1, sizeof *l);
    ctl_step out[CTL_STEPS_MAX];
    uint64_t left_out = 99;
    step_log_add(l, &(step_span){.begin_ns = 1000000, .duration_ns = 250999},
                 &(latency_step){.tokens = 40, .batch = 0, .chunks = 1, .squares = 1600, .context = 0});
    step_log_add(l, &(step_span){.begin_ns = 2000000, .duration_ns = 100000},
                 &(latency_step){.tokens = 0, .batch = 7, .chunks = 0, .squares = 0, .context = 700});
    step_log_add(l, &(step_span){.begin_ns = 3000000, .duration_ns = 1000},
                 &(latency_step){.tokens = 5, .batch = 6, .chunks = 2, .squares = 33, .context = 60});
    assert_int_equal(step_log_take(l, 5000000, out, &left_out), 3);
    assert_int_equal(left_out, 0);
    const ctl_step want[] = {
        {4000, 250, {.tokens = 40, .batch = 0, .chunks = 1, .squares = 1600, .context = 0}},
        {3000, 100, {.tokens = 0, .batch = 7, .chunks = 0, .squares = 0, .context = 700}},
        {2000, 1, {.tokens = 5, .batch = 6, .chunks = 2, .squares = 33, .context = 60}}};
    for (uint32_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_int_equal(out[i].age_us, want[i].age_us);
        assert_int_equal(out[i].duration_us, want[i].duration_us);
        assert_int_equal(out[i].sums.tokens, want[i].sums.tokens);
        assert_int_equal(out[i].sums.batch, want[i].sums.batch);
        assert_int_equal(out[i].sums.chunks, want[i].sums.chunks);
        assert_int_equal(out[i].sums.squares, want[i].sums.squares);
        assert_int_equal(out[i].sums.context, want[i].sums.context);
    }
    assert_int_equal(l->busy_ns[BUSY_PREFILL], 250999);
    assert_int_equal(l->busy_ns[BUSY_DECODE], 100000);
    assert_int_equal(l->busy_ns[BUSY_MIXED], 1000);
    assert_int_equal(step_log_take(l, 6000000, out, &left_out), 0);
    free(l);
}

static void of_more_than_256_the_newest_are_told_and_the_others_are_counted(void **state) {
    (void)state;
    step_log *l = xcalloc(1, sizeof *l);
    ctl_step out[CTL_STEPS_MAX];
    uint64_t left_out = 0;
    for (uint32_t i = 0; i < 300; i++)
        step_log_add(l, &(step_span){.begin_ns = i * 1000, .duration_ns = 1000}, &(latency_step){.batch = i});
    assert_int_equal(step_log_take(l, 300000, out, &left_out), 256);
    assert_int_equal(left_out, 44);
    assert_int_equal(out[0].sums.batch, 44);
    assert_int_equal(out[0].age_us, 256);
    assert_int_equal(out[255].sums.batch, 299);
    assert_int_equal(l->busy_ns[BUSY_DECODE] + l->busy_ns[BUSY_PREFILL], 300000);
    free(l);
}

static void an_age_that_does_not_fit_is_the_largest_number(void **state) {
    (void)state;
    step_log *l = xcalloc(1, sizeof *l);
    ctl_step out[CTL_STEPS_MAX];
    uint64_t left_out;
    step_log_add(l, &(step_span){.begin_ns = 0, .duration_ns = 1}, &(latency_step){.tokens = 1});
    assert_int_equal(step_log_take(l, 5000 * NS_PER_S, out, &left_out), 1);
    assert_int_equal(out[0].age_us, UINT32_MAX);
    free(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_told_once_oldest_first_with_ages_in_us),
        cmocka_unit_test(of_more_than_256_the_newest_are_told_and_the_others_are_counted),
        cmocka_unit_test(an_age_that_does_not_fit_is_the_largest_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
