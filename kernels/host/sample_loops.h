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

/* ---- vectors of the compiler, as wide as the registers are ---- */

#if defined(__AVX512F__)
#define SAMPLE_LANES 16
#elif defined(__AVX2__)
#define SAMPLE_LANES 8
#else
#define SAMPLE_LANES 4
#endif
#if defined(__SSE2__)
#include <immintrin.h>
#endif

typedef float sample_f __attribute__((vector_size(4 * SAMPLE_LANES)));
typedef int32_t sample_i __attribute__((vector_size(4 * SAMPLE_LANES)));
typedef uint32_t sample_u __attribute__((vector_size(4 * SAMPLE_LANES)));
typedef uint64_t sample_w __attribute__((vector_size(4 * SAMPLE_LANES))); /* half as many lanes */
typedef float sample_f4 __attribute__((vector_size(16)));
typedef double sample_d4 __attribute__((vector_size(32)));

#define SAMPLE_VECTORS (SAMPLE_BLOCK / SAMPLE_LANES)
#define SAMPLE_INLINE  static inline __attribute__((always_inline))

SAMPLE_INLINE sample_f sample_load(const float *x) {
    sample_f v;
    memcpy(&v, x, sizeof v);
    return v;
}

SAMPLE_INLINE sample_f sample_all(float x) {
    return x - (sample_f){0};
}

SAMPLE_INLINE sample_f sample_pick(sample_i mask, sample_f yes, sample_f no) {
    return (sample_f)((mask & (sample_i)yes) | (~mask & (sample_i)no));
}

SAMPLE_INLINE sample_f sample_larger(sample_f a, sample_f b) {
    return sample_pick(a > b, a, b);
}

SAMPLE_INLINE bool sample_any(sample_i mask) {
    int32_t lanes[SAMPLE_LANES], any = 0;
    memcpy(lanes, &mask, sizeof mask);
    for (int l = 0; l < SAMPLE_LANES; l++) any |= lanes[l];
    return any;
}

/* Low halves of a lane times `by`. */
SAMPLE_INLINE sample_w sample_product(sample_w a, uint32_t by) {
#if defined(__AVX512F__)
    return (sample_w)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(by));
#elif defined(__AVX2__)
    return (sample_w)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(by));
#elif defined(__SSE2__)
    return (sample_w)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(by));
#else
    return (a & 0xffffffff) * by;
#endif
}

/* exact_exp_of, operation by operation. */
SAMPLE_INLINE sample_f sample_exp(sample_f x) {
    const sample_f rounder = sample_all(0x1.8p23f), lowest = sample_all(-87.0f);
    sample_f at = sample_pick(x < lowest, lowest, x);
    sample_f t = at * 0x1.715476p0f + rounder, k = t - rounder;
    sample_f r = at - k * 0x1.62e4p-1f;
    r = r - k * 0x1.7f7d1cp-20f;
    sample_f sum = sample_all(1.0f / 5040);
    sum = sum * r + 1.0f / 720;
    sum = sum * r + 1.0f / 120;
    sum = sum * r + 1.0f / 24;
    sum = sum * r + 1.0f / 6;
    sum = sum * r + 0.5f;
    sum = 1.0f + (r + r * r * sum);
    sample_f scale = (sample_f)(((sample_u)t << 23) + (127u << 23));
    return sample_pick(x < lowest, sample_all(0.0f), sum * scale);
}

/* ---- the loops ---- */

/* A whole block: x, or what is left of it before -infinity. */
SAMPLE_INLINE const float *sample_block(const float *x, uint32_t count, uint32_t begin,
                                        float part[SAMPLE_BLOCK]) {
    if (count - begin >= SAMPLE_BLOCK) return x + begin;
    for (uint32_t i = 0; i < SAMPLE_BLOCK; i++) part[i] = begin + i < count ? x[begin + i] : -INFINITY;
    return part;
}

static inline bool sample_tops(const float *x, uint32_t count, float *tops) {
    sample_i broken = {0};
    const sample_f largest = sample_all(FLT_MAX);
    for (uint32_t begin = 0; begin < count; begin += SAMPLE_BLOCK) {
        float part[SAMPLE_BLOCK], lanes[SAMPLE_LANES];
        const float *at = sample_block(x, count, begin, part);
        sample_f most = sample_all(-INFINITY);
        for (uint32_t i = 0; i < SAMPLE_BLOCK; i += SAMPLE_LANES) {
            sample_f v = sample_load(at + i);
            broken |= ~(v <= largest); /* NaN too */
            most = sample_larger(v, most);
        }
        memcpy(lanes, &most, sizeof most);
        for (int half = SAMPLE_LANES / 2; half > 0; half /= 2)
            for (int l = 0; l < half; l++) lanes[l] = lanes[l + half] > lanes[l] ? lanes[l + half] : lanes[l];
        tops[begin / SAMPLE_BLOCK] = lanes[0];
    }
    return !sample_any(broken);
}

SAMPLE_INLINE void sample_weights(const float *x, sample_scale s, sample_f p[SAMPLE_VECTORS]) {
    for (uint32_t i = 0; i < SAMPLE_VECTORS; i++)
        p[i] = sample_exp((sample_load(x + i * SAMPLE_LANES) - s.best) / s.temperature);
}

