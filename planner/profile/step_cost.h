/* step_cost - the time of one phase of a step from two sums: base(x) + slope(x) * y, both linear between
 * knots.
 *
 *   prefill   x: tokens of all chunks     y: sum of (before + tokens)^2 - before^2
 *   decode    x: sequences in the batch   y: tokens of context of all of them together
 *
 * One knot is a constant; two knots with one slope are the three coefficients of latency/latency.h and of
 * DistServe's profiles. Beyond its knots a curve goes on as its outermost piece does. Pure. */
#ifndef BATON_PLANNER_STEP_COST_H
#define BATON_PLANNER_STEP_COST_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct step_cost_knot {
    double x, base_ns, slope_ns; /* slope: per unit of y */
} step_cost_knot;

typedef struct step_cost {
    step_cost_knot *knots; /* [count], x ascending, each another; owned. count 0: this phase has no profile */
    uint32_t count;
    double x_min, x_max, y_max; /* what was measured: a query outside of it is outside of the grid */
} step_cost;

/* ns, never negative. PRE: count > 0 */
double step_cost_ns(const step_cost *c, double x, double y);
bool step_cost_covers(const step_cost *c, double x, double y);
/* What a step costs before it does anything: base at x = 0, never negative. */
double step_cost_intercept_ns(const step_cost *c);
/* ST_INVALID names the knot, or the bound, that is wrong ("knots[2].x"). */
status step_cost_check(const step_cost *c, errbuf *eb);
void step_cost_done(step_cost *c);

#endif
