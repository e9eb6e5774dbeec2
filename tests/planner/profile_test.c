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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presets_take_the_time_of_their_model_to_the_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
