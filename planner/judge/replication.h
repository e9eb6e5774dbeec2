/* replication - one seed of a workload against a placement at a rate, simulated so far as asked, and then
 * further where that did not suffice.
 *
 * What arrived first is warm-up, the rest the window. Where data of a seed chose its own cut, it would cut
 * off its busy times, and attainment would be too good (by half a point for M/D/1 at load 0.6 and 2,000
 * requests, measured): the cut is the same for all seeds of a rate, and their data together say whether it
 * suffices (rate.c). Load is kept on until each arrival of the window has ended, or has been there for so
 * long that it can keep its limits no more. From an empty cluster attainment falls to its steady value: what
 * misses the target before it has settled misses it after, too. */
#ifndef BATON_PLANNER_REPLICATION_H
#define BATON_PLANNER_REPLICATION_H

#include "planner/judge/judge.h"

/* Of the window. */
typedef struct replication_sum {
    uint32_t members, good;                  /* good: all limits kept */
    uint32_t ttft_good, tpot_good, itl_good; /* each limit alone; itl: both of them */
    uint32_t refused;
    double attainment;
    double warmup_s, longest_s;     /* what was cut; the longest stay, at its end or until now */
    double first_third, last_third; /* mean in flight in the window's first and last third */
    double prefill_busy, decode_busy, pages_most; /* as judge_point, of the whole run */
    worker_role pages_role;
} replication_sum;

typedef struct replication replication;

/* Borrowed: what c points to. ST_INVALID as judge_rate. Caller frees with replication_free. */
status replication_new(replication **out, const judge_case *c, double rate, uint64_t seed, errbuf *eb);
void replication_free(replication *r);
/* Simulates on until `arrivals` have come, and their end; sums up all but the first `warmup` of them. PRE:
 * arrivals are never fewer than before; warmup < arrivals. */
status replication_run(replication *r, uint32_t arrivals, uint32_t warmup, errbuf *eb);
const replication_sum *replication_result(const replication *r);
fleet_totals replication_totals(const replication *r);
typedef enum replication_metric {
    REPLICATION_TTFT, /* one that has not ended counts with the time that it has been there, one that was
                         refused not at all */
    REPLICATION_TPOT, /* of answers of two tokens and more, as is the next */
    REPLICATION_ITL   /* P99 of the answer; 0 without a limit on ITL */
} replication_metric;
/* Adds, for each arrival from the first one on, how many were there then, and its TTFT, ms. */
void replication_series(const replication *r, double *in_flight, double *ttft_ms);
/* Appends those of the window, ms: at most replication_result()->members values. Returns their number. */
size_t replication_latencies(const replication *r, replication_metric m, double *out);

/* One of the window, to be scored with other limits on TTFT and TPOT afterwards. */
typedef struct replication_pair {
    float ttft_ms, tpot_ms; /* INFINITY: refused, or not over */
    bool rest_good;         /* the limits but these two are kept */
} replication_pair;
/* Those of the window in the order of arrival, at most replication_result()->members. Returns their number.
 */
size_t replication_pairs(const replication *r, replication_pair *out);

#endif
