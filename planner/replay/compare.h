/* compare - an experiment that was measured beside the same one simulated: latencies, attainment and
 * throughput of every cell, goodput and winner of every workload and SLO. Pure but for reading nothing. */
#ifndef BATON_PLANNER_COMPARE_H
#define BATON_PLANNER_COMPARE_H

#include "bench/report/goodput_table.h"

typedef enum compared_metric {
    COMPARED_TTFT_MEAN,
    COMPARED_TTFT_P50,
    COMPARED_TTFT_P90,
    COMPARED_TTFT_P99,
    COMPARED_TPOT_MEAN,
    COMPARED_TPOT_P50,
    COMPARED_TPOT_P90,
    COMPARED_TPOT_P99,
    COMPARED_PER_S, /* requests that ended as asked, per second of the windows */
    COMPARED_METRICS
} compared_metric;
/* "TTFT P50, ms", "requests/s". Borrowed: static. */
const char *compared_metric_text(compared_metric m);
/* "ttft_p50_ms", "requests_per_s" */
const char *compared_metric_key(compared_metric m);

/* error: predicted / measured - 1, of attainments and shares predicted - measured; low, high: the interval of
 * what was measured, over its seeds; NAN: fewer than two, or nothing to compare. */
typedef struct compared {
    double predicted, measured, low, high, error;
} compared;

typedef struct compared_cell {
    const cell *measured, *predicted; /* borrowed */
    double load;                      /* its rate as a share of what the placement can do; NAN: unknown */
    bool unstable;                    /* as measured or as predicted */
    compared values[COMPARED_METRICS];
    compared attainment[RESULTS_SLOS_MAX];
} compared_cell;

/* A placement, or a winner, under one SLO of one workload. */
typedef struct compared_goodput {
    const char *workload, *placement; /* borrowed */
    uint32_t slo;
    const curve *measured, *predicted; /* borrowed */
    compared value;                    /* requests per second and device; low, high of what was measured */
} compared_goodput;

typedef struct compared_winner {
    const char *workload;
    uint32_t slo;
    const placement *measured, *predicted; /* NULL: no placement has a cell that counts */
    ratio lead;  /* of the measured winner to the placement predicted to win; mean NAN: they are the same */
    bool agrees; /* the same, or their goodputs cannot be told apart */
} compared_winner;

/* |error| over cells. */
typedef struct compared_summary {
    double mean, worst;
    const cell *worst_cell; /* NULL: none */
    uint32_t n;
    uint32_t inside; /* predictions within the interval of what was measured */
} compared_summary;

typedef struct compare {
    const results *measured, *predicted; /* borrowed */
    compared_cell *cells;                /* [cell_count]; owned */
    uint32_t cell_count;
    uint32_t left_out; /* cells of the experiment that are not compared: void, failed, not simulated */
    goodput_table tables[2];
    compared_goodput *goodputs; /* [goodput_count]; owned */
    uint32_t goodput_count;
    compared_winner *winners; /* [winner_count]; owned */
    uint32_t winner_count;
} compare;

#define COMPARE_LOAD 0.8 /* below it a cell counts as not near saturation */

/* Requests per second that the placement can do for the workload; NAN: unknown. */
typedef double compare_capacity(void *ctx, const char *placement, const char *workload);
void compare_init(compare *c, const results *measured, const results *predicted, compare_capacity *capacity,
                  void *ctx);
void compare_done(compare *c);

/* Over the cells below COMPARE_LOAD that are stable, or over the others. */
compared_summary compare_summary(const compare *c, compared_metric m, bool below);
/* Likewise of attainments, over all SLOs: points. */
compared_summary compare_attainment(const compare *c, bool below);
/* Of goodputs: worst_cell is NULL. */
compared_summary compare_goodput(const compare *c);
bool compared_below(const compared_cell *c);

#endif
