/* plan_samples - placements simulated at a few rates with the same seeds, and every request's TTFT and TPOT
 * kept: so that another limit costs no simulation, and two placements are compared request streams alike. */
#ifndef BATON_PLANNER_PLAN_SAMPLES_H
#define BATON_PLANNER_PLAN_SAMPLES_H

#include "bench/stats/bootstrap.h"
#include "planner/judge/replication.h"
#include "planner/search/plan_search.h"

#define PLAN_SAMPLES_RATES 12u
#define PLAN_SAMPLES_SEEDS 8u

typedef struct plan_sample_cell {
    replication_pair *pairs; /* [count]; owned */
    uint32_t count;
    double first_third, last_third; /* mean in flight */
} plan_sample_cell;

typedef struct plan_samples {
    fleet_placement placement;
    uint32_t devices, rate_count, seeds;
    double rates[PLAN_SAMPLES_RATES]; /* all devices, ascending */
    bool unstable[PLAN_SAMPLES_RATES];
    plan_sample_cell cells[PLAN_SAMPLES_RATES][PLAN_SAMPLES_SEEDS];
} plan_samples;

typedef struct plan_samples_how {
    const plan_input *in;     /* limits on TTFT and TPOT are not looked at */
    uint32_t seeds, requests; /* of a seed, its warm-up included */
} plan_samples_how;

/* Fills cells of all [count], whose placement, devices and rates are set, on in->threads threads. Not one
 * that cannot be simulated: it has no cells then, and no goodput. End each with plan_samples_done. */
status plan_samples_take(plan_samples *s, uint32_t count, const plan_samples_how *how, errbuf *eb);
void plan_samples_done(plan_samples *s);

/* Attainment by seed and rate. attainment: [PLAN_SAMPLES_SEEDS * PLAN_SAMPLES_RATES] to be written; the grid
 * borrows it and s. */
attainment_grid plan_samples_grid(const plan_samples *s, double ttft_ms, double tpot_ms, double *attainment);
/* Requests per second and device; 0: below the lowest rate. Off the highest rate: that one. */
double plan_samples_goodput(const plan_samples *s, double ttft_ms, double tpot_ms, double target);
/* With an interval by whole seeds. */
ratio plan_samples_ratio(const plan_samples *a, const plan_samples *b, double ttft_ms, double tpot_ms,
                         double target, uint32_t resamples);
/* Mean attainment at a rate per device, linear between rates; NAN: off them. */
double plan_samples_attainment(const plan_samples *s, double ttft_ms, double tpot_ms, double rate_per_device);

#endif
