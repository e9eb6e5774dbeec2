/* steady - whether a run had settled, and how wide its interval is although its requests are not independent.
 * Pure. Series are in the order of arrival. */
#ifndef BATON_STATS_STEADY_H
#define BATON_STATS_STEADY_H

#include "bench/stats/stats.h"

#define STEADY_BATCHES    20u
#define STEADY_MSER_LEAST 400u

/* MSER-5 (White): means of 5 values each, and the cut after which the standard error of their mean is least.
 * *cut: leading values to leave out. false: it lies beyond half of the series, or there are fewer than
 * STEADY_MSER_LEAST values, of which a few at the end may be alike
 * by chance (of 1,000 settled series of 200 exponential values 89 seem to reach none, of 400 17). */
bool steady_mser5(const double *x, size_t n, size_t *cut);

/* The warm-up that a run needed, s since its start: the later of max(30 s, 5 x P99 of E2E) and what MSER-5
 * says of in-flight and of TTFT. NAN: not reached, for one of them is NAN. */
double steady_warmup_s(double p99_e2e_s, double in_flight_s, double ttft_s);

/* Mean number of requests in flight over [from_s, to_s); request i is there during [begin_s[i], end_s[i]).
 * end_s may be INFINITY: it never ended. */
double steady_in_flight(const double *begin_s, const double *end_s, size_t n, double from_s, double to_s);

/* Does the number in flight grow with the arrivals? g: of each arriving request, the part that stays. */
typedef struct growth {
    double g, limit; /* unstable when g > limit = max(0.02, 2.33 sqrt((1 + c2) / arrivals)) */
    bool unstable;
} growth;

/* From the means in flight over the first and the last third of a window with `arrivals` members. c2: squared
 * coefficient of variation of service; 1 if unknown. Without arrivals: g = 0, stable. */
growth steady_growth(double first_third, double last_third, uint32_t arrivals, double c2);
/* The same from the requests that touch the window [from_s, to_s): members arrive in it. */
growth steady_growth_of(const double *begin_s, const double *end_s, size_t n, double from_s, double to_s,
                        double c2);

/* Two-sided p of no trend: Mann-Kendall, its variance corrected for autocorrelation (Hamed and Rao: the lags
 * whose rank correlation is significant at 95 %, after Sen's slope is taken out). 1 when n < 4 or all equal.
 */
double steady_mann_kendall(const double *x, size_t n);

typedef struct drift {
    double p;      /* of no trend, over 20 batch means */
    double change; /* first to last batch by Sen's slope, divided by the mean; negative = falls */
    bool drifts;   /* p < 0.01 and |change| >= 0.05 */
} drift;

/* p = 1, change 0 with fewer than 20 values. */
drift steady_drift(const double *x, size_t n);

/* Means of `count` batches of equal length, which leave out the first n % count values. PRE: n >= count > 0.
 */
void steady_batch_means(const double *x, size_t n, uint32_t count, double *means);

/* One long run: 20 batch means as replications, and what the dependence costs. */
typedef struct batches {
    interval mean; /* n = 20; no interval with fewer than 20 values */
    double vif;    /* variance of the mean, divided by that of as many independent values; 1 for none */
    double n_eff;  /* n / vif */
} batches;

batches steady_batches(const double *x, size_t n);

#endif
