/* What a row of logits says of a given token: its log-probability, its rank, and the best. */
#include "tests/unit/sampler_scene.h"

#include <stdlib.h>

static sample_result score(const float *logits, uint32_t vocab, int32_t given, int32_t wanted) {
    sampling params = sampling_default();
    params.prompt_logprobs = wanted;
    params.logprobs = 7; /* of generated tokens: has no say */
    const sample_input in = {.score = true, .given = given, .params = &params};
    sampler *p = sampler_new(vocab);
    sample_result r;
    memset(&r, 0xee, sizeof r); /* all of it is written */
    sampler_next(p, logits, &in, &r);
    sampler_free(p);
    assert_int_equal(r.token.id, given);
    assert_false(r.banned);
    return r;
}

static token_out score_well(const float *logits, uint32_t vocab, int32_t given, int32_t wanted) {
    sample_result r = score(logits, vocab, given, wanted);
    assert_false(r.broken);
    assert_int_equal(r.token.fin, FINISH_NONE);
    return r.token;
}

static void a_given_token_has_its_own_logprob_and_rank(void **state) {
    (void)state;
    scene s = six();
    const float p[] = {0.4f, 0.3f, 0.15f, 0.1f, 0.04f, 0.01f};
    for (int32_t id = 0; id < 6; id++) {
        token_out t = score_well(s.logits, s.vocab, id, 0);
        assert_true(fabsf(t.logprob - logf(p[id])) < 1e-6f);
        assert_int_equal(t.rank, id + 1);
        assert_int_equal(t.top_count, 0);
    }
}

static void of_equals_the_lowest_id_has_the_best_rank(void **state) {
    (void)state;
    const float logits[] = {1, 3, 2, 3, 3, -1};
    const uint32_t ranks[] = {5, 1, 4, 2, 3, 6};
    for (int32_t id = 0; id < 6; id++) assert_int_equal(score_well(logits, 6, id, 0).rank, ranks[id]);
}

/* Whatever the blocks are that the vocabulary is searched in. */
static void the_token_of_rank_n_is_the_nth_of_the_best(void **state) {
    (void)state;
    enum { VOCAB = 1000 };
    float *logits = xcalloc(VOCAB, sizeof *logits);
    for (uint32_t i = 0; i < VOCAB; i++) logits[i] = (float)(i * 7919 % 61) / 4; /* each some 16 times */
    token_out best = score_well(logits, VOCAB, 0, SAMPLING_LOGPROBS_MAX);
    assert_int_equal(best.top_count, SAMPLING_LOGPROBS_MAX);
    for (uint32_t n = 0; n < best.top_count; n++) {
        token_out t = score_well(logits, VOCAB, best.top[n].id, 3);
        assert_int_equal(t.rank, n + 1);
        assert_true(t.logprob == best.top[n].logprob);
        assert_int_equal(t.top_count, 3);
        assert_memory_equal(t.top, best.top, 3 * sizeof *t.top);
    }
    free(logits);
}

static void a_token_outside_of_the_best_leaves_them_as_they_are(void **state) {
    (void)state;
    scene s = six();
    token_out t = score_well(s.logits, s.vocab, 5, 2);
    assert_int_equal(t.rank, 6);
    assert_int_equal(t.top_count, 2);
    assert_int_equal(t.top[0].id, 0);
    assert_int_equal(t.top[1].id, 1);
    assert_int_equal(score_well(s.logits, s.vocab, 5, SAMPLING_LOGPROBS_MAX).top_count,
                     6); /* no more exist */
}

static void an_impossible_token_is_minus_infinity_and_behind_all_others(void **state) {
    (void)state;
    const float logits[] = {-INFINITY, 0, -INFINITY, 0};
    token_out first = score_well(logits, 4, 0, 4), last = score_well(logits, 4, 2, 4);
    assert_true(first.logprob == -INFINITY && last.logprob == -INFINITY);
    assert_int_equal(first.rank, 3);
    assert_int_equal(last.rank, 4);
    assert_int_equal(last.top_count, 4);
    assert_int_equal(last.top[3].id, 2);
}

static void broken_logits_say_nothing(void **state) {
    (void)state;
    const float bad[][3] = {{1, NAN, 2}, {NAN, 1, 2}, {1, INFINITY, 2}, {-INFINITY, -INFINITY, -INFINITY}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        for (int32_t id = 0; id < 3; id++) {
            sample_result r = score(bad[i], 3, id, 2);
            assert_true(r.broken);
            assert_int_equal(r.token.rank, 0);
            assert_int_equal(r.token.top_count, 0);
        }
}

/* Huge ones, and others that vanish beside them. */
static void logits_of_any_size_give_numbers(void **state) {
    (void)state;
    const float logits[] = {1e8f, -3e38f, 0, 1e8f};
    token_out best = score_well(logits, 4, 3, 1), worst = score_well(logits, 4, 1, 1);
    assert_true(fabsf(best.logprob - logf(0.5f)) < 1e-6f);
    assert_int_equal(best.rank, 2);
    assert_true(worst.logprob <= -3e38f && !isnan(worst.logprob));
    assert_int_equal(worst.rank, 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_given_token_has_its_own_logprob_and_rank),
        cmocka_unit_test(of_equals_the_lowest_id_has_the_best_rank),
        cmocka_unit_test(the_token_of_rank_n_is_the_nth_of_the_best),
        cmocka_unit_test(a_token_outside_of_the_best_leaves_them_as_they_are),
        cmocka_unit_test(an_impossible_token_is_minus_infinity_and_behind_all_others),
        cmocka_unit_test(broken_logits_say_nothing),
        cmocka_unit_test(logits_of_any_size_give_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
