/* search - the highest rate that meets a target, from attainment at some rates. Pure. */
#ifndef BATON_STATS_SEARCH_H
#define BATON_STATS_SEARCH_H

#include "bench/stats/stats.h"

typedef enum verdict {
    VERDICT_PASS,     /* the lower bound meets the target */
    VERDICT_FAIL,     /* the upper bound is below the target, or the run was unstable */
    VERDICT_UNDECIDED /* more seeds are needed; so is a point without an interval */
} verdict;

typedef struct rate_point {
    double rate; /* > 0 */
    interval attainment;
    bool unstable;
} rate_point;

/* "pass", "fail", "undecided". Borrowed: static. */
const char *verdict_name(verdict v);
verdict search_judge(const rate_point *p, double target);

/* Pool adjacent violators: the closest (least squares) sequence that never rises. */
void search_isotonic(const double *y, size_t n, double *fit);

/* Where the isotonic curve of y over ascending rates crosses the target, linear between rates: 0 when it is
 * below at the lowest rate already, INFINITY when it still meets it at the highest. */
double search_crossing(const double *rates, const double *y, size_t n, double target);

typedef struct search_result {
    double lowest, highest; /* rates that were tried */
    double pass, fail;      /* highest PASS below every FAIL, lowest FAIL; NAN = none */
    double crossing;        /* within [pass, fail]; 0: below the lowest rate; INFINITY: above the highest.
                               Certain only if fail is the lowest, if pass is the highest */
    double low, high;       /* crossings of the curves of lower and of upper bounds, alike */
    bool contradiction;     /* a PASS above a FAIL: noise, or a system that is not monotone */
} search_result;

/* Points in ascending order of rate; PRE: at least one. A point with no value (NAN) is left out. */
search_result search_goodput(const rate_point *points, size_t n, double target);

/* A rate that was tried, for search_next. */
typedef struct search_tried {
    double rate;
    bool too_high; /* look below it */
} search_tried;

typedef struct search_plan {
    double start;      /* the first rate */
    double max_rate;   /* INFINITY: none */
    double resolution; /* ends when lowest too high <= highest below * (1 + resolution) */
    uint32_t probes_max;
} search_plan;

typedef enum search_why {
    SEARCH_GOES_ON,
    SEARCH_CLOSE,  /* the two rates are as close as was asked */
    SEARCH_FINEST, /* rates have three significant digits: there is none between the two */
    SEARCH_TOP,    /* the highest rate that is allowed is not too high */
    SEARCH_BOTTOM, /* a rate 1024 times lower than the first still is */
    SEARCH_ENOUGH  /* probes_max */
} search_why;

typedef struct search_step {
    search_why why;
    double rate;      /* SEARCH_GOES_ON: which to try */
    double low, high; /* highest that is not too high below every one that is, lowest that is; 0, INFINITY */
} search_step;

/* Which rate to try next: doubles until a rate is too high (halves until one is not), then bisects. tried: in
 * any order. */
search_step search_next(const search_plan *p, const search_tried *tried, size_t n);
/* Three significant digits, so that rates have short names. */
double search_round(double rate);

/* "6.33", "< 4" (the lowest rate fails), "> 8" (the highest passes), and where the curve of means alone lies
 * off the rates "undecided below 4", "undecided above 8"; divided by `devices`. Returns out. */
const char *search_text(const search_result *r, double devices, char *out, size_t size);

#endif
