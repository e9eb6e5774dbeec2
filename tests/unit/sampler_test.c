/* sampler_test - every stage before the draw, and the logprobs, on examples that can be checked by hand. */
#include "tests/unit/sampler_scene.h"

static int32_t choose_greedy(const float *logits, uint32_t vocab, const sampling *p, const scene *history) {
    scene s = history ? *history : scene_of(logits, vocab);
    memcpy(s.logits, logits, vocab * sizeof *logits);
    s.vocab = vocab;
    s.params = *p;
    s.params.temperature = 0;
    return choose(&s);
}

/* Which ids can come out: bit i of the result. 3000 seeds; the rarest in these tests has probability 0.01. */
static uint32_t reached(scene *s) {
    uint32_t bits = 0;
    for (uint64_t seed = 0; seed < 3000; seed++) {
        s->params.seed = seed;
        bits |= 1u << choose(s);
    }
    return bits;
}

/* --- greedy, bias, penalties, bans --- */

static void greedy_takes_the_largest_and_of_equals_the_lowest_id(void **state) {
    (void)state;
    const sampling p = sampling_default();
    assert_int_equal(choose_greedy((float[]){1, 3, 2}, 3, &p, NULL), 1);
    assert_int_equal(choose_greedy((float[]){1, 3, 2, 3}, 4, &p, NULL), 1);
    assert_int_equal(choose_greedy((float[]){-5, -5}, 2, &p, NULL), 0);
    assert_int_equal(choose_greedy((float[]){-INFINITY, -5}, 2, &p, NULL), 1);
}

static void greedy_ignores_the_filters(void **state) {
    (void)state;
    scene s = six();
    s.params.temperature = 0;
    s.params.top_k = 1;
    s.params.top_p = 0.01f;
    s.params.min_p = 1;
    assert_int_equal(choose(&s), 0);
}

static void a_bias_is_added(void **state) {
    (void)state;
    const sampling_bias bias[] = {{0, 1.5f}, {1, -0.5f}, {0, 0.25f}}; /* 0: 1 + 1.75, 1: 2 */
    sampling p = sampling_default();
    p.bias = bias;
    p.bias_count = 3;
    assert_int_equal(choose_greedy((float[]){1, 2.5f, 2.7f}, 3, &p, NULL), 0);
    assert_int_equal(choose_greedy((float[]){1, 2.5f, 2.8f}, 3, &p, NULL), 2);
    assert_int_equal(choose_greedy((float[]){1, 3.3f, 2.7f}, 3, &p, NULL), 1);
}

static void repetition_divides_positive_and_multiplies_negative_logits(void **state) {
    (void)state;
    scene h = {.prompt = {0, 0}, .prompt_count = 2}; /* twice in the prompt counts once */
    sampling p = sampling_default();
    p.repetition_penalty = 1.5f; /* 2 / 1.5 = 1.333 */
    assert_int_equal(choose_greedy((float[]){2, 1.4f}, 2, &p, &h), 1);
    assert_int_equal(choose_greedy((float[]){2, 1.3f}, 2, &p, &h), 0);
    assert_int_equal(choose_greedy((float[]){-1, -1.4f}, 2, &p, &h), 1); /* -1.5 */
    assert_int_equal(choose_greedy((float[]){-1, -1.6f}, 2, &p, &h), 0);
}

static void repetition_sees_prompt_and_output_the_others_the_output_only(void **state) {
    (void)state;
    scene in_prompt = {.prompt = {0}, .prompt_count = 1};
    scene in_output = {.prompt = {2}, .prompt_count = 1, .output = {0}, .output_count = 1};
    const float logits[] = {2, 1.9f, 0};
    sampling p = sampling_default();
    p.repetition_penalty = 1.2f;
    assert_int_equal(choose_greedy(logits, 3, &p, &in_prompt), 1);
    assert_int_equal(choose_greedy(logits, 3, &p, &in_output), 1);
    p.repetition_penalty = 1;
    p.presence_penalty = 0.5f;
    assert_int_equal(choose_greedy(logits, 3, &p, &in_prompt), 0);
    assert_int_equal(choose_greedy(logits, 3, &p, &in_output), 1);
    p.presence_penalty = 0;
    p.frequency_penalty = 0.5f;
    assert_int_equal(choose_greedy(logits, 3, &p, &in_prompt), 0);
    assert_int_equal(choose_greedy(logits, 3, &p, &in_output), 1);
}

