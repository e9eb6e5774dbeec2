#include "bench/stats/steady.h"

#include "base/mem.h"
#include "base/status.h"

#include <math.h>
#include <stdlib.h>

#define MSER_BATCH  5u
#define MSER_MARGIN 5u /* the variance of the last few says nothing */
#define Z95         1.959963984540054

bool steady_mser5(const double *x, size_t n, size_t *cut) {
    PRE(x || !n);
    PRE(cut);
    if (n < STEADY_MSER_LEAST) return false;
    size_t k = n / MSER_BATCH;
    double *means = xmalloc(k * sizeof *means);
    for (size_t i = 0; i < k; i++) means[i] = stats_mean(x + i * MSER_BATCH, MSER_BATCH);
    /* from the end, so that mean and sum of squares grow by one value at a time (Welford) */
    double mean = 0, squares = 0, best = INFINITY;
    size_t best_at = 0;
    for (size_t d = k; d-- > 0;) {
        double count = (double)(k - d), delta = means[d] - mean;
        mean += delta / count;
        squares += delta * (means[d] - mean);
        double mser = squares / (count * count);
        if (k - d > MSER_MARGIN && mser <= best) {
            best = mser;
            best_at = d;
        }
    }
    free(means);
    if (best_at > k / 2) return false;
    *cut = best_at * MSER_BATCH;
    return true;
}

double steady_warmup_s(double p99_e2e_s, double in_flight_s, double ttft_s) {
    if (isnan(p99_e2e_s) || isnan(in_flight_s) || isnan(ttft_s)) return NAN;
    return fmax(fmax(30, 5 * p99_e2e_s), fmax(in_flight_s, ttft_s));
}

double steady_in_flight(const double *begin_s, const double *end_s, size_t n, double from_s, double to_s) {
    PRE(begin_s || !n);
    PRE(end_s || !n);
    PRE(to_s > from_s);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double both = fmin(end_s[i], to_s) - fmax(begin_s[i], from_s);
        if (both > 0) sum += both;
    }
    return sum / (to_s - from_s);
}

growth steady_growth(double first_third, double last_third, uint32_t arrivals, double c2) {
    PRE(c2 >= 0);
    if (!arrivals) return (growth){0, 0.02, false};
    growth out;
    out.g = (last_third - first_third) / (2.0 / 3.0 * arrivals);
    out.limit = fmax(0.02, 2.33 * sqrt((1 + c2) / arrivals));
    out.unstable = out.g > out.limit;
    return out;
}

growth steady_growth_of(const double *begin_s, const double *end_s, size_t n, double from_s, double to_s,
                        double c2) {
    PRE(begin_s || !n);
    PRE(to_s > from_s);
    uint32_t arrivals = 0;
    for (size_t i = 0; i < n; i++) arrivals += begin_s[i] >= from_s && begin_s[i] < to_s;
    double third = (to_s - from_s) / 3;
    double first = steady_in_flight(begin_s, end_s, n, from_s, from_s + third);
    double last = steady_in_flight(begin_s, end_s, n, to_s - third, to_s);
    return steady_growth(first, last, arrivals, c2);
}

/* Sen's slope: the median of the slopes of all pairs. */
static double sen_slope(const double *x, size_t n) {
    size_t pairs = n * (n - 1) / 2, at = 0;
    double *slopes = xmalloc(pairs * sizeof *slopes);
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++) slopes[at++] = (x[j] - x[i]) / (double)(j - i);
    stats_sort(slopes, pairs);
    double median = stats_percentile(slopes, pairs, 50);
    free(slopes);
    return median;
}

/* ranks[i]: of x[i] among all, ties share the mean of theirs. */
static void rank_all(const double *x, size_t n, double *ranks) {
    for (size_t i = 0; i < n; i++) {
        size_t less = 0, equal = 0;
        for (size_t j = 0; j < n; j++) {
            less += x[j] < x[i];
            equal += x[j] == x[i];
        }
        ranks[i] = (double)less + (double)(equal + 1) / 2;
    }
}

