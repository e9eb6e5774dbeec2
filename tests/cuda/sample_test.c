/* sample_test - the sampler of the GPU chooses the ids that the host's sampler chooses: random rows of every
 * kind of logits, with every stage of the chain alone and together. Equal ids are asked for, not near ones.
 */
#include "tests/cuda/gpu.h"

#include "base/mem.h"
#include "base/tensor.h"
#include "kernels/host/exact_math.h"
#include "kernels/host/sampler.h"
#include "kernels/philox.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- dice: counter-based, the same in every run --- */

typedef struct dice {
    uint64_t seed, at;
} dice;

static uint32_t roll(dice *d, uint32_t sides) { /* 0..sides - 1 */
    uint64_t bits = 0;
    for (int i = 0; i < 4; i++) bits = bits << 8 | ((uint64_t)(random_weight(d->seed, d->at++) + 255) / 2);
    return (uint32_t)(bits * sides >> 32);
}

static float even(dice *d) { /* 0..1 */
    return (float)roll(d, 1u << 24) * 0x1p-24f;
}

static float normal(dice *d) { /* about N(0, 1) */
    float sum = -6;
    for (int i = 0; i < 12; i++) sum += even(d);
    return sum;
}

/* --- scenes --- */

enum { ROWS = 8, IDS_MAX = 40, BIAS_MAX = 24, BANS_MAX = 4 };

/* One row and how its token is to be chosen. */
typedef struct scene {
    float *logits; /* [vocab] */
    sampling params;
    int32_t ids[2 * IDS_MAX]; /* prompt, output behind it */
    uint32_t prompt_count, output_count;
    int32_t eog[BANS_MAX], stop[BANS_MAX];
    uint32_t eog_count;
    sampling_bias bias[BIAS_MAX];
} scene;

enum { FILTERS = 1, PENALTIES = 2, BIASES = 4, BANS = 8, GREEDY = 16, EVERYTHING = 31 };

enum {
    LOGITS_NORMAL,
    LOGITS_WIDE,
    LOGITS_PEAK,
    LOGITS_FLAT,
    LOGITS_STEPS,
    LOGITS_CLOSE,
    LOGITS_HOLES,
    LOGITS_EXTREME,
    LOGITS_KINDS
};

static float logit_of_kind(dice *d, uint32_t kind, uint32_t id) {
    switch (kind) {
    case LOGITS_NORMAL:
        return 2 * normal(d);
    case LOGITS_WIDE:
        return 40 * normal(d);
    case LOGITS_PEAK:
        return roll(d, 50) ? normal(d) - 12 : normal(d) + 4;
    case LOGITS_FLAT:
        return -1.25f;
    case LOGITS_STEPS:
        return (float)roll(d, 5) * 0.5f - 30; /* many of equal value */
    case LOGITS_CLOSE:
        return 1 + (float)roll(d, 1000) * 0x1p-23f;
    case LOGITS_HOLES:
        return roll(d, 3) && id > 0 ? -INFINITY : normal(d);
    default:
        return roll(d, 2) ? (roll(d, 2) ? FLT_MAX : -FLT_MAX) : normal(d) * 1e30f;
    }
}

static float *new_logits(dice *d, uint32_t vocab) {
    float *x = xmalloc(vocab * sizeof *x);
    uint32_t kind = roll(d, LOGITS_KINDS);
    for (uint32_t i = 0; i < vocab; i++) x[i] = logit_of_kind(d, kind, i);
    return x;
}

#define PICK(d, list) ((list)[roll((d), sizeof(list) / sizeof *(list))])

static void add_filters(dice *d, sampling *p, uint32_t vocab) {
    static const float shares[] = {1, 1, 0.999f, 0.95f, 0.9f, 0.5f, 0.1f, 1e-6f};
    static const float floors[] = {0, 0, 0, 1e-30f, 0.02f, 0.5f, 1};
    const int32_t counts[] = {
        -1, 0, 1, 2, 3, 5, 40, (int32_t)vocab / 2, (int32_t)vocab - 1, (int32_t)vocab, INT32_MAX};
    p->top_p = PICK(d, shares);
    p->min_p = PICK(d, floors);
    p->top_k = PICK(d, counts);
}