static void frequency_counts_and_presence_does_not(void **state) {
    (void)state;
    scene h = {.prompt = {2}, .prompt_count = 1, .output = {0, 1, 0, 0}, .output_count = 4};
    sampling p = sampling_default();
    p.frequency_penalty = 0.25f; /* 0: 3 - 0.75 = 2.25 */
    assert_int_equal(choose_greedy((float[]){3, 0, 2.2f}, 3, &p, &h), 0);
    assert_int_equal(choose_greedy((float[]){3, 0, 2.3f}, 3, &p, &h), 2);
    p.presence_penalty = 0.5f; /* 1.75 */
    assert_int_equal(choose_greedy((float[]){3, 0, 1.7f}, 3, &p, &h), 0);
    assert_int_equal(choose_greedy((float[]){3, 0, 1.8f}, 3, &p, &h), 2);
    p.repetition_penalty = 2; /* 3 / 2 - 1.25 = 0.25: repetition first */
    assert_int_equal(choose_greedy((float[]){3, 0, 0.2f}, 3, &p, &h), 0);
    assert_int_equal(choose_greedy((float[]){3, 0, 0.6f}, 3, &p, &h),
                     2); /* the prompt's token too: 0.6 / 2 = 0.3 */
}

static void a_negative_penalty_rewards(void **state) {
    (void)state;
    scene h = {.prompt = {2}, .prompt_count = 1, .output = {0}, .output_count = 1};
    sampling p = sampling_default();
    p.presence_penalty = -1;
    assert_int_equal(choose_greedy((float[]){1, 1.9f}, 2, &p, &h), 0);
}

static void bias_comes_before_penalties(void **state) {
    (void)state;
    scene h = {.prompt = {0}, .prompt_count = 1};
    const sampling_bias bias = {0, 1};
    sampling p = sampling_default();
    p.bias = &bias;
    p.bias_count = 1;
    p.repetition_penalty = 1.25f; /* (1 + 1) / 1.25 = 1.6, while 1 / 1.25 + 1 would be 1.8 */
    assert_int_equal(choose_greedy((float[]){1, 1.7f}, 2, &p, &h), 1);
}

static void penalties_leave_no_trace_in_the_sampler(void **state) {
    (void)state;
    const float logits[] = {2, 1.9f, 0};
    const int32_t prompt[] = {0}, output[] = {0, 0, 2};
    sampling p = sampling_default();
    p.temperature = 0;
    p.repetition_penalty = 1.2f;
    p.presence_penalty = 0.5f;
    sample_input in = {
        .params = &p, .prompt = prompt, .prompt_count = 1, .output = output, .output_count = 3};
    sampler *s = sampler_new(3);
    sample_result out;
    sampler_next(s, logits, &in, &out);
    assert_int_equal(out.token.id, 1);
    const int32_t other[] = {1};
    in.prompt = other;
    in.output_count = 0;
    sampler_next(s, logits, &in, &out);
    assert_int_equal(out.token.id, 0);
    sampler_free(s);
}

static void min_tokens_bans_ends_and_stop_ids_until_it_is_reached(void **state) {
    (void)state;
    const int32_t stop[] = {1, 700}; /* an id that the vocabulary lacks is harmless */
    scene s = scene_of((float[]){5, 4, 3}, 3);
    s.eog[0] = 0;
    s.eog_count = 1;
    s.params.temperature = 0;
    s.params.stop_ids = stop;
    s.params.stop_id_count = 2;
    s.output[0] = s.output[1] = 2;
    s.params.min_tokens = 2;
    assert_int_equal(choose(&s), 2);
    s.output_count = 1;
    assert_int_equal(choose(&s), 2);
    s.output_count = 2; /* two tokens are out: the third may be the end */
    assert_int_equal(choose(&s), 0);
}

