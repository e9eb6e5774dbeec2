/* cell - one cell of an experiment, as its directory holds it: state, facts of the run, and its rows cut down
 * to what scores and figures need.
 *
 * A cell is never dropped: what cannot be read, failed, is void or still runs stays in the list with its
 * reason, and figures draw it hollow. */
#ifndef BATON_REPORT_CELL_H
#define BATON_REPORT_CELL_H

#include "bench/report/facts.h"
#include "bench/rows/score.h"

typedef enum cell_state {
    CELL_DONE,
    CELL_VOID,    /* the rules of validity failed: no verdict is built on it */
    CELL_FAILED,  /* it could not be run, or its files cannot be read */
    CELL_RUNNING, /* no state yet: it is being run, or its run was cut off */
    CELL_MISSING, /* not run yet */
} cell_state;
const char *cell_state_text(cell_state s);

typedef enum stage { STAGE_QUEUE, STAGE_PREFILL, STAGE_HANDOFF, STAGE_DECODE_WAIT, STAGE_DECODE } stage;
#define STAGES 5
/* "queue", "prefill", "hand-off", "decode queue", "decode" */
const char *stage_text(stage s);

/* A row without its events. Seconds since the run's start; NAN = never or unknown. */
typedef struct cell_row {
    uint64_t seed;
    row_phase phase;
    bool ok; /* ended as asked */
    uint32_t output_tokens;
    double scheduled_s, end_s, late_ms;
    double ttft_ms, tpot_ms, itl_p99_ms, itl_max_ms, e2e_ms;
    /* They add up to the request's time in the server: what a server calls decode begins with the first
     * token, so that hand-off and decode queue are taken out of it. */
    double stage_ms[STAGES];
} cell_row;

/* 1 - F at points that are even in its logarithm, and two percentiles, of n values */
typedef struct tail {
    size_t n;
    double p50, p99, mean;
    double p99_low, p99_high; /* order-statistic interval, INFINITY = open above; NAN = none */
    double *at, *above;       /* [points]; owned */
    uint32_t points;
} tail;

typedef struct cell {
    char *id; /* the folder's name; owned, as are the texts below */
    char *placement, *workload, *reason, *folder;
    char *variant;  /* how a tuned placement was set; "" = it is not tuned */
    char *again_of; /* the placement that this one repeats; "" = none */
    bool tuning;    /* it compares variants, and belongs to no curve */
    double rate;    /* requests per second of the whole placement; INFINITY = all at once */
    uint32_t devices;
    bool baseline;
    cell_state state;
    facts facts;
    cell_row *rows; /* [row_count] by scheduled time; owned */
    size_t row_count, member_count;
    bool cut;        /* the last row was incomplete and left out */
    uint64_t *seeds; /* [seed_count] of the windows, ascending; owned */
    uint32_t seed_count;
    double window_s;              /* all windows together; NAN = unknown */
    tail ttft, tpot, itl, e2e;    /* of members that ended as asked */
    double stage_mean_ms[STAGES]; /* over members that have it; NAN = no member has */
    double output_tokens_per_s;   /* of the members, over the windows */
} cell;

/* Reads FOLDER/state.json, run.json and rows.jsonl. Never fails: what is wrong becomes state and reason.
 * rejudge: whether the run was settled is found out from its rows anew, whatever run.json says. */
void cell_read(cell *c, const char *folder, const char *id, bool rejudge);
/* One that has no folder */
void cell_missing(cell *c, const char *id);
void cell_done(cell *c);
double cell_rate_per_device(const cell *c);
/* It can be scored, and what it says counts. */
bool cell_counts(const cell *c);
/* Its warm-up was long enough, or there is no run.json to say. One that was not may fail a rate, since later
 * requests can only fare worse, but neither passes one nor stands for a number. */
bool cell_settled(const cell *c);
/* Nothing is built on it, whatever the limits: figures draw it hollow. */
bool cell_hollow(const cell *c);

/* The kinds of limits that an SLO has */
typedef enum limit { LIMIT_TTFT, LIMIT_TPOT, LIMIT_ITL, LIMIT_E2E } limit;
#define LIMITS 4
/* "TTFT", "TPOT", "ITL" (its P99 and its largest), "E2E" */
const char *limit_text(limit l);
/* Whether the SLO has a limit of the kind */
bool limit_is_set(const slo *s, limit l);
/* It ended as asked and kept that limit, whatever the others. */
bool cell_row_keeps(const slo *s, const cell_row *r, limit l);
/* All of them: the same as slo_good of the row that it was made of. */
bool cell_row_good(const slo *s, const cell_row *r);

/* For tests: of values in any order, which are sorted. */
void tail_init(tail *t, double *values, size_t n);
void tail_done(tail *t);

#endif
