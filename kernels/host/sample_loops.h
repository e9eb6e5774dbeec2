/* sample_loops - the sampler's passes over the whole vocabulary, written for the compiler's vectoriser.
 *
 * The host has them for the machine that the program is built for, the cpu backend once per instruction set:
 * additions and multiplications in a written order, so that all of them give the same bits (exact_math.h).
 * None needs an array of the vocabulary's size. Private to samplers. */
#ifndef BATON_KERNELS_HOST_SAMPLE_LOOPS_H
#define BATON_KERNELS_HOST_SAMPLE_LOOPS_H

#include "base/mem.h"
#include "kernels/host/exact_math.h"
#include "kernels/philox.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#define SAMPLE_BLOCK 64u /* ids that share a bound; a multiple of 4, and of what vectors hold */

/* A race of exponential clocks: the smallest -log(u) / p wins, of equals the lowest id. */
typedef struct race {
    uint32_t key[2], position, choice;
    double best; /* the winner's time so far */
    int32_t winner;
} race;

/* How logits become probabilities relative to the best token's. */
typedef struct sample_scale {
    float best, temperature;
} sample_scale;

typedef struct sample_loops {
    /* tops[b] = the largest of block b. False when one of x is NaN or +infinity */
    bool (*tops)(const float *x, uint32_t count, float *tops);
    /* Sum of sample_mass over all */
    uint64_t (*mass)(const float *x, uint32_t count, sample_scale scale);
    /* All take part that have a probability above 0 */
    void (*run)(race *r, const float *x, uint32_t count, sample_scale scale);
    /* Sum of e^(x - best), in one order: that of four sums over ids modulo 4 */
    double (*exp_sum)(const float *x, uint32_t count, float best);
} sample_loops;

extern const sample_loops sample_loops_plain;

/* The probability in units of 2^-40, cut off. p is in [0, 1]; a signed conversion is one instruction. */
static inline uint64_t sample_mass(float p) {
    return (uint64_t)(int64_t)(p * 0x1p40f);
}

static inline float sample_z(float logit, sample_scale s) {
    return (logit - s.best) / s.temperature;
}

/* Since -log(u) >= 1 - u, a candidate with (1 - u) / p above the best so far has lost, and most are dismissed
 * so; the margin is far larger than the rounding errors, so the shortcut never decides. */
static inline void race_enter(race *r, int32_t id, float p, uint32_t word) {
    double u = ((double)word + 0.5) * 0x1p-32; /* in (0, 1), exact */
    if (1.0 - u > r->best * (double)p * (1 + 1e-12)) return;
    double time = -exact_log(u) / (double)p;
    if (time > r->best || (time == r->best && id > r->winner)) return;
    r->best = time;
    r->winner = id;
}

/* ---- the loops ---- */

static inline bool sample_tops(const float *x, uint32_t count, float *tops) {
    enum { LANES = 16 }; /* independent maxima, for vector registers */
    uint32_t broken[LANES] = {0}, any = 0;
    for (uint32_t begin = 0; begin < count; begin += SAMPLE_BLOCK) {
        float most[LANES], part[SAMPLE_BLOCK];
        const float *at = x + begin;
        if (count - begin < SAMPLE_BLOCK) {
            for (uint32_t i = 0; i < SAMPLE_BLOCK; i++) part[i] = begin + i < count ? at[i] : -INFINITY;
            at = part;
        }
        for (int l = 0; l < LANES; l++) most[l] = -INFINITY;
        for (uint32_t i = 0; i < SAMPLE_BLOCK; i += LANES) {
            for (int l = 0; l < LANES; l++) {
                broken[l] |= !(at[i + l] <= FLT_MAX); /* NaN too */
                most[l] = at[i + l] > most[l] ? at[i + l] : most[l];
            }
        }
        for (int half = LANES / 2; half > 0; half /= 2)
            for (int l = 0; l < half; l++) most[l] = most[l + half] > most[l] ? most[l + half] : most[l];
        tops[begin / SAMPLE_BLOCK] = most[0];
    }
    for (int l = 0; l < LANES; l++) any |= broken[l];
    return !any;
}

/* p of up to SAMPLE_BLOCK logits, padded with 0. */
static inline void sample_weights(const float *x, uint32_t count, sample_scale s, float p[SAMPLE_BLOCK]) {
    float part[SAMPLE_BLOCK];
    if (count < SAMPLE_BLOCK) {
        for (uint32_t i = 0; i < SAMPLE_BLOCK; i++) part[i] = i < count ? x[i] : -INFINITY;
        x = part;
    }
    for (uint32_t i = 0; i < SAMPLE_BLOCK; i++) p[i] = exact_exp_of(sample_z(x[i], s));
}

