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

double stats_mean(const double *x, size_t n);
/* Sample standard deviation (n - 1) */
double stats_sd(const double *x, size_t n);
/* Of values sorted ascending, linear interpolation (numpy's default); q in 0..100; NAN when n = 0. */
double stats_percentile(const double *sorted, size_t n, double q);
/* Order-statistic interval of a percentile (binomial), 95 %; false: n too small for one. */
bool stats_percentile_interval(const double *sorted, size_t n, double q, double *low, double *high);
/* mean +- t(0.975, n - 1) s / sqrt(n) over independent replications, clipped to nothing. */
interval stats_replications(const double *x, size_t n);
/* Wilson's interval of good / n, 95 %: right only if the trials are independent. */
interval stats_wilson(uint32_t good, uint32_t n);
/* Student's t quantile, p = 0.975 */
double stats_t975(uint32_t df);

#endif
