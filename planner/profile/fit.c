#include "planner/profile/fit.h"

#include "base/mem.h"
#include "bench/stats/stats.h"
#include "planner/profile/nnls.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CANDIDATES_MAX 16u   /* x that a knot may be put at */
#define FOLDS_MAX      64u   /* while knots are chosen; with more points, several are left out together */
#define JUDGED_MAX     24u   /* folds of the error that is told: each chooses its own knots */
#define GAIN           0.9   /* what a knot must lower the error to */
#define GOOD_ENOUGH    0.001 /* error below which no knot is tried */
#define TELL_LEAST     2u    /* points that an error is told of */

/* Distinct points, and the knots of the curve that is tried: 0 first, then ascending, the last one the
 * largest x, so that base is known up to there. */
typedef struct fitter {
    fit_point *points; /* [count], by x, then y; owned */
    uint32_t count;
    double *errors; /* [count], of the curve asked for last; owned */
} fitter;

typedef struct knot_list {
    double x[FIT_KNOTS_MAX];
    uint32_t count;
} knot_list;

static int by_place(const void *a, const void *b) {
    const fit_point *p = a, *q = b;
    if (p->x != q->x) return p->x < q->x ? -1 : 1;
    return p->y < q->y ? -1 : p->y > q->y;
}

static status check_point(const double *v, size_t count, double ns, uint32_t i, errbuf *eb) {
    for (size_t k = 0; k < count; k++)
        if (!isfinite(v[k]) || v[k] < 0)
            return errf(eb, ST_INVALID, "point %u: %g is no finite number of 0 or more", i, v[k]);
    if (!isfinite(ns) || ns <= 0)
        return errf(eb, ST_INVALID, "point %u: it takes %g ns: want a finite number above 0", i, ns);
    return ST_OK;
}

/* Points of one place become their mean. */
static uint32_t merge(fit_point *p, uint32_t count) {
    uint32_t n = 0;
    for (uint32_t i = 0, same; i < count; i += same) {
        double sum = 0;
        for (same = 0; i + same < count && by_place(&p[i], &p[i + same]) == 0; same++) sum += p[i + same].ns;
        p[n++] = (fit_point){p[i].x, p[i].y, sum / same};
    }
    return n;
}

static status fitter_init(fitter *f, const fit_point *points, uint32_t count, errbuf *eb) {
    if (count > FIT_POINTS_MAX)
        return errf(eb, ST_INVALID, "%u points: want at most %u", count, FIT_POINTS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        status st = check_point((const double[]){points[i].x, points[i].y}, 2, points[i].ns, i, eb);
        if (st != ST_OK) return st;
    }
    fit_point *copy = xcalloc(count + 1, sizeof *copy);
    if (count) memcpy(copy, points, count * sizeof *copy);
    qsort(copy, count, sizeof *copy, by_place);
    uint32_t n = merge(copy, count);
    if (n < 3 || n > FIT_DISTINCT_MAX) {
        free(copy);
        return errf(eb, ST_INVALID, "%u distinct points: want 3 to %u", n, FIT_DISTINCT_MAX);
    }
    *f = (fitter){.points = copy, .count = n, .errors = xcalloc(n, sizeof(double))};
    return ST_OK;
}

static void fitter_done(fitter *f) {
    free(f->points);
    free(f->errors);
}

/* The unknowns: base at 0, how much each piece rises per unit of x, the slope of y. */
static uint32_t columns(const knot_list *k) {
    return k->count + 1;
}

static void row_of(const knot_list *k, double x, double y, double *row) {
    row[0] = 1;
    for (uint32_t i = 1; i < k->count; i++) {
        double end = i + 1 < k->count ? MIN(x, k->x[i]) : x;
        row[i] = MAX(end - k->x[i - 1], 0.0);
    }
    row[k->count] = y;
}

/* Divided by what was measured, so that errors are relative. */
static void add(nnls *p, const knot_list *k, const fit_point *at, double times) {
    double row[NNLS_MAX] = {0};
    row_of(k, at->x, at->y, row);
    for (uint32_t i = 0; i < p->n; i++) row[i] /= at->ns;
    nnls_add(p, row, 1, times);
}

