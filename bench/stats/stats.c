#include "bench/stats/stats.h"

#include "base/status.h"

#include <math.h>
#include <stdlib.h>

#define Z975 1.959963984540054 /* normal quantile, p = 0.975 */

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void stats_sort(double *x, size_t n) {
    PRE(x || n == 0);
    if (n) qsort(x, n, sizeof *x, ascending);
}

double stats_mean(const double *x, size_t n) {
    PRE(x || !n);
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    return n ? sum / (double)n : NAN;
}

double stats_sd(const double *x, size_t n) {
    PRE(x || !n);
    if (n < 2) return NAN;
    double mean = stats_mean(x, n), sum = 0;
    for (size_t i = 0; i < n; i++) sum += (x[i] - mean) * (x[i] - mean);
    return sqrt(sum / (double)(n - 1));
}

double stats_percentile(const double *sorted, size_t n, double q) {
    PRE(sorted || !n);
    PRE(q >= 0);
    PRE(q <= 100);
    if (!n) return NAN;
    double at = q / 100 * (double)(n - 1);
    size_t i = (size_t)at;
    if (i + 1 >= n) return sorted[n - 1];
    double part = at - (double)i, gap = sorted[i + 1] - sorted[i];
    /* from the nearer end, as numpy does, so that the last bit agrees too */
    return part < 0.5 ? sorted[i] + gap * part : sorted[i + 1] - gap * (1 - part);
}

bool stats_percentile_interval(const double *sorted, size_t n, double q, double *low, double *high) {
    PRE(sorted || !n);
    PRE(q >= 0);
    PRE(q <= 100);
    PRE(low);
    PRE(high);
    double p = q / 100;
    if (!n || p <= 0 || p >= 1) return false;
    /* B = values at or below the percentile is binomial. x(l) <= it when B >= l, it < x(u) when B < u. */
    size_t l = 0, u = 0;
    double log_pmf = (double)n * log1p(-p), cdf = 0; /* of B = k */
    for (size_t k = 0; k < n && !u; k++) {
        cdf += exp(log_pmf);
        if (cdf <= 0.025) l = k + 1;
        if (cdf >= 0.975) u = k + 1;
        log_pmf += log((double)(n - k) / (double)(k + 1)) + log(p) - log1p(-p);
    }
    if (!l && !u) return false;
    *low = l ? sorted[l - 1] : -INFINITY;
    *high = u ? sorted[u - 1] : INFINITY;
    return true;
}

interval stats_replications(const double *x, size_t n) {
    PRE(x || !n);
    PRE(n <= UINT32_MAX);
    interval out = {stats_mean(x, n), NAN, NAN, (uint32_t)n};
    if (n < 2) return out;
    double half = stats_t975((uint32_t)n - 1) * stats_sd(x, n) / sqrt((double)n);
    out.low = out.mean - half;
    out.high = out.mean + half;
    return out;
}

interval stats_wilson(uint32_t good, uint32_t n) {
    PRE(good <= n);
    if (!n) return (interval){NAN, NAN, NAN, 0};
    double p = (double)good / n, zz = Z975 * Z975 / n;
    double middle = (p + zz / 2) / (1 + zz);
    double half = Z975 * sqrt(p * (1 - p) / n + zz / (4.0 * n)) / (1 + zz);
    interval out = {p, middle - half, middle + half, n};
    if (!good) out.low = 0; /* exactly, whatever the rounding */
    if (good == n) out.high = 1;
    return out;
}

bool stats_alike(const double *x, size_t n) {
    PRE(x || !n);
    for (size_t i = 1; i < n; i++)
        if (x[i] != x[0]) return false;
    return n > 1;
}

interval stats_seeds(const double *attainments, uint32_t seeds, uint32_t good, uint32_t members) {
    PRE(good <= members);
    interval out = stats_replications(attainments, seeds);
    if (!members || !stats_alike(attainments, seeds)) return out;
    interval pooled = stats_wilson(good, members);
    out.low = pooled.low;
    out.high = pooled.high;
    return out;
}

/* P(|T| <= t), Abramowitz and Stegun 26.7.3 and 26.7.4: a finite sum for whole degrees of freedom. */
static double t_within(double t, uint32_t df) {
    double angle = atan(t / sqrt(df)), cos1 = cos(angle), term = df % 2 ? cos1 : 1, sum = 0;
    for (uint32_t k = df % 2 ? 3 : 2; k <= df; k += 2) {
        sum += term;
        term *= cos1 * cos1 * (k - 1) / k;
    }
    return df % 2 ? (angle + sin(angle) * sum) * 2 / M_PI : sin(angle) * sum;
}

double stats_t975(uint32_t df) {
    PRE(df > 0);
    if (df > 1000) { /* Cornish and Fisher: right to 1e-12 there */
        double z = Z975, z2 = z * z, v = df;
        return z + z * (z2 + 1) / (4 * v) + z * ((5 * z2 + 16) * z2 + 3) / (96 * v * v) +
               z * (((3 * z2 + 19) * z2 + 17) * z2 - 15) / (384 * v * v * v);
    }
    double low = 1.9, high = 12.8; /* it falls from 12.706 at 1 to 1.96 */
    for (uint32_t i = 0; i < 60; i++) {
        double middle = (low + high) / 2;
        if (t_within(middle, df) < 0.95)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}
