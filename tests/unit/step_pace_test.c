/* What a step may take at most, as earlier ones tell. */
#include "tests/test.h"

#include "worker_core/step_pace.h"

static latency_step prompt(uint32_t before, uint32_t tokens) {
    latency_step s = {0};
    latency_add_chunk(&s, before, tokens);
    return s;
}

static latency_step decodes(uint32_t count, uint32_t context) {
    latency_step s = {0};
    for (uint32_t i = 0; i < count; i++) latency_add_decode(&s, context);
    return s;
}

static void nothing_is_known_of_what_no_step_has_had(void **state) {
    (void)state;
    step_pace p = {0};
    latency_step chunk = prompt(0, 16), batch = decodes(2, 100), none = {0};
    assert_int_equal(step_pace_bound(&p, &chunk), 0);
    step_pace_learn(&p, &batch, 1000);
    assert_int_equal(step_pace_bound(&p, &chunk), 0);
    assert_int_equal(step_pace_bound(&p, &batch), 1000);
    assert_int_equal(step_pace_bound(&p, &none), 0);
    step_pace_learn(&p, &none, 1); /* teaches nothing */
    assert_int_equal(p.learned, 1);
}

static void a_step_may_take_as_many_times_longer_as_its_largest_part_is_larger(void **state) {
    (void)state;
    step_pace p = {0};
    latency_step small = prompt(0, 10), smaller = prompt(0, 5), large = prompt(0, 40), late = prompt(45, 10);
    step_pace_learn(&p, &small, 1000);
    assert_int_equal(step_pace_bound(&p, &smaller), 1000); /* the part that does not grow may be all of it */
    assert_int_equal(step_pace_bound(&p, &large), 16000);  /* the squares */
    assert_int_equal(step_pace_bound(&p, &late), 10000);   /* 55^2 - 45^2 = 10 * 10^2 */
    step_pace_learn(&p, &late, 2000);
    assert_int_equal(step_pace_bound(&p, &large), 8000); /* four times the tokens, 1.6 times the squares */
    latency_step batch = decodes(2, 100), wide = decodes(6, 100), far = decodes(2, 500);
    step_pace_learn(&p, &batch, 10);
    assert_int_equal(step_pace_bound(&p, &wide), 30);
    assert_int_equal(step_pace_bound(&p, &far), 50);
}

static void a_step_of_prompts_and_decodes_may_take_as_long_as_both(void **state) {
    (void)state;
    step_pace p = {0};
    latency_step chunk = prompt(0, 10), batch = decodes(2, 100), both = decodes(2, 100);
    latency_add_chunk(&both, 0, 10);
    step_pace_learn(&p, &chunk, 1000);
    assert_int_equal(step_pace_bound(&p, &both), 0);
    step_pace_learn(&p, &batch, 10);
    assert_int_equal(step_pace_bound(&p, &both), 1010);
    step_pace_learn(&p, &both, 400); /* which bounds either part */
    assert_int_equal(step_pace_bound(&p, &both), 410);
}

/* Whatever a machine's coefficients are. */
static void no_step_of_a_modelled_machine_takes_longer_than_its_bound(void **state) {
    (void)state;
    uint64_t random = 5;
    for (uint32_t round = 0; round < 50; round++) {
        step_pace p = {0};
        double c[6];
        for (uint32_t i = 0; i < 6; i++) c[i] = (double)((random = random * 6364136223846793005u + 1) >> 54);
        latency_model m = {.prefill = {c[0] * 1000, c[1] * 100, c[2]},
                           .decode = {c[3] * 1000, c[4] * 100, c[5]}};
        for (uint32_t i = 0; i < 300; i++) {
            latency_step s = {0};
            random = random * 6364136223846793005u + 1;
            if (random >> 63)
                latency_add_chunk(&s, (uint32_t)(random >> 40) % 4096, 1 + (uint32_t)(random >> 33) % 512);
            for (uint32_t k = 0; k < (random >> 50) % 8; k++)
                latency_add_decode(&s, 1 + (uint32_t)(random >> 36) % 9000);
            uint64_t bound = step_pace_bound(&p, &s), ns = latency_ns(&m, &s);
            assert_true(bound == 0 || ns <= bound + 1);
            step_pace_learn(&p, &s, ns);
        }
    }
}

static void old_steps_are_forgotten(void **state) {
    (void)state;
    step_pace p = {0};
    latency_step batch = decodes(1, 100);
    step_pace_learn(&p, &batch, 1);
    for (uint32_t i = 0; i < STEP_PACE_STEPS; i++) {
        assert_int_equal(step_pace_bound(&p, &batch), 1);
        step_pace_learn(&p, &batch, 50);
    }
    assert_int_equal(step_pace_bound(&p, &batch), 50);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_of_what_no_step_has_had),
        cmocka_unit_test(a_step_may_take_as_many_times_longer_as_its_largest_part_is_larger),
        cmocka_unit_test(a_step_of_prompts_and_decodes_may_take_as_long_as_both),
        cmocka_unit_test(no_step_of_a_modelled_machine_takes_longer_than_its_bound),
        cmocka_unit_test(old_steps_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
