/* lone - requests of a workload one at a time: what a placement does at rates near 0, and about which rates
 * it is worth looking at. */
#ifndef BATON_PLANNER_LONE_H
#define BATON_PLANNER_LONE_H

#include "planner/judge/judge.h"

#define LONE_REQUESTS 1000u

typedef struct lone {
    uint32_t count, good, ttft_good, tpot_good, itl_good, e2e_good, refused;
    double ttft_ms, tpot_ms, itl_ms, e2e_ms; /* at the target's percentile; of those that are not refused */
    double longest_s;                        /* the longest E2E */
    double capacity; /* requests per second that the steps alone would admit, about: with as large decode
                        batches as pages and TPOT allow. What limits may leave less of, hardly more. > 0 */
} lone;

/* target: 0..1. ST_INVALID as judge_rate. */
status lone_run(lone *out, const judge_case *c, uint64_t seed, double target, errbuf *eb);
/* Certainly too few keep the limits even so. why: which limit, and by how much. */
bool lone_misses(const lone *l, const slo *limits, double target, char *why, size_t size);

#endif
