/* sampler_test - every stage on examples that can be checked by hand, then the race against a plain implementation. */
#include "tests/test.h"

#include "base/mem.h"
#include "engine/exact_math.h"
#include "engine/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One case: what sampler_next gets, with everything off. */
typedef struct scene {
    float logits[8];
    uint32_t vocab;
    sampling params;
    int32_t prompt[8], output[8], eog[2];
    uint32_t prompt_count, output_count, eog_count;
} scene;

static scene scene_of(const float *logits, uint32_t vocab) {
    scene s = {.vocab = vocab, .params = sampling_default(), .prompt_count = 1};
    memcpy(s.logits, logits, vocab * sizeof *logits);
    return s;
}

static status run(const scene *s, token_out *out) {
    sampler *p = sampler_new(s->vocab);
    const sample_input in = {
        .logits = s->logits,
        .params = &s->params,
        .prompt = s->prompt,
        .prompt_count = s->prompt_count,
        .output = s->output,
        .output_count = s->output_count,
        .eog = s->eog,
        .eog_count = s->eog_count,
    };
    errbuf eb = {0};
    status st = sampler_next(p, &in, out, &eb);
    assert_int_equal(st == ST_OK, eb.text[0] == 0);
    sampler_free(p);
    return st;
}

static int32_t choose(const scene *s) {
    token_out out;
    assert_int_equal(run(s, &out), ST_OK);
    assert_int_equal(out.fin, FINISH_NONE);
    return out.id;
}

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

/* Probabilities 0.4 0.3 0.15 0.1 0.04 0.01 of ids 0 to 5. */
static scene six(void) {
    const float p[] = {0.4f, 0.3f, 0.15f, 0.1f, 0.04f, 0.01f};
    float logits[6];
    for (int i = 0; i < 6; i++) logits[i] = logf(p[i]) + 3.0f; /* a constant must not matter */
    return scene_of(logits, 6);
}

/* --- arithmetic --- */

static void philox_matches_the_published_vectors(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } known[] = { /* kat_vectors of Random123 */
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        uint32_t out[4];
        philox4x32_10(known[i].counter, known[i].key, out);
        assert_memory_equal(out, known[i].want, sizeof out);
    }
}

static void exp_and_log_are_accurate(void **state) {
    (void)state;
    for (float x = 0; x > -87; x -= 0.00371f) {
        float y;
        exact_exp(&x, &y, 1);
        assert_true(fabs((double)y / exp((double)x) - 1) < 2e-7);
    }
    float edge[] = {0, -0.0f, -87, -87.01f, -1e30f, -INFINITY}, out[6];
    exact_exp(edge, out, 6);
    assert_true(out[0] == 1 && out[1] == 1 && out[2] > 0);
    assert_true(out[3] == 0 && out[4] == 0 && out[5] == 0);
    for (double x = 0x1p-33; x < 1e6; x *= 1.0173) assert_true(fabs(exact_log(x) - log(x)) < 1e-15 * fmax(1, fabs(log(x))));
    assert_true(exact_log(1) == 0);
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
    assert_int_equal(choose_greedy((float[]){3, 0, 0.6f}, 3, &p, &h), 2); /* the prompt's token too: 0.6 / 2 = 0.3 */
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
    sample_input in = {.logits = logits, .params = &p, .prompt = prompt, .prompt_count = 1, .output = output, .output_count = 3};
    sampler *s = sampler_new(3);
    token_out out;
    assert_int_equal(sampler_next(s, &in, &out, NULL), ST_OK);
    assert_int_equal(out.id, 1);
    const int32_t other[] = {1};
    in.prompt = other;
    in.output_count = 0;
    assert_int_equal(sampler_next(s, &in, &out, NULL), ST_OK);
    assert_int_equal(out.id, 0);
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

/* --- the race --- */

static void the_position_is_absolute_so_a_replay_draws_the_same(void **state) {
    (void)state;
    scene whole = six(), replay = six();
    whole.prompt_count = 3;
    whole.output_count = 0;
    replay.prompt_count = 1;
    replay.output_count = 2;
    for (uint64_t seed = 0; seed < 100; seed++) {
        whole.params.seed = replay.params.seed = seed;
        assert_int_equal(choose(&whole), choose(&replay));
    }
}

static void seed_choice_and_position_each_change_the_draw(void **state) {
    (void)state;
    uint32_t differ[4] = {0};
    for (uint32_t i = 0; i < 200; i++) {
        scene base = six();
        base.params.seed = i;
        scene other[4] = {base, base, base, base};
        other[0].params.seed = i + 1000;
        other[1].params.seed = i + (1ull << 32); /* the high half counts */
        other[2].params.choice = 1;
        other[3].prompt_count = 2;
        for (int k = 0; k < 4; k++) differ[k] += choose(&base) != choose(&other[k]);
    }
    /* Two independent draws differ with probability 1 - sum p^2 = 0.716: 143 of 200, +-4 deviations. */
    for (int k = 0; k < 4; k++) assert_in_range(differ[k], 117, 169);
}

static void a_filter_that_keeps_the_winner_does_not_move_it(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        scene free_draw = six(), cut = six();
        free_draw.params.seed = cut.params.seed = seed;
        cut.params.top_k = 3;
        int32_t id = choose(&free_draw);
        if (id < 3) assert_int_equal(choose(&cut), id);
    }
}

