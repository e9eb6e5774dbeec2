/* fit - a step_cost from measured points, and how far it is off at points that it was not made of.
 *
 * The simplest curve that predicts: alpha + beta * x + gamma * y first; knots, at measured x, are added while
 * they lower the leave-one-out error by a tenth or more, at most FIT_KNOTS_MAX with 0 and the largest x.
 * Errors are relative, so that short steps count as much as long ones. No coefficient is negative (least
 * squares of Lawson and Hanson), so that more work never costs less. Points with the same x and y are
 * averaged before. Pure. */
#ifndef BATON_PLANNER_FIT_H
#define BATON_PLANNER_FIT_H

#include "planner/profile/profile.h"

#define FIT_POINTS_MAX   65536u
#define FIT_DISTINCT_MAX 1024u
#define FIT_KNOTS_MAX    12u

typedef struct fit_point {
    double x, y; /* as of step_cost */
    double ns;   /* > 0 */
} fit_point;

/* A step that did both. */
typedef struct fit_mixed_point {
    double prefill_x, prefill_y, decode_x, decode_y;
    double ns; /* > 0 */
} fit_mixed_point;

/* loo (may be NULL): each distinct (x, y) predicted by a curve whose knots, too, were chosen without it; of
 * more than 24 points several are left out together, evenly spread. The only point at the smallest or at the
 * largest x is not asked for, since nobody is beyond it: the grid would end before it. Fewer than 2 that are
 * asked for: unknown. ST_INVALID names the
 * point that is no number, or says how many are wanted: 3 distinct ones. Caller frees with step_cost_done. */
status fit_cost(step_cost *out, profile_error *loo, const fit_point *points, uint32_t count, errbuf *eb);
/* The same with three coefficients and no knots, whatever that costs. */
status fit_linear(step_cost *out, profile_error *loo, const fit_point *points, uint32_t count, errbuf *eb);
/* profile_engine.shared, 0..1, of steps that did both, given what each phase alone takes. ST_INVALID as
 * above; one point is enough, but for loo. PRE: both curves have knots */
status fit_mixed(double *shared, profile_error *loo, const step_cost *prefill, const step_cost *decode,
                 const fit_mixed_point *points, uint32_t count, errbuf *eb);
/* Standard deviation / mean of points of the same x and y, pooled; 0: no point was measured twice. */
double fit_cv(const fit_point *points, uint32_t count);

#endif