static void ignore_eos_bans_nothing_and_lifts_no_ban(void **state) {
    (void)state;
    scene s = scene_of((float[]){5, 4}, 2);
    s.eog_count = 1; /* id 0 */
    s.params.temperature = 0;
    s.params.ignore_eos = true;
    assert_int_equal(choose(&s), 0);
    s.params.min_tokens = 1;
    assert_int_equal(choose(&s), 1);
}

static void a_ban_is_stronger_than_a_bias(void **state) {
    (void)state;
    const sampling_bias bias = {0, 100};
    scene s = scene_of((float[]){5, 4}, 2);
    s.eog_count = 1;
    s.params.temperature = 0;
    s.params.min_tokens = 1;
    s.params.bias = &bias;
    s.params.bias_count = 1;
    assert_int_equal(choose(&s), 1);
}

static void a_mask_bans_what_it_lacks_and_leaves_the_logprobs(void **state) {
    (void)state;
    const sampling_bias bias = {0, 100};
    scene s = six();
    s.params.bias = &bias;
    s.params.bias_count = 1;
    s.params.logprobs = 1;
    s.mask = 0x2c;
    assert_int_equal(reached(&s), 0x2c);
    s.params.temperature = 0;
    token_out t = run_well(&s);
    assert_int_equal(t.id, 2);
    assert_int_equal(t.top[0].id, 0); /* the raw logits' best */
    assert_float_equal(t.logprob, logf(0.15f), 1e-5);
    s.mask = 0xc0; /* bits behind the vocabulary are nothing */
    assert_true(run(&s).banned);
}

static void a_mask_takes_the_place_of_the_ban_of_min_tokens(void **state) {
    (void)state;
    scene s = scene_of((float[]){5, 4, 3}, 3);
    s.eog_count = 1; /* id 0 */
    s.params.temperature = 0;
    s.params.min_tokens = 9;
    s.mask = 0x5;
    assert_int_equal(choose(&s), 0);
}

/* Words that are empty, full and mixed, and a last one that is not whole. */
static void a_mask_of_many_words_leaves_its_ids_only(void **state) {
    (void)state;
    enum { VOCAB = 201 };
    float logits[VOCAB];
    uint32_t mask[(VOCAB + 31) / 32];
    for (int i = 0; i < VOCAB; i++) logits[i] = (float)((i * 37) % 101);
    sampling p = sampling_default();
    p.temperature = 0;
    sampler *sm = sampler_new(VOCAB);
    for (int32_t only = 0; only < VOCAB; only++) {
        memset(mask, 0, sizeof mask);
        mask[only / 32] = 1u << (only % 32);
        const sample_input in = {.params = &p, .prompt_count = 1, .mask = mask};
        sample_result r;
        sampler_next(sm, logits, &in, &r);
        assert_false(r.broken);
        assert_int_equal(r.token.id, only);
    }
    sampler_free(sm);
}

/* --- filters --- */

static void without_filters_every_token_can_come(void **state) {
    (void)state;
    scene s = six();
    assert_int_equal(reached(&s), 0x3f);
}

static void top_k_keeps_k(void **state) {
    (void)state;
    scene s = six();
    s.params.top_k = 2;
    assert_int_equal(reached(&s), 0x3);
    s.params.top_k = 6;
    assert_int_equal(reached(&s), 0x3f);
    s.params.top_k = 1000;
    assert_int_equal(reached(&s), 0x3f);
    s.params.top_k = -1;
    assert_int_equal(reached(&s), 0x3f);
}

static void top_p_keeps_the_token_that_reaches_it(void **state) {
    (void)state;
    scene s = six();
    s.params.top_p = 0.8f; /* 0.4 + 0.3 < 0.8 <= 0.4 + 0.3 + 0.15 */
    assert_int_equal(reached(&s), 0x7);
    s.params.top_p = 0.69f;
    assert_int_equal(reached(&s), 0x3);
    s.params.top_p = 0.999f;
    assert_int_equal(reached(&s), 0x3f);
    s.params.top_p = 1e-6f; /* never none */
    assert_int_equal(reached(&s), 0x1);
}