static void draws_follow_the_distribution(void **state) {
    (void)state;
    enum { DRAWS = 20000 };
    const double p[] = {0.4, 0.3, 0.15, 0.1, 0.04, 0.01};
    uint32_t counts[6] = {0};
    scene s = six();
    for (uint64_t seed = 0; seed < DRAWS; seed++) {
        s.params.seed = seed * 0x9E3779B97F4A7C15ull;
        counts[choose(&s)]++;
    }
    double chi2 = 0;
    for (int i = 0; i < 6; i++) chi2 += (counts[i] - DRAWS * p[i]) * (counts[i] - DRAWS * p[i]) / (DRAWS * p[i]);
    assert_true(chi2 < 11.07); /* 95 % of chi-square with 5 degrees of freedom; the seeds are fixed, so is the result */
}

static void positions_of_one_seed_are_independent(void **state) {
    (void)state;
    /* Pairs (token at t, token at t + 1) of two equally likely tokens: 4 cells. */
    enum { DRAWS = 8000 };
    uint32_t pairs[4] = {0};
    scene s = scene_of((float[]){0, 0}, 2);
    s.params.seed = 42;
    int32_t last = choose(&s);
    for (uint32_t i = 0; i < DRAWS; i++) {
        s.prompt_count = i + 2; /* without penalties the prompt is not read */
        int32_t id = choose(&s);
        pairs[last * 2 + id]++;
        last = id;
    }
    double chi2 = 0;
    for (int i = 0; i < 4; i++) chi2 += (pairs[i] - DRAWS / 4.0) * (pairs[i] - DRAWS / 4.0) / (DRAWS / 4.0);
    assert_true(chi2 < 7.81); /* 95 %, 3 degrees of freedom */
}

static void a_fixed_seed_gives_these_tokens(void **state) {
    (void)state;
    /* Pinned: a change here changes every client's seeded answers, so it needs a reason. */
    static const int32_t want[] = {0, 0, 1, 3, 1, 0, 0, 5, 3, 0, 0, 0, 0, 1, 0, 2, 4, 1, 2, 2, 1, 1, 0, 1};
    scene s = six();
    s.params.seed = 1234567890123456789ull;
    for (uint32_t i = 0; i < ARRAY_LEN(want); i++) {
        s.prompt_count = i + 1;
        assert_int_equal(choose(&s), want[i]);
    }
}

/* --- against a plain implementation on a large vocabulary --- */

typedef struct rival {
    double z;
    int32_t id;
} rival;