static double predict(const knot_list *k, const double *c, double x, double y) {
    double row[NNLS_MAX], sum = 0;
    row_of(k, x, y, row);
    for (uint32_t i = 0; i < columns(k); i++) sum += row[i] * c[i];
    return sum;
}

/* fold = folds: of all points. */
static nnls sums(const fitter *f, const knot_list *k, uint32_t fold, uint32_t folds) {
    nnls p = {.n = columns(k)};
    for (uint32_t i = 0; i < f->count; i++)
        if (i % folds != fold) add(&p, k, &f->points[i], 1);
    return p;
}

/* The knots that still have a point when those of the fold are left out; true: all of them. */
static bool knots_without(const fitter *f, const knot_list *k, uint32_t fold, uint32_t folds,
                          knot_list *out) {
    *out = (knot_list){.x = {0}, .count = 1};
    for (uint32_t i = 1; i + 1 < k->count; i++) {
        bool found = false;
        for (uint32_t j = 0; j < f->count && !found; j++)
            found = j % folds != fold && f->points[j].x == k->x[i];
        if (found) out->x[out->count++] = k->x[i];
    }
    out->x[out->count++] = k->x[k->count - 1]; /* its last piece is open: it needs no point */
    return out->count == k->count;
}

/* The only point at the smallest or at the largest x. */
static bool is_end(const fitter *f, uint32_t i) {
    const fit_point *p = f->points;
    return (i == 0 && p[1].x > p[0].x) || (i + 1 == f->count && p[i - 1].x < p[i].x);
}

/* Errors of points predicted from the others into f->errors; returns how many. */
static uint32_t leave_out(fitter *f, const knot_list *k, bool ends_too) {
    uint32_t folds = MIN(f->count, FOLDS_MAX), n = 0;
    nnls all = sums(f, k, folds, folds);
    for (uint32_t fold = 0; fold < folds; fold++) {
        double c[NNLS_MAX];
        knot_list left;
        nnls p;
        if (knots_without(f, k, fold, folds, &left)) {
            p = all;
            for (uint32_t i = fold; i < f->count; i += folds) add(&p, k, &f->points[i], -1);
        } else {
            p = sums(f, &left, fold, folds);
        }
        nnls_solve(&p, c);
        for (uint32_t i = fold; i < f->count; i += folds) {
            const fit_point *at = &f->points[i];
            if (!ends_too && is_end(f, i)) continue;
            f->errors[n++] = fabs(predict(&left, c, at->x, at->y) - at->ns) / at->ns;
        }
    }
    return n;
}

static profile_error error_of(double *errors, uint32_t n) {
    profile_error e = {.mean = NAN, .p90 = NAN, .max = NAN};
    if (!n) return e;
    stats_sort(errors, n);
    return (profile_error){.mean = stats_mean(errors, n),
                           .p90 = stats_percentile(errors, n, 90),
                           .max = errors[n - 1],
                           .points = n};
}

/* One point alone says little of others; for a mixed one it is what the curve was made of. */
static profile_error told_error(profile_error e) {
    return e.points < TELL_LEAST ? error_of(NULL, 0) : e;
}

static profile_error try_knots(fitter *f, const knot_list *k) {
    uint32_t n = leave_out(f, k, false);
    if (!n) n = leave_out(f, k, true);
    return error_of(f->errors, n);
}

/* Ascending again; false: it is there already, or there is no room. */
static bool put(knot_list *k, double x) {
    uint32_t at = 0;
    if (k->count == FIT_KNOTS_MAX) return false;
    while (at < k->count && k->x[at] < x) at++;
    if (at < k->count && k->x[at] == x) return false;
    memmove(&k->x[at + 1], &k->x[at], (k->count - at) * sizeof k->x[0]);
    k->x[at] = x;
    k->count++;
    return true;
}

