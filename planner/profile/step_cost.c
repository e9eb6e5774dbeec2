#include "planner/profile/step_cost.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

step_cost step_cost_linear(double alpha_ns, double beta_ns, double gamma_ns) {
    const step_cost_knot knot = {.base_ns = alpha_ns, .slope_ns = gamma_ns};
    return (step_cost){.knots = xmemdup(&knot, sizeof knot),
                       .count = 1,
                       .rise_ns = beta_ns,
                       .x_max = INFINITY,
                       .y_max = INFINITY};
}

step_cost step_cost_copy(const step_cost *c) {
    PRE(c);
    step_cost out = *c;
    if (c->count) out.knots = xmemdup(c->knots, c->count * sizeof *c->knots);
    return out;
}

/* The knot that begins the piece for x: the last one at or before it, but never the last of all. */
static const step_cost_knot *piece(const step_cost *c, double x) {
    uint32_t low = 0, high = c->count - 1;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (c->knots[middle].x <= x)
            low = middle;
        else
            high = middle;
    }
    return &c->knots[low];
}

/* With more than one knot. */
static double between(const step_cost *c, double x, double y) {
    const step_cost_knot *a = piece(c, x), *b = a + 1;
    double t = (x - a->x) / (b->x - a->x);
    return a->base_ns + (b->base_ns - a->base_ns) * t + (a->slope_ns + (b->slope_ns - a->slope_ns) * t) * y;
}

/* The order of these sums is latency_ns's: the results are the same to the bit. */
double step_cost_ns(const step_cost *c, double x, double y) {
    PRE(c);
    PRE(c->count);
    const step_cost_knot *k = c->knots;
    double ns = c->count == 1 ? k->base_ns + (c->rise_ns * (x - k->x) + k->slope_ns * y) : between(c, x, y);
    return MAX(ns, 0.0);
}

bool step_cost_covers(const step_cost *c, double x, double y) {
    PRE(c);
    return x >= c->x_min && x <= c->x_max && y <= c->y_max;
}

double step_cost_intercept_ns(const step_cost *c) {
    PRE(c);
    PRE(c->count);
    double ns = c->count == 1 ? c->knots->base_ns - c->rise_ns * c->knots->x : between(c, 0, 0);
    return MAX(ns, 0.0);
}

double step_cost_rest_ns(const step_cost *c, double x, double y) {
    PRE(c);
    PRE(c->count);
    const step_cost_knot *k = c->knots;
    if (c->count == 1 && k->x == 0) return c->rise_ns * x + k->slope_ns * y;
    return step_cost_ns(c, x, y) - step_cost_intercept_ns(c);
}

static status check_knot(const step_cost *c, uint32_t i, errbuf *eb) {
    const step_cost_knot *k = &c->knots[i];
    if (!isfinite(k->x) || k->x < 0)
        return errf(eb, ST_INVALID, "knots[%u].x is %g: want a finite number, 0 or more", i, k->x);
    if (i && k->x <= k[-1].x)
        return errf(eb, ST_INVALID, "knots[%u].x is %g: want more than the %g of the knot before", i, k->x,
                    k[-1].x);
    if (!isfinite(k->base_ns) || k->base_ns < 0)
        return errf(eb, ST_INVALID, "knots[%u].base_ns is %g: want a finite number, 0 or more", i,
                    k->base_ns);
    if (!isfinite(k->slope_ns))
        return errf(eb, ST_INVALID, "knots[%u].slope_ns is %g: want a finite number", i, k->slope_ns);
    return ST_OK;
}

status step_cost_check(const step_cost *c, errbuf *eb) {
    PRE(c);
    if (c->count > STEP_COST_KNOTS_MAX)
        return errf(eb, ST_INVALID, "knots: %u of them, want at most %u", c->count, STEP_COST_KNOTS_MAX);
    if (!c->count) return ST_OK;
    status st = ST_OK;
    for (uint32_t i = 0; i < c->count && st == ST_OK; i++) st = check_knot(c, i, eb);
    if (st != ST_OK) return st;
    if (!isfinite(c->rise_ns)) return errf(eb, ST_INVALID, "rise_ns is %g: want a finite number", c->rise_ns);
    if (c->count > 1 && c->rise_ns != 0)
        return errf(eb, ST_INVALID, "rise_ns is %g: want 0 with more than one knot", c->rise_ns);
    if (!isfinite(c->x_min) || c->x_min < 0)
        return errf(eb, ST_INVALID, "x_min is %g: want a finite number, 0 or more", c->x_min);
    if (!(c->x_max >= c->x_min))
        return errf(eb, ST_INVALID, "x_max is %g: want at least x_min, which is %g", c->x_max, c->x_min);
    if (!(c->y_max >= 0)) return errf(eb, ST_INVALID, "y_max is %g: want 0 or more", c->y_max);
    return ST_OK;
}

void step_cost_done(step_cost *c) {
    if (!c) return;
    free(c->knots);
    *c = (step_cost){0};
}
