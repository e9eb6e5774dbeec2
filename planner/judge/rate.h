/* rate - one rate, simulated until its interval is as narrow as asked. */
#ifndef BATON_PLANNER_RATE_H
#define BATON_PLANNER_RATE_H

#include "planner/judge/judge.h"

typedef struct rate_ask {
    double rate;
    double longest_s;  /* that a lone request stays */
    double half_width; /* of the interval: narrow enough */
    /* Which side of the target it is on is all that one wants to know: a quarter of the distance to the
     * target is narrow enough, on either side. From 4 half widths on a slip is too seldom to shift the
     * crossing. */
    bool only_side;
} rate_ask;

/* *simulated: requests, all seeds. */
status rate_run(judge_point *out, const judge_case *c, const judge_rules *r, const rate_ask *ask,
                uint64_t *simulated, errbuf *eb);

#endif
