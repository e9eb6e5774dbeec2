/* bootstrap - ratios between two placements that were measured with the same seeds: whole seeds are drawn
 * with replacement, for both at once, so that what a seed's arrivals do to both cancels. Pure, and the same
 * numbers whenever the key is the same. */
#ifndef BATON_STATS_BOOTSTRAP_H
#define BATON_STATS_BOOTSTRAP_H

#include "bench/stats/stats.h"

#define BOOTSTRAP_RESAMPLES 2000u

/* Attainment of a placement. attainment: [seeds][rate_count], row by row; borrowed. A cell that was not
 * measured is NAN and left out of its rate's mean. */
typedef struct attainment_grid {
    const double *rates; /* [rate_count], ascending */
    uint32_t rate_count;
    const double *attainment;
    double devices;       /* cores or GPUs of its workers together; > 0 */
    const bool *unstable; /* [rate_count]; NULL = none. No goodput lies beyond the lowest such rate. */
} attainment_grid;

/* 95 %. NAN mean: a crossing is off its grid, and the bounds say what is still known: low = 0 and high =
 * INFINITY are open ends. n: seeds; with fewer than 2 low and high are NAN. */
typedef interval ratio;

/* Rate per device at which attainment crosses the target. */
interval bootstrap_goodput(const attainment_grid *a, uint32_t seeds, double target, uint32_t resamples,
                           uint64_t key);
/* The same of a, divided by that of b. */
ratio bootstrap_goodput_ratio(const attainment_grid *a, const attainment_grid *b, uint32_t seeds,
                              double target, uint32_t resamples, uint64_t key);
/* mean(a) / mean(b), paired: a[i] and b[i] are of the same seed. */
ratio bootstrap_mean_ratio(const double *a, const double *b, uint32_t seeds, uint32_t resamples,
                           uint64_t key);

#endif
