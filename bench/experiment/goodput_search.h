/* goodput_search - which rate to try next: doubles until the rate is certainly too high, then bisects. A rate
 * gets more seeds until its interval is narrow, or up to a cap, whatever its verdict: a search that stopped
 * when the verdict is there would stop on a favourable value. Pure. */
#ifndef BATON_EXPERIMENT_GOODPUT_SEARCH_H
#define BATON_EXPERIMENT_GOODPUT_SEARCH_H

#include "bench/stats/search.h"

/* Half of the interval's width that is narrow enough: two points of attainment. */
#define GOODPUT_HALF_WIDTH 0.02

/* A rate that was tried. attainments: one per seed; void_: its rules of validity failed, so that it says
 * nothing but that one should look lower. unsettled: it had not reached its steady state when its windows
 * began, so that it may fail, but not pass, and more seeds would not help. */
typedef struct goodput_point {
    double rate;
    double *attainments; /* [seeds], 0..1; owned by whoever made the point */
    uint32_t seeds;
    uint32_t good, members; /* requests of all seeds, for seeds that are all alike (stats_seeds) */
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
/* Why a point has the seeds that it has. */
typedef enum goodput_seeds {
    GOODPUT_SEEDS_MORE, /* its interval is wider than GOODPUT_HALF_WIDTH, and the cap is not reached */
    GOODPUT_SEEDS_WIDTH,
    GOODPUT_SEEDS_CAP,
    GOODPUT_SEEDS_FEW /* void, unsettled or unstable: more would not help */
} goodput_seeds;
goodput_seeds goodput_seeds_of(const goodput_rules *r, const goodput_point *p);
/* "more", "width", "cap", "few". Borrowed: static. */
const char *goodput_seeds_name(goodput_seeds s);
/* What a point says; VERDICT_UNDECIDED for a void one, and for an unsettled one that does not fail. */
verdict goodput_judge(const goodput_rules *r, const goodput_point *p);
/* Whether the point has a part in the result: not a void one, nor an unsettled one that does not fail. */
bool goodput_counts(const goodput_rules *r, const goodput_point *p);
interval goodput_interval(const goodput_point *p);
/* For search_goodput: the lower bound of an unsettled one is 0. */
rate_point goodput_rate_point(const goodput_point *p);

#endif