static int compare_rivals(const void *a, const void *b) {
    const rival *x = a, *y = b;
    if (x->z != y->z) return x->z < y->z ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Full sort, libm, one Gumbel number per token. */
static int32_t plain_next(const float *logits, uint32_t vocab, const sampling *p, uint32_t position) {
    rival *r = xcalloc(vocab, sizeof *r);
    float best = -INFINITY;
    for (uint32_t i = 0; i < vocab; i++) best = fmaxf(best, logits[i]);
    for (uint32_t i = 0; i < vocab; i++) r[i] = (rival){(double)((logits[i] - best) / p->temperature), (int32_t)i};
    qsort(r, vocab, sizeof *r, compare_rivals);
    uint32_t count = vocab;
    while (exp(r[count - 1].z) < (double)p->min_p) count--;
    if (p->top_k > 0) count = MIN(count, (uint32_t)p->top_k);
    double mass = 0, sum = 0;
    for (uint32_t i = 0; i < count; i++) mass += exp(r[i].z);
    for (uint32_t i = 0; i < count; i++) {
        sum += exp(r[i].z);
        if (p->top_p < 1 && sum >= (double)p->top_p * mass) count = i + 1;
    }
    int32_t winner = -1;
    double most = -INFINITY;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t counter[4] = {(uint32_t)r[i].id / 4, position, p->choice, 0};
        const uint32_t key[2] = {(uint32_t)p->seed, (uint32_t)(p->seed >> 32)};
        uint32_t words[4];
        philox4x32_10(counter, key, words);
        double u = ((double)words[r[i].id % 4] + 0.5) / 4294967296.0;
        double score = r[i].z - log(-log(u));
        if (score <= most) continue;
        most = score;
        winner = r[i].id;
    }
    free(r);
    return winner;
}

static void all_filters_agree_with_a_plain_implementation(void **state) {
    (void)state;
    enum { VOCAB = 3001 };
    static float logits[VOCAB];
    const int32_t prompt[] = {0};
    static const struct {
        float temperature, top_p, min_p;
        int32_t top_k;
    } cases[] = {
        {1, 1, 0, 0}, {0.3f, 1, 0, 0}, {5, 1, 0, 0}, {1, 0.9f, 0, 0},  {3, 0.5f, 0, 0},    {1, 1, 0.05f, 0},
        {1, 1, 0, 1}, {2, 1, 0, 50},   {2, 1, 0, 2500}, {1.5f, 0.7f, 0.001f, 40}, {10, 0.99f, 0, 0}, {0.01f, 0.9f, 0, 10},
    };
    sampler *s = sampler_new(VOCAB);
    uint32_t x = 12345;
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        for (uint32_t seed = 0; seed < 40; seed++) {
            for (uint32_t i = 0; i < VOCAB; i++) {
                x = x * 1664525u + 1013904223u;
                logits[i] = (float)(x >> 20) / 256.0f - 8; /* 4096 values: there are ties */
            }
            sampling p = sampling_default();
            p.temperature = cases[c].temperature;
            p.top_p = cases[c].top_p;
            p.min_p = cases[c].min_p;
            p.top_k = cases[c].top_k;
            p.seed = seed;
            const sample_input in = {.logits = logits, .params = &p, .prompt = prompt, .prompt_count = 1};
            token_out out;
            assert_int_equal(sampler_next(s, &in, &out, NULL), ST_OK);
            assert_int_equal(out.id, plain_next(logits, VOCAB, &p, 1));
        }
    }
    sampler_free(s);
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
    token_out out;
    assert_int_equal(run(&s, &out), ST_OK);
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
    token_out out;
    assert_int_equal(run(&s, &out), ST_OK);
    static const int32_t want[] = {3, 1, 4, 0, 2};
    assert_int_equal(out.top_count, 5);
    for (int i = 0; i < 5; i++) assert_int_equal(out.top[i].id, want[i]);
    s.params.logprobs = 20; /* more than there are */
    assert_int_equal(run(&s, &out), ST_OK);
    assert_int_equal(out.top_count, 6);
    assert_int_equal(out.top[5].id, 5);
}

