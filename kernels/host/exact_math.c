#include "kernels/host/exact_math.h"

#include "base/status.h"

#include <stdint.h>
#include <string.h>

/* Adding and subtracting it rounds a float below 2^22 to a whole number, which then is the low bits of the
 * sum. */
#define ROUNDER 0x1.8p23f
#define LOWEST  (-87.0f) /* e^-87 is still a normal float */

/* e^x = 2^k e^r, |r| <= ln 2 / 2. No branch and no call, so that the compiler makes it four or more at once.
 */
void exact_exp(const float *x, float *out, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        float at = x[i] < LOWEST ? LOWEST : x[i];
        float t = at * 0x1.715476p0f + ROUNDER, k = t - ROUNDER;
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
        out[i] = x[i] < LOWEST ? 0.0f : sum * scale;
    }
}

double exact_log(double x) {
    DEBUG_ASSERT(x > 0);
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int64_t k = (int64_t)(bits >> 52) - 1023;
    bits = (bits & 0xFFFFFFFFFFFFFull) | (uint64_t)1023 << 52;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 0x1.6a09e667f3bcdp0) { /* sqrt(2): keeps m in [0.707, 1.414], where the series is short */
        m *= 0.5;
        k++;
    }
    /* log m = 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.1716. */
    double s = (m - 1.0) / (m + 1.0), s2 = s * s, sum = 0;
    for (int n = 21; n >= 3; n -= 2) sum = (sum + 1.0 / n) * s2;
    /* ln 2 in two parts; k times the high one is exact. */
    return (double)k * 0x1.62e42fee00000p-1 + (2.0 * (s + s * sum) + (double)k * 0x1.a39ef35793c76p-33);
}
