/* goodput_search - which rate to try next: doubles until the rate is certainly too high, then bisects; a rate
 * that stays undecided gets more seeds up to a cap. Pure. */
#ifndef BATON_EXPERIMENT_GOODPUT_SEARCH_H
#define BATON_EXPERIMENT_GOODPUT_SEARCH_H

#include "bench/stats/search.h"

/* A rate that was tried. attainments: one per seed; void_: its rules of validity failed, so that it says
 * nothing but that one should look lower. unsettled: it had not reached its steady state when its windows
 * began, so that it may fail, but not pass, and more seeds would not help. */
typedef struct goodput_point {
    double rate;
    double *attainments; /* [seeds], 0..1; owned by whoever made the point */
    uint32_t seeds;
    bool unstable, unsettled, void_;
} goodput_point;

typedef struct goodput_rules {
    double target; /* 0..1 */
    double start;  /* the first rate */
    double max_rate;
    double resolution; /* ends when lowest FAIL <= highest PASS * (1 + resolution) */
    uint32_t seeds, seeds_cap;
    uint32_t probes_max;
} goodput_rules;

typedef enum goodput_step { GOODPUT_PROBE, GOODPUT_MORE_SEEDS, GOODPUT_END } goodput_step;

typedef struct goodput_next {
    goodput_step step;
    double rate;
    uint32_t point;  /* GOODPUT_MORE_SEEDS: which */
    const char *why; /* GOODPUT_END: static */
} goodput_next;

/* points: in any order. */
goodput_next goodput_decide(const goodput_rules *r, const goodput_point *points, uint32_t count);
/* What a point says; VERDICT_UNDECIDED for a void one, and for an unsettled one that does not fail. */
verdict goodput_judge(const goodput_rules *r, const goodput_point *p);
interval goodput_interval(const goodput_point *p);
/* For search_goodput: the lower bound of an unsettled one is 0. */
rate_point goodput_rate_point(const goodput_point *p);
/* Three significant digits, so that rates have short names. */
double goodput_round(double rate);

#endif
