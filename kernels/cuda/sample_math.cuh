/* sample_math - the arithmetic of sampling, operation by operation that of the host's sampler, so that equal
 * logits give equal tokens: exp and log whose every bit IEEE 754 fixes (host/exact_math.c says why and
 * derives them), the words of philox.h, and a token's probability and mass. */
#ifndef BATON_KERNELS_CUDA_SAMPLE_MATH_CUH
#define BATON_KERNELS_CUDA_SAMPLE_MATH_CUH

#include "kernels/cuda/device.cuh"
#include "kernels/philox.h"

#define EXP_LOWEST      (-87.0f)    /* below it exact_exp is 0 */
#define EXP_LOWEST_KEY  0x42AE0000u /* bits of 87.0f */
#define FLOAT_MAX       0x1.fffffep127f
#define MINUS_INFINITE  float_of_bits(0xFF800000u)
#define INFINITE_DOUBLE double_of_bits(0x7FF0000000000000u)

static __device__ __forceinline__ float exact_exp(float x) {
    const float rounder = 0x1.8p23f;
    float at = x < EXP_LOWEST ? EXP_LOWEST : x;
    float t = add_exact(mul_exact(at, 0x1.715476p0f), rounder), k = add_exact(t, -rounder);
    float r = add_exact(at, -mul_exact(k, 0x1.62e4p-1f));
    r = add_exact(r, -mul_exact(k, 0x1.7f7d1cp-20f));
    float sum = 1.0f / 5040;
    sum = add_exact(mul_exact(sum, r), 1.0f / 720);
    sum = add_exact(mul_exact(sum, r), 1.0f / 120);
    sum = add_exact(mul_exact(sum, r), 1.0f / 24);
    sum = add_exact(mul_exact(sum, r), 1.0f / 6);
    sum = add_exact(mul_exact(sum, r), 0.5f);
    sum = add_exact(1.0f, add_exact(r, mul_exact(mul_exact(r, r), sum)));
    float scale = float_of_bits((bits_of(t) << 23) + (127u << 23));
    return x < EXP_LOWEST ? 0.0f : mul_exact(sum, scale);
}

static __device__ __forceinline__ double exact_log(double x) {
    uint64_t bits = bits_of(x);
    int64_t k = (int64_t)(bits >> 52) - 1023;
    double m = double_of_bits((bits & 0xFFFFFFFFFFFFFu) | (uint64_t)1023 << 52);
    if (m > 0x1.6a09e667f3bcdp0) {
        m = mul_exact(m, 0.5);
        k++;
    }
    double s = div_exact(add_exact(m, -1.0), add_exact(m, 1.0)), s2 = mul_exact(s, s), sum = 0;
#pragma unroll
    for (int n = 21; n >= 3; n -= 2) sum = mul_exact(add_exact(sum, 1.0 / n), s2);
    double series = mul_exact(2.0, add_exact(s, mul_exact(s, sum)));
    return add_exact(mul_exact((double)k, 0x1.62e42fee00000p-1),
                     add_exact(series, mul_exact((double)k, 0x1.a39ef35793c76p-33)));
}

/* The random words of tokens 4 * group .. + 3 of a row: counter {group, position, choice, 0}. */
static __device__ __forceinline__ void random_words(const sample_row *r, uint32_t group, uint32_t words[4]) {
    const uint32_t counter[4] = {group, r->position, r->choice, 0};
    philox4x32_10(counter, r->key, words);
}

/* What temperature and min-p need to know of a row. */
struct softmax {
    float best, temperature, min_p;
};

/* z = (logit - best) / temperature is never positive, so the bits of its magnitude are an ascending key for
 * descending z; both zeros have key 0. */
static __device__ __forceinline__ uint32_t key_of(const softmax *s, float logit) {
    return bits_of(div_exact(add_exact(logit, -s->best), s->temperature)) & 0x7FFFFFFFu;
}
/* exp(z), relative to the best token; 0 = cannot come. */
static __device__ __forceinline__ float chance_of(const softmax *s, uint32_t key) {
    float p = exact_exp(-float_of_bits(key));
    return p < s->min_p ? 0.0f : p;
}
/* Probability as a whole number, so that sums are exact in any order. 2^18 of them fit in 64 bits many times
 * over. */
static __device__ __forceinline__ uint64_t mass_of(float p) {
    return (uint64_t)mul_exact(p, 0x1p40f);
}

#endif