static void min_p_is_relative_to_the_best(void **state) {
    (void)state;
    scene s = six();
    s.params.min_p = 0.3f; /* 0.12 */
    assert_int_equal(reached(&s), 0x7);
    s.params.min_p = 0.9f;
    assert_int_equal(reached(&s), 0x1);
    s.params.min_p = 1;
    assert_int_equal(reached(&s), 0x1);
}

static void temperature_comes_before_min_p(void **state) {
    (void)state;
    scene s = six();
    s.params.temperature = 2; /* square roots: 0.04 / 0.4 -> 0.316, 0.01 / 0.4 -> 0.158 */
    s.params.min_p = 0.3f;
    assert_int_equal(reached(&s), 0x1f);
}

static void min_p_comes_before_top_p(void **state) {
    (void)state;
    scene s = six();
    s.params.min_p = 0.3f; /* leaves 0.47 0.35 0.18 */
    s.params.top_p = 0.8f; /* 0.47 + 0.35 = 0.82 */
    assert_int_equal(reached(&s), 0x3);
}

static void top_k_comes_before_top_p(void **state) {
    (void)state;
    scene s = six();
    s.params.top_k = 3; /* leaves 0.47 0.35 0.18 */
    s.params.top_p = 0.8f;
    assert_int_equal(reached(&s), 0x3);
}

static void the_filters_keep_the_lowest_ids_of_equals(void **state) {
    (void)state;
    scene s = scene_of((float[]){1, 1, 1, 1, 1}, 5);
    s.params.top_k = 2;
    assert_int_equal(reached(&s), 0x3);
    s.params.top_k = 0;
    s.params.top_p = 0.5f; /* 3 of 5 */
    assert_int_equal(reached(&s), 0x7);
    s.params.top_k = 4;
    assert_int_equal(reached(&s), 0x3); /* 2 of 4 */
}

static void a_tiny_temperature_is_greedy_and_overflows_nothing(void **state) {
    (void)state;
    scene s = six();
    s.params.temperature = 1e-30f;
    assert_int_equal(reached(&s), 0x1);
    s.params.temperature = 1;
    s.params.repetition_penalty = 1e-38f; /* a logit beyond FLT_MAX is held there */
    s.prompt[0] = 1;
    assert_int_equal(reached(&s), 0x2);
}

/* --- logprobs --- */

static void logprobs_are_of_the_raw_logits(void **state) {
    (void)state;
    const sampling_bias bias = {3, 50};
    scene s = six();
    s.params.bias = &bias;
    s.params.bias_count = 1;
    s.params.temperature = 0.5f;
    s.params.top_k = 1;
    s.params.logprobs = 2;
    token_out out = run_well(&s);
    assert_int_equal(out.id, 3);
    assert_true(fabsf(out.logprob - logf(0.1f)) < 1e-6f);
    assert_int_equal(out.top_count, 2);
    assert_int_equal(out.top[0].id, 0);
    assert_true(fabsf(out.top[0].logprob - logf(0.4f)) < 1e-6f);
    assert_int_equal(out.top[1].id, 1);
    assert_true(fabsf(out.top[1].logprob - logf(0.3f)) < 1e-6f);
}

static void the_best_are_sorted_and_equals_by_id(void **state) {
    (void)state;
    scene s = scene_of((float[]){1, 2, 1, 3, 2, 1}, 6);
    s.params.temperature = 0;
    s.params.logprobs = 5;
    token_out out = run_well(&s);
    static const int32_t want[] = {3, 1, 4, 0, 2};
    assert_int_equal(out.top_count, 5);
    for (int i = 0; i < 5; i++) assert_int_equal(out.top[i].id, want[i]);
    s.params.logprobs = 20; /* more than there are */
    out = run_well(&s);
    assert_int_equal(out.top_count, 6);
    assert_int_equal(out.top[5].id, 5);
}

