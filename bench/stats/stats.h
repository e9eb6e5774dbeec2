/* stats - the numbers of a measurement. Pure functions over arrays of doubles. */
#ifndef BATON_STATS_STATS_H
#define BATON_STATS_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An estimate with its 95 % interval. low = high = NAN: no interval (n < 2). */
typedef struct interval {
    double mean, low, high;
    uint32_t n; /* of replications */
} interval;

/* Ascending; without NAN. */
void stats_sort(double *x, size_t n);
double stats_mean(const double *x, size_t n);
/* Sample standard deviation (n - 1) */
double stats_sd(const double *x, size_t n);
/* Of values sorted ascending, linear interpolation (numpy's default); q in 0..100; NAN when n = 0. */
double stats_percentile(const double *sorted, size_t n, double q);
/* Order-statistic interval of a percentile (binomial), 95 %. A side that n is too small for is open: low is
 * -INFINITY, high INFINITY (of P99 up to n = 367). false: both are. */
bool stats_percentile_interval(const double *sorted, size_t n, double q, double *low, double *high);
/* mean +- t(0.975, n - 1) s / sqrt(n) over independent replications, clipped to nothing. */
interval stats_replications(const double *x, size_t n);
/* Wilson's interval of good / n, 95 %: right only if the trials are independent. */
interval stats_wilson(uint32_t good, uint32_t n);
/* Seeds that differ in nothing: two or more, of one value. */
bool stats_alike(const double *x, size_t n);
/* Mean attainment of seeds with its interval: stats_replications over them, but where all are alike (5 times
 * 1.0), which would give no width at all, Wilson's of their members together, `good` of `members`: what so
 * few members can show. n is the number of seeds in both. Ask stats_alike to say which it was. */
interval stats_seeds(const double *attainments, uint32_t seeds, uint32_t good, uint32_t members);
/* Student's t quantile, p = 0.975 */
double stats_t975(uint32_t df);

#endif
