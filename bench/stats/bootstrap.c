#include "bench/stats/bootstrap.h"

#include "base/mem.h"
#include "base/mix.h"
#include "base/status.h"
#include "bench/stats/search.h"

#include <math.h>
#include <stdlib.h>

/* The draw of place `place` in resample `number`: a function of the three alone. */
static uint32_t draw(uint64_t key, uint32_t number, uint32_t place, uint32_t seeds) {
    uint64_t x = mix64(key + MIX64_STEP);
    x = mix64(x + (((uint64_t)number << 32) | place) + MIX64_STEP);
    return (uint32_t)((x >> 32) * seeds >> 32);
}

/* What is known of a rate per device: a point, or, off the grid, one end. */
typedef struct range {
    double low, high;
} range;

static range crossing_of(const attainment_grid *g, const uint32_t *picks, uint32_t seeds, double target,
                         double *scratch) {
    double *rates = scratch, *mean = scratch + g->rate_count, ceiling = INFINITY;
    size_t m = 0;
    for (uint32_t i = 0; i < g->rate_count; i++) {
        double sum = 0;
        uint32_t n = 0;
        for (uint32_t k = 0; k < seeds; k++) {
            double a = g->attainment[(size_t)picks[k] * g->rate_count + i];
            if (isnan(a)) continue;
            sum += a;
            n++;
        }
        if (!n) continue;
        if (g->unstable && g->unstable[i]) ceiling = fmin(ceiling, g->rates[i]);
        rates[m] = g->rates[i];
        mean[m++] = sum / n;
    }
    if (!m) return (range){0, INFINITY};
    double at = fmin(search_crossing(rates, mean, m, target), ceiling);
    if (at == 0 || ceiling == rates[0]) return (range){0, rates[0] / g->devices};
    if (isinf(at)) return (range){rates[m - 1] / g->devices, INFINITY};
    return (range){at / g->devices, at / g->devices};
}

static double point_of(range r) {
    return r.low == r.high ? r.low : NAN;
}

static range divide(range a, range b) {
    return (range){a.low / b.high, b.low > 0 ? a.high / b.low : INFINITY};
}

/* The percentile without interpolation, which open ends do not allow: outwards. */
static double outward(double *x, uint32_t n, double q) {
    stats_sort(x, n);
    double at = q / 100 * (n - 1);
    return x[(size_t)(q < 50 ? floor(at) : ceil(at))];
}

/* What a resample gives. */
typedef range resample_fn(const void *of, const uint32_t *picks);

static interval resampled(resample_fn *fn, const void *of, uint32_t seeds, uint32_t resamples, uint64_t key) {
    PRE(seeds > 0);
    PRE(resamples > 0);
    uint32_t *picks = xmalloc(seeds * sizeof *picks);
    for (uint32_t k = 0; k < seeds; k++) picks[k] = k;
    interval out = {point_of(fn(of, picks)), NAN, NAN, seeds};
    if (seeds > 1) {
        double *low = xmalloc(2 * (size_t)resamples * sizeof *low), *high = low + resamples;
        for (uint32_t i = 0; i < resamples; i++) {
            for (uint32_t k = 0; k < seeds; k++) picks[k] = draw(key, i, k, seeds);
            range r = fn(of, picks);
            low[i] = r.low;
            high[i] = r.high;
        }
        out.low = outward(low, resamples, 2.5);
        out.high = outward(high, resamples, 97.5);
        free(low);
    }
    free(picks);
    return out;
}

typedef struct pair {
    const attainment_grid *a, *b; /* b: NULL = a alone */
    uint32_t seeds;
    double target, *scratch;
} pair;

static range goodput_resample(const void *of, const uint32_t *picks) {
    const pair *p = of;
    range a = crossing_of(p->a, picks, p->seeds, p->target, p->scratch);
    return p->b ? divide(a, crossing_of(p->b, picks, p->seeds, p->target, p->scratch)) : a;
}

static interval goodput(const attainment_grid *a, const attainment_grid *b, uint32_t seeds, double target,
                        uint32_t resamples, uint64_t key) {
    const attainment_grid *grids[] = {a, b ? b : a};
    uint32_t most = 0;
    for (uint32_t i = 0; i < 2; i++) {
        PRE(grids[i]->rates);
        PRE(grids[i]->attainment);
        PRE(grids[i]->rate_count > 0);
        PRE(grids[i]->devices > 0);
        most = MAX(most, grids[i]->rate_count);
    }
    pair p = {a, b, seeds, target, xmalloc(2 * (size_t)most * sizeof(double))};
    interval out = resampled(goodput_resample, &p, seeds, resamples, key);
    free(p.scratch);
    return out;
}

interval bootstrap_goodput(const attainment_grid *a, uint32_t seeds, double target, uint32_t resamples,
                           uint64_t key) {
    PRE(a);
    return goodput(a, NULL, seeds, target, resamples, key);
}

ratio bootstrap_goodput_ratio(const attainment_grid *a, const attainment_grid *b, uint32_t seeds,
                              double target, uint32_t resamples, uint64_t key) {
    PRE(a);
    PRE(b);
    return goodput(a, b, seeds, target, resamples, key);
}

typedef struct mean_pair {
    const double *a, *b;
    uint32_t seeds;
} mean_pair;

static range mean_resample(const void *of, const uint32_t *picks) {
    const mean_pair *p = of;
    double a = 0, b = 0;
    for (uint32_t k = 0; k < p->seeds; k++) {
        a += p->a[picks[k]];
        b += p->b[picks[k]];
    }
    return (range){a / b, a / b};
}

ratio bootstrap_mean_ratio(const double *a, const double *b, uint32_t seeds, uint32_t resamples,
                           uint64_t key) {
    PRE(a);
    PRE(b);
    mean_pair p = {a, b, seeds};
    return resampled(mean_resample, &p, seeds, resamples, key);
}