static void no_logprobs_unless_asked_and_zero_means_the_chosen_one(void **state) {
    (void)state;
    scene s = six();
    s.params.temperature = 0;
    token_out out;
    assert_int_equal(run(&s, &out), ST_OK);
    assert_true(out.logprob == 0 && out.top_count == 0);
    s.params.logprobs = 0;
    assert_int_equal(run(&s, &out), ST_OK);
    assert_true(fabsf(out.logprob - logf(0.4f)) < 1e-6f);
    assert_int_equal(out.top_count, 0);
}

static void logprobs_survive_impossible_tokens(void **state) {
    (void)state;
    scene s = scene_of((float[]){0, -INFINITY, 0}, 3);
    s.params.temperature = 0;
    s.params.logprobs = 3;
    token_out out;
    assert_int_equal(run(&s, &out), ST_OK);
    assert_true(fabsf(out.logprob - logf(0.5f)) < 1e-6f);
    assert_true(isinf(out.top[2].logprob) && out.top[2].id == 1);
}

/* --- what is broken --- */

static void broken_logits_are_refused(void **state) {
    (void)state;
    token_out out = {.id = 77};
    for (int greedy = 0; greedy < 2; greedy++) {
        const float bad[][3] = {{1, NAN, 2}, {NAN, 1, 2}, {1, INFINITY, 2}, {-INFINITY, -INFINITY, -INFINITY}};
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
            scene s = scene_of(bad[i], 3);
            s.params.temperature = greedy ? 0 : 1;
            assert_int_equal(run(&s, &out), ST_CORRUPT);
        }
    }
    assert_int_equal(out.id, 77); /* written only on success */
}

static void a_vocabulary_that_is_banned_entirely_is_refused(void **state) {
    (void)state;
    const int32_t stop[] = {1};
    scene s = scene_of((float[]){1, 2}, 2);
    s.eog_count = 1;
    s.params.stop_ids = stop;
    s.params.stop_id_count = 1;
    s.params.min_tokens = 1;
    token_out out;
    assert_int_equal(run(&s, &out), ST_CORRUPT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_matches_the_published_vectors),
        cmocka_unit_test(exp_and_log_are_accurate),
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
        cmocka_unit_test(without_filters_every_token_can_come),
        cmocka_unit_test(top_k_keeps_k),
        cmocka_unit_test(top_p_keeps_the_token_that_reaches_it),
        cmocka_unit_test(min_p_is_relative_to_the_best),
        cmocka_unit_test(temperature_comes_before_min_p),
        cmocka_unit_test(min_p_comes_before_top_p),
        cmocka_unit_test(top_k_comes_before_top_p),
        cmocka_unit_test(the_filters_keep_the_lowest_ids_of_equals),
        cmocka_unit_test(a_tiny_temperature_is_greedy_and_overflows_nothing),
        cmocka_unit_test(the_position_is_absolute_so_a_replay_draws_the_same),
        cmocka_unit_test(seed_choice_and_position_each_change_the_draw),
        cmocka_unit_test(a_filter_that_keeps_the_winner_does_not_move_it),
        cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(positions_of_one_seed_are_independent),
        cmocka_unit_test(a_fixed_seed_gives_these_tokens),
        cmocka_unit_test(all_filters_agree_with_a_plain_implementation),
        cmocka_unit_test(logprobs_are_of_the_raw_logits),
        cmocka_unit_test(the_best_are_sorted_and_equals_by_id),
        cmocka_unit_test(no_logprobs_unless_asked_and_zero_means_the_chosen_one),
        cmocka_unit_test(logprobs_survive_impossible_tokens),
        cmocka_unit_test(broken_logits_are_refused),
        cmocka_unit_test(a_vocabulary_that_is_banned_entirely_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