static void add_penalties(dice *d, scene *s, uint32_t vocab) {
    static const float repetitions[] = {1, 1, 1.1f, 1.5f, 0.5f, 1e-30f};
    static const float others[] = {0, 0, 0.3f, 2, -1.5f};
    s->params.repetition_penalty = PICK(d, repetitions);
    s->params.presence_penalty = PICK(d, others);
    s->params.frequency_penalty = PICK(d, others);
    s->prompt_count = roll(d, IDS_MAX);
    s->output_count = roll(d, IDS_MAX);
    uint32_t among = roll(d, 2) ? vocab : MIN(vocab, 6u); /* some ids many times */
    for (uint32_t i = 0; i < s->prompt_count + s->output_count; i++) s->ids[i] = (int32_t)roll(d, among);
}

static void add_biases(dice *d, scene *s, uint32_t vocab) {
    s->params.bias_count = roll(d, BIAS_MAX + 1);
    uint32_t among = roll(d, 2) ? vocab : MIN(vocab, 3u); /* some ids twice and more */
    for (uint32_t i = 0; i < s->params.bias_count; i++)
        s->bias[i] =
            (sampling_bias){.id = (int32_t)roll(d, among), .bias = roll(d, 9) ? 3 * normal(d) : -100};
}

/* Ids beyond the vocabulary may be named as ends. */
static void add_bans(dice *d, scene *s, uint32_t vocab) {
    s->params.min_tokens = roll(d, IDS_MAX);
    s->eog_count = roll(d, BANS_MAX + 1);
    s->params.stop_id_count = roll(d, BANS_MAX + 1);
    for (uint32_t i = 0; i < BANS_MAX; i++) {
        s->eog[i] = (int32_t)roll(d, vocab + 1);
        s->stop[i] = (int32_t)roll(d, vocab + 1) - 1;
    }
}

static scene new_scene(dice *d, uint32_t vocab, uint32_t features) {
    static const float temperatures[] = {1, 1, 0.7f, 0.01f, 2, 1e-20f};
    scene s = {.logits = new_logits(d, vocab), .params = sampling_default()};
    s.params.temperature = features & GREEDY && roll(d, 3) == 0 ? 0 : PICK(d, temperatures);
    s.params.seed = (uint64_t)roll(d, UINT32_MAX) << 32 | roll(d, UINT32_MAX);
    s.params.choice = roll(d, 4);
    s.prompt_count = roll(d, IDS_MAX); /* a part of the position, whatever the ids */
    if (features & FILTERS) add_filters(d, &s.params, vocab);
    if (features & PENALTIES) add_penalties(d, &s, vocab);
    if (features & BIASES) add_biases(d, &s, vocab);
    if (features & BANS) add_bans(d, &s, vocab);
    return s;
}

/* --- both samplers --- */

/* What the host chooses; id -1 when it can choose none. */
static sample_token host_token(sampler *host, scene *s) {
    s->params.bias = s->bias;
    s->params.stop_ids = s->stop;
    const sample_input in = {.params = &s->params,
                             .prompt = s->ids,
                             .prompt_count = s->prompt_count,
                             .output = s->ids + s->prompt_count,
                             .output_count = s->output_count,
                             .eog = s->eog,
                             .eog_count = s->eog_count};
    sample_result out;
    sampler_next(host, s->logits, &in, &out);
    if (!out.broken) return (sample_token){.id = out.token.id, .state = SAMPLE_OK};
    return (sample_token){.id = -1, .state = out.banned ? SAMPLE_BANNED : SAMPLE_BROKEN};
}

/* The lists of one row in device memory, one behind the other. */
typedef struct lists {
    int32_t ids[2 * IDS_MAX], bans[2 * BANS_MAX], bias_ids[BIAS_MAX];
    float biases[BIAS_MAX];
} lists;

static sample_row row_of(const scene *s, lists *host, const lists *dev) {
    const sampling *p = &s->params;
    sample_row r = {.temperature = p->temperature,
                    .top_p = p->top_p,
                    .min_p = p->min_p,
                    .top_k = p->top_k,
                    .repetition = p->repetition_penalty,
                    .presence = p->presence_penalty,
                    .frequency = p->frequency_penalty,
                    .key = {(uint32_t)p->seed, (uint32_t)(p->seed >> 32)},
                    .choice = p->choice,
                    .position = s->prompt_count + s->output_count,
                    .prompt_count = s->prompt_count,
                    .output_count = s->output_count,
                    .bias_count = p->bias_count,
                    .ids = dev->ids,
                    .bans = dev->bans,
                    .bias_ids = dev->bias_ids,
                    .biases = dev->biases};
    memcpy(host->ids, s->ids, sizeof s->ids);
    for (uint32_t i = 0; s->output_count < p->min_tokens && i < s->eog_count; i++)
        host->bans[r.ban_count++] = s->eog[i];
    for (uint32_t i = 0; s->output_count < p->min_tokens && i < p->stop_id_count; i++)
        host->bans[r.ban_count++] = s->stop[i];
    for (uint32_t i = 0; i < p->bias_count; i++) {
        host->bias_ids[i] = s->bias[i].id;
        host->biases[i] = s->bias[i].bias;
    }
    return r;
}

