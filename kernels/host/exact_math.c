#include "kernels/host/exact_math.h"

#include "base/status.h"

#include <stdint.h>
#include <string.h>

void exact_exp(const float *x, float *out, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) out[i] = exact_exp_of(x[i]);
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
