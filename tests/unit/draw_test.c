/* draw_test - the random choice: its arithmetic, its distribution, and against a plain implementation. */
#include "tests/unit/sampler_scene.h"

#include "kernels/host/exact_math.h"
#include "kernels/philox.h"

#include <stdlib.h>

/* --- arithmetic --- */

static void philox_matches_the_published_vectors(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } known[] = {
        /* kat_vectors of Random123 */
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
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
    for (double x = 0x1p-33; x < 1e6; x *= 1.0173)
        assert_true(fabs(exact_log(x) - log(x)) < 1e-15 * fmax(1, fabs(log(x))));
    assert_true(exact_log(1) == 0);
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
    for (int i = 0; i < 6; i++)
        chi2 += (counts[i] - DRAWS * p[i]) * (counts[i] - DRAWS * p[i]) / (DRAWS * p[i]);
    assert_true(
        chi2 <
        11.07); /* 95 % of chi-square with 5 degrees of freedom; the seeds are fixed, so is the result */
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
    for (uint32_t i = 0; i < vocab; i++)
        r[i] = (rival){(double)((logits[i] - best) / p->temperature), (int32_t)i};
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
        {1, 1, 0, 0},    {0.3f, 1, 0, 0},          {5, 1, 0, 0},      {1, 0.9f, 0, 0},
        {3, 0.5f, 0, 0}, {1, 1, 0.05f, 0},         {1, 1, 0, 1},      {2, 1, 0, 50},
        {2, 1, 0, 2500}, {1.5f, 0.7f, 0.001f, 40}, {10, 0.99f, 0, 0}, {0.01f, 0.9f, 0, 10},
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
            const sample_input in = {.params = &p, .prompt = prompt, .prompt_count = 1};
            sample_result out;
            sampler_next(s, logits, &in, &out);
            assert_int_equal(out.token.id, plain_next(logits, VOCAB, &p, 1));
        }
    }
    sampler_free(s);
}

/* --- the mass of a token is a whole number --- */

enum { TAIL = 1 << 20 };

static bool second_can_come(sampler *s, const float *logits, float top_p) {
    bool came = false;
    for (uint64_t seed = 0; seed < 24; seed++) {
        sampling p = sampling_default();
        p.top_p = top_p;
        p.seed = seed;
        const sample_input in = {.params = &p, .prompt_count = 1};
        sample_result out;
        sampler_next(s, logits, &in, &out);
        came |= out.token.id == 1;
    }
    return came;
}

/* Two likely tokens, and a million of which each has 1.9 units of 2^-40: it counts as 1. The largest top_p
 * that the first token fills by that rule is one that it would not fill if the fractions counted. */
static void top_p_counts_whole_units_of_probability(void **state) {
    (void)state;
    float *logits = xcalloc(TAIL + 2, sizeof *logits);
    const float z[] = {-0.5f, -27.083f};
    float p[2];
    exact_exp(z, p, 2);
    logits[1] = z[0];
    for (uint32_t i = 0; i < TAIL; i++) logits[2 + i] = z[1];
    const uint64_t first = (uint64_t)1 << 40;
    uint64_t second = (uint64_t)(p[0] * 0x1p40f), total = first + second + TAIL;
    assert_int_equal((uint64_t)(p[1] * 0x1p40f), 1);
    double exact_total = (double)(first + second) + (double)p[1] * 0x1p40 * TAIL;
    float most = (float)((double)first / (double)total);
    while (ceil((double)most * (double)total) > (double)first) most = nextafterf(most, 0);
    assert_true((double)most * exact_total > (double)first);

    sampler *s = sampler_new(TAIL + 2);
    assert_false(second_can_come(s, logits, most));
    assert_true(second_can_come(s, logits, nextafterf(most, 1)));
    sampler_free(s);
    free(logits);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_matches_the_published_vectors),
        cmocka_unit_test(exp_and_log_are_accurate),
        cmocka_unit_test(the_position_is_absolute_so_a_replay_draws_the_same),
        cmocka_unit_test(seed_choice_and_position_each_change_the_draw),
        cmocka_unit_test(a_filter_that_keeps_the_winner_does_not_move_it),
        cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(positions_of_one_seed_are_independent),
        cmocka_unit_test(a_fixed_seed_gives_these_tokens),
        cmocka_unit_test(all_filters_agree_with_a_plain_implementation),
        cmocka_unit_test(top_p_counts_whole_units_of_probability),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