/* One launch over all scenes. */
static void gpu_tokens(const scene *scenes, uint32_t count, uint32_t vocab, sample_token *tokens) {
    size_t elems = (size_t)count * vocab;
    sample_row rows[ROWS];
    lists host[ROWS] = {0}, *dev = gpu_new(NULL, count * sizeof *dev);
    float *logits = gpu_new(NULL, elems * sizeof *logits);
    uint32_t *marks = xcalloc(elems, sizeof *marks), *seen = gpu_new(marks, elems * sizeof *seen);
    sample_token *out = gpu_new(NULL, count * sizeof *out);
    for (uint32_t i = 0; i < count; i++) {
        rows[i] = row_of(&scenes[i], &host[i], &dev[i]);
        GPU_OK(cudaMemcpy(logits + (size_t)i * vocab, scenes[i].logits, vocab * sizeof *logits,
                          cudaMemcpyHostToDevice));
    }
    GPU_OK(cudaMemcpy(dev, host, count * sizeof *dev, cudaMemcpyHostToDevice));
    sample_row *rows_dev = gpu_new(rows, count * sizeof *rows);
    GPU_OK(launch_sample(logits, count, vocab, rows_dev, seen, out, NULL));
    gpu_read(tokens, out, count * sizeof *tokens);
    gpu_read(marks, seen, elems * sizeof *marks);
    for (size_t i = 0; i < elems; i++) assert_int_equal(marks[i], 0);
    gpu_free(dev);
    gpu_free(logits);
    gpu_free(seen);
    gpu_free(out);
    gpu_free(rows_dev);
    free(marks);
}

static void check_scenes(scene *scenes, uint32_t count, uint32_t vocab) {
    sampler *host = sampler_new(vocab);
    sample_token got[ROWS];
    gpu_tokens(scenes, count, vocab, got);
    for (uint32_t i = 0; i < count; i++) {
        sample_token want = host_token(host, &scenes[i]);
        const sampling *p = &scenes[i].params;
        if (got[i].id != want.id || got[i].state != want.state)
            fail_msg(
                "vocab %u temperature %g top_k %d top_p %g min_p %g repetition %g: id %d (%u), want %d (%u)",
                vocab, (double)p->temperature, p->top_k, (double)p->top_p, (double)p->min_p,
                (double)p->repetition_penalty, got[i].id, got[i].state, want.id, want.state);
    }
    sampler_free(host);
}

static void check_random(uint64_t seed, uint32_t features, uint32_t launches) {
    static const uint32_t vocabs[] = {1,   2,   3,   4,   5,   8,    31,   32,   33,
                                      127, 128, 129, 130, 500, 1000, 1023, 4099, 5000};
    dice d = {.seed = seed};
    for (uint32_t l = 0; l < launches; l++) {
        uint32_t vocab = vocabs[l % (sizeof vocabs / sizeof *vocabs)];
        scene scenes[ROWS];
        for (int i = 0; i < ROWS; i++) scenes[i] = new_scene(&d, vocab, features);
        check_scenes(scenes, ROWS, vocab);
        for (int i = 0; i < ROWS; i++) free(scenes[i].logits);
    }
}

/* --- tests --- */

static void greedy_and_plain_draws_are_those_of_the_host(void **state) {
    (void)state;
    check_random(1, GREEDY, 90);
}

static void filtered_draws_are_those_of_the_host(void **state) {
    (void)state;
    check_random(2, FILTERS, 180);
}

static void penalised_draws_are_those_of_the_host(void **state) {
    (void)state;
    check_random(3, PENALTIES | GREEDY, 72);
}

static void biased_and_banned_draws_are_those_of_the_host(void **state) {
    (void)state;
    check_random(4, BIASES | BANS | GREEDY, 72);
}

static void all_stages_together_are_those_of_the_host(void **state) {
    (void)state;
    check_random(5, EVERYTHING, 144);
}