/* Whole numbers below 2^52 as the low bits of a double, so that no conversion is needed. */
static inline uint64_t sample_mass_sum(const float *x, uint32_t count, sample_scale s) {
    const double magic = 0x1p52;
    uint64_t sum = 0;
    for (uint32_t begin = 0; begin < count; begin += SAMPLE_BLOCK) {
        float p[SAMPLE_BLOCK];
        uint64_t bits[SAMPLE_BLOCK];
        sample_weights(x + begin, MIN(count - begin, SAMPLE_BLOCK), s, p);
        for (uint32_t i = 0; i < SAMPLE_BLOCK; i++) {
            double mass = (double)(p[i] * 0x1p40f), near = (mass + magic) - magic;
            double whole = (near > mass ? near - 1.0 : near) + magic;
            memcpy(&bits[i], &whole, sizeof bits[i]);
        }
        for (uint32_t i = 0; i < SAMPLE_BLOCK; i++) sum += bits[i] & 0xfffffffffffffull;
    }
    return sum;
}

/* Random words of ids [begin, begin + SAMPLE_BLOCK), as race_word gives them one by one. */
static inline void race_words(const race *r, uint32_t begin, uint32_t words[SAMPLE_BLOCK]) {
    enum { GROUPS = SAMPLE_BLOCK / 4 };
    uint32_t c0[GROUPS], c1[GROUPS], c2[GROUPS], c3[GROUPS];
    for (uint32_t i = 0; i < GROUPS; i++) {
        c0[i] = begin / 4 + i;
        c1[i] = r->position;
        c2[i] = r->choice;
        c3[i] = 0;
    }
    uint32_t k0 = r->key[0], k1 = r->key[1];
    for (int round = 0; round < 10; round++) {
        for (uint32_t i = 0; i < GROUPS; i++) {
            uint64_t a = (uint64_t)0xD2511F53u * c0[i], b = (uint64_t)0xCD9E8D57u * c2[i];
            c0[i] = (uint32_t)(b >> 32) ^ c1[i] ^ k0;
            c1[i] = (uint32_t)b;
            c2[i] = (uint32_t)(a >> 32) ^ c3[i] ^ k1;
            c3[i] = (uint32_t)a;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (uint32_t i = 0; i < GROUPS; i++) {
        words[4 * i] = c0[i];
        words[4 * i + 1] = c1[i];
        words[4 * i + 2] = c2[i];
        words[4 * i + 3] = c3[i];
    }
}

/* race_enter for each, but most blocks are dismissed as a whole, by the same bound with a wider margin. */
static inline void race_run(race *r, const float *x, uint32_t count, sample_scale s) {
    for (uint32_t begin = 0; begin < count; begin += SAMPLE_BLOCK) {
        float p[SAMPLE_BLOCK];
        uint32_t words[SAMPLE_BLOCK], open = 0;
        sample_weights(x + begin, MIN(count - begin, SAMPLE_BLOCK), s, p);
        race_words(r, begin, words);
        float limit = (float)(r->best * (1 + 1e-5));
        for (uint32_t i = 0; i < SAMPLE_BLOCK; i++) {
            float below = (float)(int32_t)(~words[i] >> 1) * 0x1p-31f; /* 1 - u, or less by 2^-31 */
            open |= !(below * 0.99999f > limit * p[i]);
        }
        if (!open) continue;
        for (uint32_t i = 0; i < SAMPLE_BLOCK; i++)
            if (p[i] > 0) race_enter(r, (int32_t)(begin + i), p[i], words[i]);
    }
}

static inline double sample_exp_sum(const float *x, uint32_t count, float best) {
    double part[4] = {0};
    const sample_scale s = {.best = best, .temperature = 1.0f};
    for (uint32_t begin = 0; begin < count; begin += SAMPLE_BLOCK) {
        float p[SAMPLE_BLOCK];
        uint32_t n = MIN(count - begin, SAMPLE_BLOCK), i = 0;
        sample_weights(x + begin, n, s, p);
        for (; i + 4 <= n; i += 4)
            for (int l = 0; l < 4; l++) part[l] += (double)p[i + l];
        for (; i < n; i++) part[0] += (double)p[i];
    }
    return (part[0] + part[1]) + (part[2] + part[3]);
}

#define SAMPLE_LOOPS                                                                                         \
    { .tops = sample_tops, .mass = sample_mass_sum, .run = race_run, .exp_sum = sample_exp_sum }

#endif