/* n / n*: by how much autocorrelation widens the variance of S (Hamed and Rao 1998, equation 18). */
static double hamed_rao(const double *x, size_t n, double slope) {
    double *flat = xmalloc(2 * n * sizeof *flat), *ranks = flat + n;
    for (size_t i = 0; i < n; i++) flat[i] = x[i] - slope * (double)i;
    rank_all(flat, n, ranks);
    double mean = stats_mean(ranks, n), all = 0, sum = 0, m = (double)n;
    for (size_t i = 0; i < n; i++) all += (ranks[i] - mean) * (ranks[i] - mean);
    for (size_t lag = 1; all > 0 && lag < n; lag++) {
        double both = 0, left = (double)(n - lag);
        for (size_t i = 0; i + lag < n; i++) both += (ranks[i] - mean) * (ranks[i + lag] - mean);
        double rho = both / all;
        if (fabs(rho) > Z95 / sqrt(m)) sum += left * (left - 1) * (left - 2) * rho;
    }
    free(flat);
    return 1 + 2 / (m * (m - 1) * (m - 2)) * sum;
}

double steady_mann_kendall(const double *x, size_t n) {
    PRE(x || !n);
    if (n < 4) return 1;
    double s = 0, ties = 0;
    for (size_t i = 0; i < n; i++) {
        size_t equal = 0, first = 1;
        for (size_t j = 0; j < n; j++) {
            if (j > i) s += (x[j] > x[i]) - (x[j] < x[i]);
            equal += x[j] == x[i];
            if (j < i && x[j] == x[i]) first = 0;
        }
        double t = (double)equal;
        if (first) ties += t * (t - 1) * (2 * t + 5);
    }
    double m = (double)n, variance = (m * (m - 1) * (2 * m + 5) - ties) / 18;
    if (variance <= 0) return 1; /* all are equal */
    /* Wider only: of 20 independent values chance makes the factor small so often that at p < 0.01 the test
     * would cry in 4 % of the cases, and with this in under 1 %. */
    variance *= fmax(hamed_rao(x, n, sen_slope(x, n)), 1);
    double z = s > 0 ? (s - 1) / sqrt(variance) : s < 0 ? (s + 1) / sqrt(variance) : 0;
    return erfc(fabs(z) / M_SQRT2);
}

drift steady_drift(const double *x, size_t n) {
    PRE(x || !n);
    drift out = {1, 0, false};
    if (n < STEADY_BATCHES) return out;
    double means[STEADY_BATCHES];
    steady_batch_means(x, n, STEADY_BATCHES, means);
    out.p = steady_mann_kendall(means, STEADY_BATCHES);
    double mean = stats_mean(means, STEADY_BATCHES);
    if (mean != 0) out.change = sen_slope(means, STEADY_BATCHES) * (STEADY_BATCHES - 1) / fabs(mean);
    out.drifts = out.p < 0.01 && fabs(out.change) >= 0.05;
    return out;
}

void steady_batch_means(const double *x, size_t n, uint32_t count, double *means) {
    PRE(x);
    PRE(count > 0);
    PRE(n >= count);
    PRE(means);
    size_t length = n / count;
    const double *from = x + n % count;
    for (uint32_t i = 0; i < count; i++) means[i] = stats_mean(from + i * length, length);
}

batches steady_batches(const double *x, size_t n) {
    PRE(x || !n);
    batches out = {{stats_mean(x, n), NAN, NAN, (uint32_t)n}, 1, (double)n};
    if (n < STEADY_BATCHES) return out;
    double means[STEADY_BATCHES];
    steady_batch_means(x, n, STEADY_BATCHES, means);
    double all = out.mean.mean;
    out.mean = stats_replications(means, STEADY_BATCHES);
    double half = out.mean.high - out.mean.mean;
    out.mean.mean = all; /* of every value; the batches leave out a few */
    out.mean.low = all - half;
    out.mean.high = all + half;
    double sd = stats_sd(x, n), batch_sd = stats_sd(means, STEADY_BATCHES);
    if (!(sd > 0)) return out;
    size_t length = n / STEADY_BATCHES;
    double alone = sd * sd / (double)length; /* of a batch mean, were the values independent */
    out.vif = batch_sd * batch_sd / alone;
    out.n_eff = out.vif > 0 ? (double)n / out.vif : (double)n;
    return out;
}