/* Vocabularies from which on a block has all its threads. */
static void large_vocabularies_too(void **state) {
    (void)state;
    static const uint32_t vocabs[] = {8192, 8193, 20000, 49152};
    dice d = {.seed = 6};
    for (size_t v = 0; v < sizeof vocabs / sizeof *vocabs; v++) {
        scene scenes[3];
        for (int i = 0; i < 3; i++) scenes[i] = new_scene(&d, vocabs[v], EVERYTHING);
        check_scenes(scenes, 3, vocabs[v]);
        for (int i = 0; i < 3; i++) free(scenes[i].logits);
    }
}

/* With equal logits top-k keeps the lowest ids, and a share of the mass a share of them. */
static void of_equal_tokens_the_lowest_ids_stay(void **state) {
    (void)state;
    enum { VOCAB = 700, DRAWS = 64 };
    float flat[VOCAB] = {0};
    bool last_came = false;
    for (uint32_t i = 0; i < DRAWS; i += ROWS) {
        scene scenes[ROWS];
        sample_token got[ROWS];
        for (uint32_t j = 0; j < ROWS; j++) {
            scenes[j] = (scene){.logits = flat, .params = sampling_default()};
            scenes[j].params.seed = i + j;
            if (j % 2)
                scenes[j].params.top_k = 3;
            else
                scenes[j].params.top_p = 2.5f / VOCAB; /* the third is needed to reach it */
        }
        gpu_tokens(scenes, ROWS, VOCAB, got);
        for (uint32_t j = 0; j < ROWS; j++) {
            assert_in_range(got[j].id, 0, 2);
            last_came |= got[j].id == 2;
        }
    }
    assert_true(last_came);
}

static void broken_logits_and_banned_tokens_are_told_apart(void **state) {
    (void)state;
    enum { VOCAB = 130 };
    static const float evils[] = {NAN, INFINITY, -NAN};
    for (uint32_t at = 0; at < VOCAB; at += 43) {
        float logits[ROWS][VOCAB];
        scene scenes[ROWS];
        for (uint32_t i = 0; i < ROWS; i++) {
            scenes[i] = (scene){.logits = logits[i], .params = sampling_default()};
            scenes[i].params.temperature = (float)(i % 2);
            for (uint32_t j = 0; j < VOCAB; j++) logits[i][j] = i < 4 ? 0.5f : -INFINITY;
            if (i < 3) logits[i][at] = evils[i];
        }
        for (uint32_t i = 5; i < ROWS; i++) { /* one token is left, and may not come */
            logits[i][at] = 1;
            scenes[i].params.min_tokens = 1;
            scenes[i].eog[0] = (int32_t)at;
            scenes[i].eog_count = i == 7 ? 0 : 1;
        }
        sample_token got[ROWS];
        gpu_tokens(scenes, ROWS, VOCAB, got);
        static const uint32_t want[ROWS] = {SAMPLE_BROKEN, SAMPLE_BROKEN, SAMPLE_BROKEN, SAMPLE_OK,
                                            SAMPLE_BROKEN, SAMPLE_BANNED, SAMPLE_BANNED, SAMPLE_OK};
        for (uint32_t i = 0; i < ROWS; i++) {
            assert_int_equal(got[i].state, want[i]);
            if (want[i] != SAMPLE_OK) assert_int_equal(got[i].id, -1);
        }
        assert_int_equal(got[7].id, at);
        check_scenes(scenes, ROWS, VOCAB);
    }
}

/* The order of the list decides the last bit of a sum, and a bias of -100 twice is -200. */
static void biases_of_one_id_add_up_in_the_order_of_the_list(void **state) {
    (void)state;
    float logits[2][3] = {{0x1p25f, 0x1p25f, 0}, {0x1p25f, 0x1p25f, 0}};
    scene scenes[2];
    for (int i = 0; i < 2; i++) {
        scenes[i] = (scene){.logits = logits[i], .params = sampling_default()};
        scenes[i].params.temperature = 0;
        scenes[i].params.bias_count = 4;
    }
    /* 2^25 + 1 - 2^25 + 2 = 2 in this order, and 3 in the other. */
    const sampling_bias one[] = {{1, 1}, {1, -0x1p25f}, {1, 2}, {0, -0x1p25f}};
    const sampling_bias other[] = {{1, -0x1p25f}, {1, 1}, {1, 2}, {0, -0x1p25f}};
    memcpy(scenes[0].bias, one, sizeof one);
    memcpy(scenes[1].bias, other, sizeof other);
    logits[0][2] = logits[1][2] = 2.5f;
    sample_token got[2];
    gpu_tokens(scenes, 2, 3, got);
    assert_int_equal(got[0].id, 2);
    assert_int_equal(got[1].id, 1);
    check_scenes(scenes, 2, 3);
}