/* Distinct x between the ends, spread over the ranks if there are too many. */
static uint32_t candidates(const fitter *f, double *out) {
    uint32_t distinct = 0, n = 0;
    double *x = xcalloc(f->count, sizeof *x);
    for (uint32_t i = 0; i < f->count; i++)
        if (f->points[i].x > f->points[0].x && f->points[i].x < f->points[f->count - 1].x &&
            (!distinct || f->points[i].x > x[distinct - 1]))
            x[distinct++] = f->points[i].x;
    uint32_t most = MIN(distinct, CANDIDATES_MAX);
    for (uint32_t i = 0; i < most; i++) out[n++] = x[(uint64_t)i * distinct / most];
    free(x);
    return n;
}

/* The best of one or, when `pair`, of two more knots. */
static profile_error try_more(fitter *f, const knot_list *k, const double *x, uint32_t n, bool pair,
                              knot_list *best) {
    profile_error least = {.mean = INFINITY};
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = pair ? i + 1 : i; j < (pair ? n : i + 1); j++) {
            knot_list tried = *k;
            if (!put(&tried, x[i]) || (pair && !put(&tried, x[j]))) continue;
            profile_error e = try_knots(f, &tried);
            if (!(e.mean < least.mean)) continue;
            least = e;
            *best = tried;
        }
    }
    return least;
}

/* Two knots at once where one does not help: a bend in a straight line needs its begin and its end. */
static void choose_knots(fitter *f, knot_list *k) {
    double x[CANDIDATES_MAX];
    uint32_t n = candidates(f, x);
    profile_error e = try_knots(f, k);
    while (e.mean > GOOD_ENOUGH) {
        knot_list best = *k;
        profile_error more = try_more(f, k, x, n, false, &best);
        if (!(more.mean < GAIN * e.mean)) more = try_more(f, k, x, n, true, &best);
        if (!(more.mean < GAIN * e.mean)) break;
        e = more;
        *k = best;
    }
}

/* The simplest one; with `knots`, the one that predicts best. */
static knot_list knots_for(fitter *f, bool knots) {
    double last = f->points[f->count - 1].x;
    knot_list k = {.x = {0, last > 0 ? last : 1}, .count = 2};
    if (knots) choose_knots(f, &k);
    return k;
}

/* Of curves that have not seen the points they are asked for, nor chosen their knots by them. */
static profile_error judge(const fitter *f, bool knots) {
    uint32_t folds = MIN(f->count, JUDGED_MAX), n = 0;
    fitter rest = {.points = xcalloc(f->count, sizeof *rest.points),
                   .errors = xcalloc(f->count, sizeof *rest.errors)};
    for (uint32_t fold = 0; fold < folds; fold++) {
        double c[NNLS_MAX];
        rest.count = 0;
        for (uint32_t i = 0; i < f->count; i++)
            if (i % folds != fold) rest.points[rest.count++] = f->points[i];
        knot_list k = knots_for(&rest, knots);
        nnls p = sums(&rest, &k, rest.count, rest.count);
        nnls_solve(&p, c);
        for (uint32_t i = fold; i < f->count; i += folds) {
            const fit_point *at = &f->points[i];
            if (is_end(f, i)) continue;
            f->errors[n++] = fabs(predict(&k, c, at->x, at->y) - at->ns) / at->ns;
        }
    }
    fitter_done(&rest);
    return error_of(f->errors, n);
}

static step_cost curve_of(const fitter *f, const knot_list *k) {
    double c[NNLS_MAX], y_max = 0;
    nnls p = sums(f, k, f->count, f->count);
    nnls_solve(&p, c);
    step_cost out = {0};
    if (k->count == 2) {
        out = step_cost_linear(c[0], c[1], c[2]);
    } else {
        out = (step_cost){.knots = xcalloc(k->count, sizeof *out.knots), .count = k->count};
        for (uint32_t i = 0; i < k->count; i++)
            out.knots[i] = (step_cost_knot){
                k->x[i], i ? out.knots[i - 1].base_ns + c[i] * (k->x[i] - k->x[i - 1]) : c[0], c[k->count]};
    }
    for (uint32_t i = 0; i < f->count; i++) y_max = MAX(y_max, f->points[i].y);
    out.x_min = f->points[0].x;
    out.x_max = f->points[f->count - 1].x;
    out.y_max = y_max;
    return out;
}