/* A mass is high * 2^20 + low, both below 2^20 or equal, so that lanes of 32 bits do. */
static inline uint64_t sample_mass_sum(const float *x, uint32_t count, sample_scale s) {
    uint64_t sum = 0;
    for (uint32_t begin = 0; begin < count; begin += SAMPLE_BLOCK) {
        float part[SAMPLE_BLOCK];
        sample_f p[SAMPLE_VECTORS];
        sample_i high = {0}, low = {0};
        sample_weights(sample_block(x, count, begin, part), s, p);
        for (uint32_t i = 0; i < SAMPLE_VECTORS; i++) {
            sample_f most = p[i] * 0x1p20f;
            sample_i whole = __builtin_convertvector(most, sample_i);
            sample_f rest = most - __builtin_convertvector(whole, sample_f);
            high += whole;
            low += __builtin_convertvector(rest * 0x1p20f, sample_i);
        }
        for (int l = 0; l < SAMPLE_LANES; l++) sum += ((uint64_t)high[l] << 20) + (uint64_t)low[l];
    }
    return sum;
}

/* Random words of the ids of a block, as philox4x32_10 gives them in fours. In lanes of 64 bits, of which the
 * upper halves are anything. */
SAMPLE_INLINE void race_words(const race *r, uint32_t begin, sample_u words[SAMPLE_VECTORS]) {
    enum { GROUPS = SAMPLE_LANES / 2 };
    for (uint32_t v = 0; v < SAMPLE_VECTORS / 2; v++) {
        sample_w c0, c1 = (sample_w){0} + r->position, c2 = (sample_w){0} + r->choice, c3 = {0};
        for (uint32_t g = 0; g < GROUPS; g++) c0[g] = begin / 4 + v * GROUPS + g;
        uint32_t k0 = r->key[0], k1 = r->key[1];
        for (int round = 0; round < 10; round++) {
            sample_w a = sample_product(c0, 0xD2511F53u), b = sample_product(c2, 0xCD9E8D57u);
            c0 = (b >> 32) ^ c1 ^ k0;
            c1 = b;
            c2 = (a >> 32) ^ c3 ^ k1;
            c3 = a;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        sample_w first = (c0 & 0xffffffff) | c1 << 32, second = (c2 & 0xffffffff) | c3 << 32;
        uint64_t in_order[SAMPLE_LANES];
        for (uint32_t g = 0; g < GROUPS; g++) {
            in_order[2 * g] = first[g];
            in_order[2 * g + 1] = second[g];
        }
        memcpy(&words[2 * v], in_order, sizeof in_order);
    }
}

/* race_enter for each, but most blocks are dismissed as a whole, by the same bound with a wider margin. */
static inline void race_run(race *r, const float *x, uint32_t count, sample_scale s) {
    for (uint32_t begin = 0; begin < count; begin += SAMPLE_BLOCK) {
        float part[SAMPLE_BLOCK], p[SAMPLE_BLOCK];
        sample_f shares[SAMPLE_VECTORS];
        sample_u words[SAMPLE_VECTORS];
        uint32_t word[SAMPLE_BLOCK];
        sample_weights(sample_block(x, count, begin, part), s, shares);
        race_words(r, begin, words);
        sample_f limit = sample_all((float)(r->best * (1 + 1e-5)));
        sample_i lost = {0};
        lost = ~lost;
        for (uint32_t i = 0; i < SAMPLE_VECTORS; i++) { /* below: 1 - u, or less by 2^-31 */
            sample_f below = __builtin_convertvector((sample_i)(~words[i] >> 1), sample_f) * 0x1p-31f;
            lost &= below * 0.99999f > limit * shares[i];
        }
        if (!sample_any(~lost)) continue;
        memcpy(p, shares, sizeof p);
        memcpy(word, words, sizeof word);
        for (uint32_t i = 0; i < SAMPLE_BLOCK; i++)
            if (p[i] > 0) race_enter(r, (int32_t)(begin + i), p[i], word[i]);
    }
}

static inline double sample_exp_sum(const float *x, uint32_t count, float best) {
    sample_d4 parts = {0};
    double rest = 0;
    const sample_scale s = {.best = best, .temperature = 1.0f};
    for (uint32_t begin = 0; begin < count; begin += SAMPLE_BLOCK) {
        float part[SAMPLE_BLOCK], p[SAMPLE_BLOCK];
        sample_f shares[SAMPLE_VECTORS];
        uint32_t n = MIN(count - begin, SAMPLE_BLOCK), i = 0;
        sample_weights(sample_block(x, count, begin, part), s, shares);
        memcpy(p, shares, sizeof p);
        for (; i + 4 <= n; i += 4) {
            sample_f4 four;
            memcpy(&four, p + i, sizeof four);
            parts += __builtin_convertvector(four, sample_d4);
        }
        for (rest = parts[0]; i < n; i++) rest += (double)p[i]; /* of the last block: ids beyond the fours */
    }
    return (rest + parts[1]) + (parts[2] + parts[3]);
}

#define SAMPLE_LOOPS                                                                                         \
    { .tops = sample_tops, .mass = sample_mass_sum, .run = race_run, .exp_sum = sample_exp_sum }

#endif
