/* curve - one placement under one workload against one SLO: attainment at its rates, and its goodput. */
#ifndef BATON_REPORT_CURVE_H
#define BATON_REPORT_CURVE_H

#include "bench/report/results.h"
#include "bench/stats/bootstrap.h"
#include "bench/stats/search.h"

typedef struct curve_point {
    const cell *cell;       /* borrowed from the results */
    double rate;            /* per device */
    rate_point joint;       /* of the whole placement's rate, as it is judged */
    interval attainment;    /* joint, as it was measured */
    bool alike;             /* so are its seeds: the interval is Wilson's of their requests */
    interval alone[LIMITS]; /* attainment of each kind of limit alone */
    verdict judged;
    bool counts; /* false: void, failed, running, or not settled and no FAIL: it is drawn hollow, and nothing
                    is built on it */
} curve_point;

typedef struct curve {
    const placement *placement; /* borrowed, as are workload and slo */
    const char *workload;
    const slo *slo;
    double target;
    curve_point *points; /* [point_count] by rate; owned */
    uint32_t point_count, counted;
    uint32_t done;       /* points of cells that count, settled or not */
    search_result found; /* of the points that count; valid if counted > 0 */
    interval goodput;    /* requests per second and device; mean = NAN: off the rates that were run */
    uint32_t seeds;      /* the most that a point has */
    double *rates;       /* [counted]; owned */
    bool *unstable;      /* [counted]; owned */
    double *attainment;  /* [seeds of the workload][counted], NAN where there is none; owned */
} curve;

/* The seeds of all cells of a workload that count, but for those of tuning, ascending. Caller frees with
 * free. */
uint64_t *curve_seeds(const results *r, const char *workload, uint32_t *count);
/* seeds: of curve_seeds. resamples = 0: no interval of the goodput (the map's many curves). */
void curve_init(curve *c, const results *r, const placement *p, const char *workload, const slo *s,
                const uint64_t *seeds, uint32_t seed_count, uint32_t resamples);
void curve_done(curve *c);

/* What a placement is ranked by: goodput per device, the lowest that it can be where the rates do not show
 * it. 0 when no cell counts. */
double curve_value(const curve *c);
/* It certainly reaches the target at no rate that was run: the lowest of them fails. */
bool curve_hopeless(const curve *c);
attainment_grid curve_grid(const curve *c);
/* Of a to b, paired by seed */
ratio curve_ratio(const curve *a, const curve *b, uint32_t seed_count, uint32_t resamples);
/* "2.31", "< 0.5", "> 4", "undecided above 4", "undecided" (no cell was settled), "no data" */
void curve_goodput_text(const curve *c, char *out, size_t size);
/* "1.23 (1.10 to 1.35)", "> 1.2", "1.2, no interval", "unknown" */
void ratio_text(const ratio *r, char *out, size_t size);

#endif
