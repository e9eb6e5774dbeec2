#include "engine/exact_math.h"

#include "base/status.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define LN2_HIGH 0x1.62e42fee00000p-1 /* ends in zeros, so that a small whole number times it is exact */
#define LN2_LOW  0x1.a39ef35793c76p-33

/* Adding and subtracting it rounds a double below 2^51 to a whole number. */
#define ROUNDER 0x1.8p52

double exact_exp(double x) {
    DEBUG_ASSERT(x <= 0);
    if (x < -708.0) return 0.0;
    double k = (x * 0x1.71547652b82fep0 + ROUNDER) - ROUNDER;
    double r = x - k * LN2_HIGH - k * LN2_LOW; /* |r| <= ln 2 / 2 */

    /* 1/n!, n = 13 .. 2: the next term is below 2^-56. */
    static const double term[] = {
        1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
        1.0 / 5040,       1.0 / 720,       1.0 / 120,      1.0 / 24,      1.0 / 6,      1.0 / 2,
    };
    double sum = term[0];
    for (int i = 1; i < 12; i++) sum = sum * r + term[i];
    sum = 1.0 + (r + r * r * sum);

    uint64_t bits = (uint64_t)((int64_t)k + 1023) << 52; /* 2^k; k >= -1022, so it is normal */
    double scale;
    memcpy(&scale, &bits, sizeof scale);
    return sum * scale;
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
    return (double)k * LN2_HIGH + (2.0 * (s + s * sum) + (double)k * LN2_LOW);
}