static status fit(step_cost *out, profile_error *loo, const fit_point *points, uint32_t count, bool knots,
                  errbuf *eb) {
    PRE(out);
    PRE(points || !count);
    fitter f = {0};
    status st = fitter_init(&f, points, count, eb);
    if (st != ST_OK) return st;
    if (loo) *loo = told_error(judge(&f, knots));
    knot_list k = knots_for(&f, knots);
    *out = curve_of(&f, &k);
    fitter_done(&f);
    return ST_OK;
}

status fit_cost(step_cost *out, profile_error *loo, const fit_point *points, uint32_t count, errbuf *eb) {
    return fit(out, loo, points, count, true, eb);
}

status fit_linear(step_cost *out, profile_error *loo, const fit_point *points, uint32_t count, errbuf *eb) {
    return fit(out, loo, points, count, false, eb);
}

/* --- steps that do both --- */

typedef struct mixed_sums {
    double top, bottom; /* shared = top / bottom */
} mixed_sums;

static double shared_of(double top, double bottom) {
    return bottom > 0 ? fmin(fmax(top / bottom, 0), 1) : 1;
}

static double apart_ns(const step_cost *prefill, const step_cost *decode, const fit_mixed_point *p) {
    return step_cost_ns(prefill, p->prefill_x, p->prefill_y) + step_cost_ns(decode, p->decode_x, p->decode_y);
}

status fit_mixed(double *shared, profile_error *loo, const step_cost *prefill, const step_cost *decode,
                 const fit_mixed_point *points, uint32_t count, errbuf *eb) {
    PRE(shared);
    PRE(prefill);
    PRE(decode);
    PRE(points || !count);
    if (!count || count > FIT_POINTS_MAX)
        return errf(eb, ST_INVALID, "%u mixed points: want 1 to %u", count, FIT_POINTS_MAX);
    double both = MIN(step_cost_intercept_ns(prefill), step_cost_intercept_ns(decode));
    mixed_sums all = {0};
    for (uint32_t i = 0; i < count; i++) {
        const fit_mixed_point *p = &points[i];
        const double v[] = {p->prefill_x, p->prefill_y, p->decode_x, p->decode_y};
        status st = check_point(v, 4, p->ns, i, eb);
        if (st != ST_OK) return st;
        double part = both / p->ns;
        all.top += part * (apart_ns(prefill, decode, p) / p->ns - 1);
        all.bottom += part * part;
    }
    double *errors = xcalloc(count, sizeof *errors);
    for (uint32_t i = 0; i < count; i++) {
        const fit_mixed_point *p = &points[i];
        double part = both / p->ns, apart = apart_ns(prefill, decode, p) / p->ns;
        double s = count > 1 ? shared_of(all.top - part * (apart - 1), all.bottom - part * part)
                             : shared_of(all.top, all.bottom);
        errors[i] = fabs(apart - s * part - 1);
    }
    *shared = shared_of(all.top, all.bottom);
    if (loo) *loo = told_error(error_of(errors, count));
    free(errors);
    return ST_OK;
}

double fit_cv(const fit_point *points, uint32_t count) {
    PRE(points || !count);
    if (!count) return 0;
    fit_point *p = xmemdup(points, count * sizeof *p);
    qsort(p, count, sizeof *p, by_place);
    double sum = 0;
    uint32_t freedom = 0;
    for (uint32_t i = 0, same; i < count; i += same) {
        double mean = 0;
        for (same = 0; i + same < count && by_place(&p[i], &p[i + same]) == 0; same++) mean += p[i + same].ns;
        mean /= same;
        for (uint32_t j = i; j < i + same && mean > 0; j++)
            sum += (p[j].ns / mean - 1) * (p[j].ns / mean - 1);
        freedom += same - 1;
    }
    free(p);
    return freedom ? sqrt(sum / freedom) : 0;
}
