/* simd - a thin vector of floats: the op kernels in isa/ are written once over it and compiled once per
 * instruction set.
 *
 *   SIMD_KIND 512  width 16, AVX-512 F, BW, VL, DQ
 *   SIMD_KIND 2    width 8, AVX2, FMA, F16C
 *   SIMD_KIND 0    width SIMD_GENERIC_WIDTH, vectors of the compiler, any machine
 *
 * `vf` is SIMD_WIDTH floats, `QV` vectors hold a block of 32 weights. + - * / work on vf as on floats, lane
 * by lane. What decides a result's bits is the same in all: fused multiply-add where there is one (the
 * generic kind rounds the product, so that it gives the same bytes on every machine), and one fixed tree for
 * sums over lanes: halves are added until four lanes are left, then (0 + 2) + (1 + 3). */
#ifndef BATON_KERNELS_CPU_SIMD_H
#define BATON_KERNELS_CPU_SIMD_H

#include "kernels/half.h"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")

#if SIMD_KIND == 512
#include "kernels/cpu/simd_avx512.h"
#elif SIMD_KIND == 2
#include "kernels/cpu/simd_avx2.h"
#else
#include "kernels/cpu/simd_generic.h"
#endif

#define QV (32 / SIMD_WIDTH)

INLINE vf vf_zero(void) {
    return vf_set1(0.0f);
}

/* The first `count` floats, then zeros. count < SIMD_WIDTH. */
INLINE vf vf_load_part(const float *p, uint32_t count) {
    float lanes[SIMD_WIDTH] = {0};
    memcpy(lanes, p, count * sizeof *p);
    return vf_load(lanes);
}

INLINE void vf_store_part(float *p, vf v, uint32_t count) {
    float lanes[SIMD_WIDTH];
    vf_store(lanes, v);
    memcpy(p, lanes, count * sizeof *p);
}

INLINE float vf_sum(vf v) {
    float sums[4];
    vf_sum4(sums, v, v, v, v);
    return sums[0];
}

/* e^x within 2e-7 of it, for x <= 88; 0 below -87.3, NaN for NaN. x = n ln 2 + r; e^r by a polynomial in r.
 */
INLINE vf vf_exp(vf x) {
    const float round_to_int = 12582912.0f; /* 1.5 * 2^23: what is added to it loses its fraction */
    vf low = vf_set1(-87.3f);
    vf c = vf_min(vf_set1(88.3f), vf_max(low, x));
    vf shifted = vf_fma(c, vf_set1(1.44269504f), vf_set1(round_to_int));
    vf n = shifted - vf_set1(round_to_int);
    vf r = vf_fma(n, vf_set1(-0.693359375f), c);
    r = vf_fma(n, vf_set1(2.12194440e-4f), r);
    vf p = vf_set1(1.9875691500e-4f);
    p = vf_fma(p, r, vf_set1(1.3981999507e-3f));
    p = vf_fma(p, r, vf_set1(8.3334519073e-3f));
    p = vf_fma(p, r, vf_set1(4.1665795894e-2f));
    p = vf_fma(p, r, vf_set1(1.6666665459e-1f));
    p = vf_fma(p, r, vf_set1(5.0000001201e-1f));
    vf y = vf_fma(p * r, r, r) + vf_set1(1.0f);
    return vf_zero_if_less(x, low, vf_scale2(y, shifted));
}

INLINE vf vf_silu(vf x) {
    return x / (vf_set1(1.0f) + vf_exp(vf_zero() - x));
}

/* The tanh form, 0.5 x (1 + tanh(u)) = x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3). */
INLINE vf vf_gelu(vf x) {
    vf inner = vf_fma(x * x, x * vf_set1(0.044715f), x);
    return x / (vf_set1(1.0f) + vf_exp(inner * vf_set1(-1.5957691216f)));
}

#endif