/* --- exactness: rows that a last bit decides --- */

/* Two tokens with a logit of 0 and z, a seed with which the second wins, and min_p at its very probability.
 */
static scene on_the_floor(dice *d, sampler *host, float logits[2]) {
    scene s = {.logits = logits, .params = sampling_default()};
    logits[0] = 0;
    logits[1] = -8 * even(d);
    do s.params.seed++;
    while (host_token(host, &s).id != 1);
    exact_exp(&logits[1], &s.params.min_p, 1);
    return s;
}

static void a_probability_equal_to_min_p_stays_and_one_below_goes(void **state) {
    (void)state;
    sampler *host = sampler_new(2);
    dice d = {.seed = 7};
    for (int round = 0; round < 50; round++) {
        float logits[ROWS][2];
        scene scenes[ROWS];
        sample_token got[ROWS];
        for (int i = 0; i < ROWS; i++) {
            scenes[i] = on_the_floor(&d, host, logits[i]);
            if (i % 2) scenes[i].params.min_p = nextafterf(scenes[i].params.min_p, 1);
        }
        gpu_tokens(scenes, ROWS, 2, got);
        for (int i = 0; i < ROWS; i++) assert_int_equal(got[i].id, !(i % 2));
    }
    sampler_free(host);
}

/* Two tokens of which the second needs as long as the first, but for a hundred-billionth. */
static scene near_tie(dice *d, float logits[2]) {
    scene s = {.logits = logits, .params = sampling_default()};
    logits[0] = 0;
    for (;;) {
        s.params.seed = (uint64_t)roll(d, UINT32_MAX) << 32 | roll(d, UINT32_MAX);
        const uint32_t counter[4] = {0}, key[2] = {(uint32_t)s.params.seed, (uint32_t)(s.params.seed >> 32)};
        uint32_t words[4];
        philox4x32_10(counter, key, words);
        double first = -exact_log(((double)words[0] + 0.5) * 0x1p-32);
        double second = -exact_log(((double)words[1] + 0.5) * 0x1p-32);
        if (second > first || second < 0.1 * first) continue;
        float p;
        logits[1] = (float)log(second / first);
        exact_exp(&logits[1], &p, 1);
        if (fabs(first * (double)p - second) < 1e-11 * second) return s;
    }
}

static void races_that_nearly_tie_end_as_on_the_host(void **state) {
    (void)state;
    dice d = {.seed = 8};
    for (int round = 0; round < 10; round++) {
        float logits[ROWS][2];
        scene scenes[ROWS];
        for (int i = 0; i < ROWS; i++) scenes[i] = near_tie(&d, logits[i]);
        check_scenes(scenes, ROWS, 2);
    }
}

/* Half of the mass is two tokens and not one, because of a third that has one unit of it: e^-27.5 is 1.25
 * units. */
static void the_mass_is_counted_in_units_of_2_to_the_minus_40(void **state) {
    (void)state;
    float logits[] = {0, 0, -27.5f};
    bool second_came = false;
    for (int round = 0; round < 4; round++) {
        scene scenes[ROWS];
        sample_token got[ROWS];
        for (int i = 0; i < ROWS; i++) {
            scenes[i] = (scene){.logits = logits, .params = sampling_default()};
            scenes[i].params.top_p = 0.5f;
            scenes[i].params.seed = (uint64_t)round * ROWS + (uint64_t)i;
        }
        check_scenes(scenes, ROWS, 3);
        gpu_tokens(scenes, ROWS, 3, got);
        for (int i = 0; i < ROWS; i++) second_came |= got[i].id == 1;
    }
    assert_true(second_came);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_and_plain_draws_are_those_of_the_host),
        cmocka_unit_test(filtered_draws_are_those_of_the_host),
        cmocka_unit_test(penalised_draws_are_those_of_the_host),
        cmocka_unit_test(biased_and_banned_draws_are_those_of_the_host),
        cmocka_unit_test(all_stages_together_are_those_of_the_host),
        cmocka_unit_test(large_vocabularies_too),
        cmocka_unit_test(of_equal_tokens_the_lowest_ids_stay),
        cmocka_unit_test(broken_logits_and_banned_tokens_are_told_apart),
        cmocka_unit_test(biases_of_one_id_add_up_in_the_order_of_the_list),
        cmocka_unit_test(a_probability_equal_to_min_p_stays_and_one_below_goes),
        cmocka_unit_test(races_that_nearly_tie_end_as_on_the_host),
        cmocka_unit_test(the_mass_is_counted_in_units_of_2_to_the_minus_40),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
