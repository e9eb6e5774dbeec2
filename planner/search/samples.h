/* samples - placements simulated at a few rates with the same seeds, and every request's TTFT and TPOT kept:
 * so that another limit costs no simulation, and two placements are compared request streams alike. */
#ifndef BATON_PLANNER_SAMPLES_H
#define BATON_PLANNER_SAMPLES_H

#include "bench/stats/bootstrap.h"
#include "planner/judge/replication.h"
#include "planner/search/plan_search.h"

#define SAMPLES_RATES 12u
#define SAMPLES_SEEDS 8u

typedef struct sample_cell {
    replication_pair *pairs; /* [count]; owned */
    uint32_t count;
    double first_third, last_third; /* mean in flight */
} sample_cell;

typedef struct samples {
    fleet_placement placement;
    uint32_t devices, rate_count, seeds;
    double rates[SAMPLES_RATES]; /* all devices, ascending */
    bool unstable[SAMPLES_RATES];
    sample_cell cells[SAMPLES_RATES][SAMPLES_SEEDS];
} samples;

typedef struct samples_how {
    const plan_input *in;     /* limits on TTFT and TPOT are not looked at */
    uint32_t seeds, requests; /* of a seed, its warm-up included */
} samples_how;

/* Fills cells of all [count], whose placement, devices and rates are set, on in->threads threads. Not one
 * that cannot be simulated: it has no cells then, and no goodput. End each with samples_done. */
status samples_take(samples *s, uint32_t count, const samples_how *how, errbuf *eb);
void samples_done(samples *s);

/* Attainment by seed and rate. attainment: [SAMPLES_SEEDS * SAMPLES_RATES] to be written; the grid borrows it
 * and s. */
attainment_grid samples_grid(const samples *s, double ttft_ms, double tpot_ms, double *attainment);
/* Requests per second and device; 0: below the lowest rate. Off the highest rate: that one. */
double samples_goodput(const samples *s, double ttft_ms, double tpot_ms, double target);
/* With an interval by whole seeds. */
ratio samples_ratio(const samples *a, const samples *b, double ttft_ms, double tpot_ms, double target,
                    uint32_t resamples);
/* Mean attainment at a rate per device, linear between rates; NAN: off them. */
double samples_attainment(const samples *s, double ttft_ms, double tpot_ms, double rate_per_device);

#endif
