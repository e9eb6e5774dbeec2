/* Cost curves and what is made of them. */
#include "tests/test.h"

#include "base/mem.h"
#include "planner/profile/profile_file.h"

#include <math.h>
#include <string.h>

/* Rounded as whoever counts time rounds. */
static uint64_t rounded(double ns) {
    return (uint64_t)(ns + 0.5);
}

static latency_step step_of(uint32_t chunks, uint32_t before, uint32_t tokens, uint32_t batch,
                            uint32_t context) {
    latency_step s = {0};
    for (uint32_t i = 0; i < chunks; i++) latency_add_chunk(&s, before + i, tokens);
    for (uint32_t i = 0; i < batch; i++) latency_add_decode(&s, context + i);
    return s;
}

static void assert_same_as(const latency_model *m, const profile_engine *e) {
    for (uint32_t chunks = 0; chunks < 4; chunks++)
        for (uint32_t tokens = 1; tokens < 9000; tokens = tokens * 3 + 1)
            for (uint32_t batch = 0; batch < 200; batch = batch * 2 + 1)
                for (uint32_t context = 1; context < 40000; context = context * 5 + 3) {
                    latency_step s = step_of(chunks, context, tokens, batch, context);
                    bool covered = false;
                    double ns = profile_step_ns(e, &s, &covered);
                    assert_true(covered);
                    assert_true(rounded(ns) == latency_ns(m, &s));
                }
}

static void presets_take_the_time_of_their_model_to_the_bit(void **state) {
    (void)state;
    static const char *const names[] = {"a100-opt-13b", "h200-8b", "instant"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        profile *p = NULL;
        errbuf eb = {{0}};
        assert_int_equal(profile_read(&p, names[i], NULL, &eb), ST_OK);
        assert_int_equal(p->engine_count, 1);
        for (worker_role r = 0; r < ROLE_COUNT; r++)
            assert_ptr_equal(profile_find(p, r, 1, 1), &p->engines[0]);
        assert_null(profile_find(p, ROLE_DECODE, 2, 1));
        assert_same_as(latency_preset(names[i]), &p->engines[0]);
        assert_int_equal(strlen(p->hash), 16);
        profile_free(p);
    }
}

static const step_cost_knot KNOTS[] = {{0, 100, 1}, {10, 200, 2}, {20, 250, 2}, {40, 250, 0}};

static step_cost curve(void) {
    return (step_cost){.knots = xmemdup(KNOTS, sizeof KNOTS),
                       .count = ARRAY_LEN(KNOTS),
                       .x_min = 2,
                       .x_max = 30,
                       .y_max = 50};
}

static void curves_are_straight_between_knots_and_go_on_beyond(void **state) {
    (void)state;
    step_cost c = curve();
    assert_true(step_cost_ns(&c, 0, 3) == 103);
    assert_true(step_cost_ns(&c, 5, 4) == 150 + 1.5 * 4);
    assert_true(step_cost_ns(&c, 10, 4) == 200 + 2 * 4);
    assert_true(step_cost_ns(&c, 15, 4) == 225 + 2 * 4);
    assert_true(step_cost_ns(&c, 20, 4) == 250 + 2 * 4);
    assert_true(step_cost_ns(&c, 30, 4) == 250 + 4);
    assert_true(step_cost_ns(&c, 50, 4) == 250 - 4);
    assert_true(step_cost_ns(&c, 50, 4000) == 0); /* never less than nothing */
    assert_true(step_cost_intercept_ns(&c) == 100);
    assert_true(step_cost_rest_ns(&c, 5, 4) == 56);
    step_cost copy = step_cost_copy(&c);
    step_cost_done(&c);
    assert_true(step_cost_ns(&copy, 5, 4) == 156);
    step_cost_done(&copy);
}

static void a_query_beyond_what_was_measured_is_outside_of_the_grid(void **state) {
    (void)state;
    profile_engine e = {.prefill = curve(), .decode = step_cost_linear(1, 2, 3)};
    e.decode.x_max = 4;
    static const struct {
        uint32_t chunks, tokens, batch, context;
        bool covered;
    } cases[] = {
        {1, 2, 0, 0, true},   {1, 1, 0, 0, false}, {1, 7, 0, 0, true},  {1, 8, 0, 0, false}, /* 64 > 50 */
        {3, 10, 0, 0, false}, {0, 0, 4, 9, true},  {0, 0, 5, 9, false}, {1, 2, 5, 9, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        latency_step s = step_of(cases[i].chunks, 0, cases[i].tokens, cases[i].batch, cases[i].context);
        bool covered = !cases[i].covered;
        assert_true(profile_step_ns(&e, &s, &covered) > 0);
        assert_int_equal(covered, cases[i].covered);
    }
    bool covered = false;
    assert_true(profile_step_ns(&e, &(latency_step){0}, &covered) == 0);
    assert_true(covered);
    profile_engine_done(&e);
}

static void a_mixed_step_saves_what_is_shared_of_the_smaller_intercept(void **state) {
    (void)state;
    profile_engine e = {.prefill = curve(), .decode = step_cost_linear(80, 2, 3)};
    latency_step s = step_of(1, 0, 5, 1, 7); /* alone 150 + 1.5 * 25 and 80 + 2 + 21 */
    e.shared = 0;
    assert_true(profile_step_ns(&e, &s, NULL) == 187.5 + 103);
    e.shared = 0.5;
    assert_true(profile_step_ns(&e, &s, NULL) == 187.5 + 103 - 40);
    e.shared = 1;
    assert_true(profile_step_ns(&e, &s, NULL) == 187.5 + 103 - 80);
    profile_engine_done(&e);
}

static void a_slip_in_a_curve_cannot_hang(void **state) {
    (void)state;
    profile_engine e = {.decode = step_cost_linear(1e300, 0, 0)};
    latency_step s = step_of(0, 0, 0, 1, 1);
    assert_true(profile_step_ns(&e, &s, NULL) == 3600e9);
    profile_engine_done(&e);
}

static void the_order_of_engines_does_not_change_the_hash(void **state) {
    (void)state;
    profile_engine engines[2], turned[2];
    engines[0] = profile_engine_modelled(latency_preset("h200-8b"), 1, 1);
    engines[1] = profile_engine_modelled(latency_preset("a100-opt-13b"), 2, 1);
    turned[0] = engines[1];
    turned[1] = engines[0];
    profile p = {.engines = engines, .engine_count = 2}, q = {.engines = turned, .engine_count = 2};
    profile_seal(&p);
    profile_seal(&q);
    assert_string_equal(p.hash, q.hash);
    q.engines[0].kv_pages = 1;
    profile_seal(&q);
    assert_string_not_equal(p.hash, q.hash);
    for (int i = 0; i < 2; i++) profile_engine_done(&engines[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presets_take_the_time_of_their_model_to_the_bit),
        cmocka_unit_test(curves_are_straight_between_knots_and_go_on_beyond),
        cmocka_unit_test(a_query_beyond_what_was_measured_is_outside_of_the_grid),
        cmocka_unit_test(a_mixed_step_saves_what_is_shared_of_the_smaller_intercept),
        cmocka_unit_test(a_slip_in_a_curve_cannot_hang),
        cmocka_unit_test(the_order_of_engines_does_not_change_the_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
