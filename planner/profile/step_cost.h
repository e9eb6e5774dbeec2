/* step_cost - the time of one phase of a step from two sums: base(x) + slope(x) * y, both linear between
 * knots.
 *
 *   prefill   x: tokens of all chunks     y: sum of (before + tokens)^2 - before^2
 *   decode    x: sequences in the batch   y: tokens of context of all of them together
 *
 * One knot is a straight line, base + rise * (x - knot's x), and one slope: at x = 0 these are the three
 * coefficients of latency/latency.h and of DistServe's profiles, exactly. Beyond its knots a curve of more
 * goes on as its outermost piece does. Pure. */
#ifndef BATON_PLANNER_STEP_COST_H
#define BATON_PLANNER_STEP_COST_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

#define STEP_COST_KNOTS_MAX 64u

typedef struct step_cost_knot {
    double x, base_ns, slope_ns; /* slope: per unit of y */
} step_cost_knot;

typedef struct step_cost {
    step_cost_knot *knots; /* [count], x ascending, each another; owned. count 0: this phase has no profile */
    uint32_t count;
    double rise_ns;             /* one knot: per unit of x; 0 with more, whose knots say it */
    double x_min, x_max, y_max; /* what was measured: a query outside of it is outside of the grid. INFINITY:
                                   no bound, as of a formula */
} step_cost;

/* alpha + beta * x + gamma * y, for any x and y. Caller frees with step_cost_done. */
step_cost step_cost_linear(double alpha_ns, double beta_ns, double gamma_ns);
/* Caller frees with step_cost_done. */
step_cost step_cost_copy(const step_cost *c);
/* ns, never negative. PRE: count > 0 */
double step_cost_ns(const step_cost *c, double x, double y);
bool step_cost_covers(const step_cost *c, double x, double y);
/* What a step costs before it does anything: base at x = 0, never negative. */
double step_cost_intercept_ns(const step_cost *c);
/* What it costs besides: step_cost_ns without the intercept, but for rounding. */
double step_cost_rest_ns(const step_cost *c, double x, double y);
/* ST_INVALID names the knot, or the bound, that is wrong ("knots[2].x"). */
status step_cost_check(const step_cost *c, errbuf *eb);
void step_cost_done(step_cost *c);

#endif
