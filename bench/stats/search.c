#include "bench/stats/search.h"

#include "base/mem.h"
#include "base/status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define LOWEST   1024.0 /* the first rate is halved at most to this part of it */
#define ROUNDING 1e-12  /* a mean of five times 0.9 meets 0.9 */

static const char *const VERDICTS[] = {"pass", "fail", "undecided"};

const char *verdict_name(verdict v) {
    PRE((size_t)v < ARRAY_LEN(VERDICTS));
    return VERDICTS[v];
}

verdict search_judge(const rate_point *p, double target) {
    PRE(p);
    if (p->unstable || p->attainment.high < target - ROUNDING) return VERDICT_FAIL;
    return p->attainment.low >= target - ROUNDING ? VERDICT_PASS : VERDICT_UNDECIDED; /* NAN meets nothing */
}

void search_isotonic(const double *y, size_t n, double *fit) {
    PRE(y || !n);
    PRE(fit || !n);
    size_t *length = xmalloc((n + 1) * sizeof *length), blocks = 0; /* of equal values, kept in fit */
    for (size_t i = 0; i < n; i++) {
        fit[blocks] = y[i];
        length[blocks++] = 1;
        while (blocks > 1 && fit[blocks - 2] < fit[blocks - 1]) {
            size_t a = length[blocks - 2], b = length[blocks - 1];
            fit[blocks - 2] = (fit[blocks - 2] * (double)a + fit[blocks - 1] * (double)b) / (double)(a + b);
            length[blocks - 2] = a + b;
            blocks--;
        }
    }
    for (size_t i = n; blocks-- > 0;) /* spread from the end, where nothing is overwritten that is needed */
        for (size_t k = 0; k < length[blocks]; k++) fit[--i] = fit[blocks];
    free(length);
}

double search_crossing(const double *rates, const double *y, size_t n, double target) {
    PRE(rates);
    PRE(y);
    PRE(n > 0);
    double *fit = xmalloc(n * sizeof *fit);
    search_isotonic(y, n, fit);
    size_t i = 0;
    while (i < n && fit[i] >= target - ROUNDING) i++;
    double at = INFINITY;
    if (i == 0)
        at = 0;
    else if (i < n)
        at = rates[i - 1] + (rates[i] - rates[i - 1]) * (fit[i - 1] - target) / (fit[i - 1] - fit[i]);
    free(fit);
    return at;
}

/* pass and fail of the result, whatever the order of the verdicts. */
static void bracket(search_result *out, const rate_point *points, size_t n, double target) {
    out->pass = out->fail = NAN;
    for (size_t i = 0; i < n; i++) {
        verdict v = search_judge(&points[i], target);
        if (v == VERDICT_FAIL && isnan(out->fail)) out->fail = points[i].rate;
        if (v == VERDICT_PASS && isnan(out->fail)) out->pass = points[i].rate;
        if (v == VERDICT_PASS && !isnan(out->fail)) out->contradiction = true;
    }
}

/* The curve is only as good as its runs: it cannot lie beyond what is certain. */
static double within(double rate, const search_result *r) {
    if (r->fail == r->lowest) return 0;
    if (rate > r->fail) rate = r->fail; /* NAN compares with nothing */
    if (rate < r->pass) rate = r->pass;
    return rate;
}

search_result search_goodput(const rate_point *points, size_t n, double target) {
    PRE(points);
    PRE(n > 0);
    search_result out = {.lowest = points[0].rate, .highest = points[n - 1].rate};
    double *rates = xmalloc(4 * n * sizeof *rates), *mean = rates + n, *low = mean + n, *high = low + n;
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        const interval *a = &points[i].attainment;
        CHECK(points[i].rate > 0);
        CHECK(!i || points[i].rate > points[i - 1].rate);
        if (isnan(a->mean)) continue;
        rates[m] = points[i].rate;
        mean[m] = a->mean;
        low[m] = isnan(a->low) ? a->mean : a->low;
        high[m++] = isnan(a->high) ? a->mean : a->high;
    }
    bracket(&out, points, n, target);
    out.crossing = m ? within(search_crossing(rates, mean, m, target), &out) : NAN;
    out.low = m ? within(search_crossing(rates, low, m, target), &out) : NAN;
    out.high = m ? within(search_crossing(rates, high, m, target), &out) : NAN;
    free(rates);
    return out;
}

double search_round(double rate) {
    PRE(rate > 0);
    double scale = pow(10, 2 - floor(log10(rate)));
    return round(rate * scale) / scale;
}

search_step search_next(const search_plan *p, const search_tried *tried, size_t n) {
    PRE(p);
    PRE(tried || !n);
    search_step out = {.low = 0, .high = INFINITY};
    double least = INFINITY;
    for (size_t i = 0; i < n; i++) {
        least = fmin(least, tried[i].rate);
        if (tried[i].too_high) out.high = fmin(out.high, tried[i].rate);
    }
    for (size_t i = 0; i < n; i++)
        if (tried[i].rate < out.high) out.low = fmax(out.low, tried[i].rate);
    if (!n)
        out.rate = p->start;
    else if (isinf(out.high))
        out.rate = out.low < p->max_rate ? fmin(out.low * 2, p->max_rate) : 0;
    else if (out.low == 0)
        out.rate = least > p->start / LOWEST ? least / 2 : 0;
    else
        out.rate = out.high > out.low * (1 + p->resolution) ? (out.low + out.high) / 2 : 0;
    if (out.rate == 0) {
        out.why = isinf(out.high) ? SEARCH_TOP : out.low == 0 ? SEARCH_BOTTOM : SEARCH_CLOSE;
        return out;
    }
    out.rate = search_round(out.rate);
    if (n >= p->probes_max) out.why = SEARCH_ENOUGH;
    for (size_t i = 0; i < n && out.why == SEARCH_GOES_ON; i++)
        if (tried[i].rate == out.rate) out.why = SEARCH_FINEST;
    return out;
}

const char *search_text(const search_result *r, double devices, char *out, size_t size) {
    PRE(r);
    PRE(devices > 0);
    PRE(out);
    if (isnan(r->crossing))
        snprintf(out, size, "no value");
    else if (r->crossing == 0)
        snprintf(out, size, "%s %.3g", r->fail == r->lowest ? "<" : "undecided below", r->lowest / devices);
    else if (isinf(r->crossing))
        snprintf(out, size, "%s %.3g", r->pass == r->highest ? ">" : "undecided above", r->highest / devices);
    else
        snprintf(out, size, "%.3g", r->crossing / devices);
    return out;
}