static void no_logprobs_unless_asked_and_zero_means_the_chosen_one(void **state) {
    (void)state;
    scene s = six();
    s.params.temperature = 0;
    token_out out = run_well(&s);
    assert_true(out.logprob == 0 && out.top_count == 0);
    s.params.logprobs = 0;
    out = run_well(&s);
    assert_true(fabsf(out.logprob - logf(0.4f)) < 1e-6f);
    assert_int_equal(out.top_count, 0);
}

static void logprobs_survive_impossible_tokens(void **state) {
    (void)state;
    scene s = scene_of((float[]){0, -INFINITY, 0}, 3);
    s.params.temperature = 0;
    s.params.logprobs = 3;
    token_out out = run_well(&s);
    assert_true(fabsf(out.logprob - logf(0.5f)) < 1e-6f);
    assert_true(isinf(out.top[2].logprob) && out.top[2].id == 1);
}

/* --- what is broken --- */

static void broken_logits_are_refused(void **state) {
    (void)state;
    for (int greedy = 0; greedy < 2; greedy++) {
        const float bad[][3] = {
            {1, NAN, 2}, {NAN, 1, 2}, {1, INFINITY, 2}, {-INFINITY, -INFINITY, -INFINITY}};
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
            scene s = scene_of(bad[i], 3);
            s.params.temperature = greedy ? 0 : 1;
            sample_result r = run(&s);
            assert_true(r.broken);
            assert_false(r.banned);
        }
    }
}

static void a_vocabulary_that_is_banned_entirely_is_refused(void **state) {
    (void)state;
    const int32_t stop[] = {1};
    scene s = scene_of((float[]){1, 2}, 2);
    s.eog_count = 1;
    s.params.stop_ids = stop;
    s.params.stop_id_count = 1;
    s.params.min_tokens = 1;
    sample_result r = run(&s);
    assert_true(r.broken);
    assert_true(r.banned);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_largest_and_of_equals_the_lowest_id),
        cmocka_unit_test(greedy_ignores_the_filters),
        cmocka_unit_test(a_bias_is_added),
        cmocka_unit_test(repetition_divides_positive_and_multiplies_negative_logits),
        cmocka_unit_test(repetition_sees_prompt_and_output_the_others_the_output_only),
        cmocka_unit_test(frequency_counts_and_presence_does_not),
        cmocka_unit_test(a_negative_penalty_rewards),
        cmocka_unit_test(bias_comes_before_penalties),
        cmocka_unit_test(penalties_leave_no_trace_in_the_sampler),
        cmocka_unit_test(min_tokens_bans_ends_and_stop_ids_until_it_is_reached),
        cmocka_unit_test(ignore_eos_bans_nothing_and_lifts_no_ban),
        cmocka_unit_test(a_ban_is_stronger_than_a_bias),
        cmocka_unit_test(a_mask_bans_what_it_lacks_and_leaves_the_logprobs),
        cmocka_unit_test(a_mask_takes_the_place_of_the_ban_of_min_tokens),
        cmocka_unit_test(a_mask_of_many_words_leaves_its_ids_only),
        cmocka_unit_test(without_filters_every_token_can_come),
        cmocka_unit_test(top_k_keeps_k),
        cmocka_unit_test(top_p_keeps_the_token_that_reaches_it),
        cmocka_unit_test(min_p_is_relative_to_the_best),
        cmocka_unit_test(temperature_comes_before_min_p),
        cmocka_unit_test(min_p_comes_before_top_p),
        cmocka_unit_test(top_k_comes_before_top_p),
        cmocka_unit_test(the_filters_keep_the_lowest_ids_of_equals),
        cmocka_unit_test(a_tiny_temperature_is_greedy_and_overflows_nothing),
        cmocka_unit_test(logprobs_are_of_the_raw_logits),
        cmocka_unit_test(the_best_are_sorted_and_equals_by_id),
        cmocka_unit_test(no_logprobs_unless_asked_and_zero_means_the_chosen_one),
        cmocka_unit_test(logprobs_survive_impossible_tokens),
        cmocka_unit_test(broken_logits_are_refused),
        cmocka_unit_test(a_vocabulary_that_is_banned_entirely_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
