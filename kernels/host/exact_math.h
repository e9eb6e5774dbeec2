/* exact_math - exp and log whose result is the same on every machine, for the sampler.
 *
 * libm picks its code by CPU at run time (with or without FMA), so its last bit is not a property of the
 * program. These use plain additions and multiplications in a written order (-ffp-contract=off): IEEE 754
 * fixes every bit, however the compiler vectorises. */
#ifndef BATON_KERNELS_HOST_EXACT_MATH_H
#define BATON_KERNELS_HOST_EXACT_MATH_H

#include <stdint.h>
#include <string.h>

/* e^x for x <= 0 (-infinity too); 0 below -87, where it is no normal float soon. Relative error < 2e-7.
 * e^x = 2^k e^r, |r| <= ln 2 / 2. No branch and no call, so that a loop of it is made four or more at once.
 */
static inline float exact_exp_of(float x) {
    const float rounder = 0x1.8p23f; /* adding and subtracting it rounds a float below 2^22 to a whole number,
                                        which then is the low bits of the sum */
    const float lowest = -87.0f;
    float at = x < lowest ? lowest : x;
    float t = at * 0x1.715476p0f + rounder, k = t - rounder;
    float r = at - k * 0x1.62e4p-1f; /* the high part of ln 2: k times it is exact */
    r = r - k * 0x1.7f7d1cp-20f;
    float sum = 1.0f / 5040; /* 1/n!; the next term is below 2^-27 */
    sum = sum * r + 1.0f / 720;
    sum = sum * r + 1.0f / 120;
    sum = sum * r + 1.0f / 24;
    sum = sum * r + 1.0f / 6;
    sum = sum * r + 0.5f;
    sum = 1.0f + (r + r * r * sum);
    uint32_t bits;
    memcpy(&bits, &t, sizeof bits);
    bits = (bits << 23) + (127u << 23); /* 2^k */
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return x < lowest ? 0.0f : sum * scale;
}

/* out[i] = e^x[i] likewise. out may be x. */
void exact_exp(const float *x, float *out, uint32_t count);
/* Natural logarithm of a normal x > 0, within 1e-15 of max(1, |result|). */
double exact_log(double x);

#endif
