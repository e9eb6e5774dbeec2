#include "bench/report/curve.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BOOTSTRAP_KEY 1u

static int by_number(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

uint64_t *curve_seeds(const results *r, const char *workload, uint32_t *count) {
    PRE(r);
    PRE(workload);
    PRE(count);
    uint64_t *seeds = NULL;
    size_t n = 0;
    for (size_t i = 0; i < r->cell_count; i++) {
        const cell *c = &r->cells[i];
        if (strcmp(c->workload, workload) != 0 || c->tuning || !cell_counts(c)) continue;
        seeds = xrealloc(seeds, n + c->seed_count + 1, sizeof *seeds);
        for (uint32_t s = 0; s < c->seed_count; s++) seeds[n++] = c->seeds[s];
    }
    if (n) qsort(seeds, n, sizeof *seeds, by_number);
    uint32_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || seeds[i] != seeds[kept - 1]) seeds[kept++] = seeds[i];
    }
    *count = kept;
    return seeds ? seeds : xcalloc(1, sizeof *seeds);
}

/* ---- one point ---- */

static uint32_t place_of(const uint64_t *seeds, uint32_t count, uint64_t seed) {
    uint32_t i = 0;
    while (i < count && seeds[i] != seed) i++;
    return i;
}

typedef struct tally {
    uint32_t members, good, alone[LIMITS];
} tally;

static void count_rows(const cell *c, const slo *s, tally *of /* [seed_count] of the cell */) {
    uint32_t at = 0;
    for (size_t i = 0; i < c->row_count; i++) {
        const cell_row *one = &c->rows[i];
        if (one->phase != ROW_WINDOW) continue;
        if (c->seeds[at] != one->seed) at = place_of(c->seeds, c->seed_count, one->seed);
        CHECK(at < c->seed_count); /* a cell's seeds are those of its rows, and more */
        of[at].members++;
        of[at].good += cell_row_good(s, one);
        for (int l = 0; l < LIMITS; l++) of[at].alone[l] += cell_row_keeps(s, one, (limit)l);
    }
}

/* Of [n] seeds with members. limit: LIMITS = all of them together */
static interval attained(const tally *of, uint32_t n, int l, bool *alike) {
    double *x = xcalloc(n + 1, sizeof *x);
    uint32_t good = 0, members = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t kept = l == LIMITS ? of[i].good : of[i].alone[l];
        x[i] = (double)kept / of[i].members;
        good += kept;
        members += of[i].members;
    }
    interval out = stats_seeds(x, n, good, members);
    if (alike) *alike = stats_alike(x, n);
    free(x);
    return out;
}

/* A seed without members has no attainment. */
static void score_point(curve_point *p, const slo *s, double *by_seed) {
    const cell *c = p->cell;
    tally *of = xcalloc(c->seed_count + 1, sizeof *of);
    count_rows(c, s, of);
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->seed_count; i++) {
        by_seed[i] = of[i].members ? (double)of[i].good / of[i].members : NAN;
        if (of[i].members) of[n++] = of[i];
    }
    p->attainment = attained(of, n, LIMITS, &p->alike);
    for (int l = 0; l < LIMITS; l++) p->alone[l] = attained(of, n, l, NULL);
    p->joint = (rate_point){.rate = c->rate, .attainment = p->attainment, .unstable = c->facts.unstable};
    free(of);
}

/* ---- the curve ---- */

static void add_point(curve *c, const cell *from, double *by_seed) {
    c->points = xrealloc(c->points, c->point_count + 1, sizeof *c->points);
    curve_point *p = &c->points[c->point_count++];
    *p = (curve_point){.cell = from, .rate = cell_rate_per_device(from), .judged = VERDICT_UNDECIDED};
    score_point(p, c->slo, by_seed);
    p->counts =
        cell_counts(from) && isfinite(from->rate) && from->rate > 0 && !isnan(p->joint.attainment.mean);
    if (p->counts && c->counted && c->rates[c->counted - 1] >= from->rate) p->counts = false; /* a repeat */
    if (!p->counts) return;
    c->done++;
    p->judged = search_judge(&p->joint, c->target);
    if (!cell_settled(from) && p->judged != VERDICT_FAIL) { /* later requests may fare worse */
        p->judged = VERDICT_UNDECIDED;
        p->counts = false;
        return;
    }
    c->seeds = MAX(c->seeds, p->joint.attainment.n);
}

static void find_goodput(curve *c, uint32_t seed_count, uint32_t resamples) {
    rate_point *points = xcalloc(c->counted + 1, sizeof *points);
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->point_count; i++) {
        if (c->points[i].counts) points[n++] = c->points[i].joint;
    }
    c->found = search_goodput(points, n, c->target);
    free(points);
    c->goodput = (interval){.mean = NAN, .low = NAN, .high = NAN, .n = c->seeds};
    attainment_grid grid = curve_grid(c);
    if (resamples) c->goodput = bootstrap_goodput(&grid, seed_count, c->target, resamples, BOOTSTRAP_KEY);
    double at = c->found.crossing / c->placement->devices;
    c->goodput.mean = c->found.crossing > 0 && isfinite(at) ? at : NAN;
}

void curve_init(curve *c, const results *r, const placement *p, const char *workload, const slo *s,
                const uint64_t *seeds, uint32_t seed_count, uint32_t resamples) {
    PRE(c);
    PRE(p);
    PRE(workload);
    PRE(s);
    *c = (curve){.placement = p, .workload = workload, .slo = s, .target = r->target};
    c->goodput = (interval){.mean = NAN, .low = NAN, .high = NAN};
    double *columns = NULL; /* [counted][seed_count], turned at the end */
    for (const cell *at = NULL; (at = results_next(r, at, p->name, workload));) {
        if (at->tuning) continue;
        double *by_seed = xcalloc(at->seed_count + 1, sizeof *by_seed);
        add_point(c, at, by_seed);
        if (c->points[c->point_count - 1].counts) {
            columns = xrealloc(columns, (size_t)(c->counted + 1) * (seed_count + 1), sizeof *columns);
            c->rates = xrealloc(c->rates, c->counted + 1, sizeof *c->rates);
            c->unstable = xrealloc(c->unstable, c->counted + 1, sizeof *c->unstable);
            c->unstable[c->counted] = at->facts.unstable;
            double *column = columns + (size_t)c->counted * seed_count;
            c->rates[c->counted++] = at->rate;
            for (uint32_t i = 0; i < seed_count; i++) column[i] = NAN;
            for (uint32_t i = 0; i < at->seed_count; i++) {
                uint32_t place = place_of(seeds, seed_count, at->seeds[i]);
                if (place < seed_count) column[place] = by_seed[i];
            }
        }
        free(by_seed);
    }
    c->attainment = xcalloc((size_t)c->counted * seed_count + 1, sizeof *c->attainment);
    for (uint32_t k = 0; columns && k < c->counted; k++) {
        for (uint32_t i = 0; i < seed_count; i++)
            c->attainment[(size_t)i * c->counted + k] = columns[(size_t)k * seed_count + i];
    }
    free(columns);
    if (c->counted) find_goodput(c, seed_count, resamples);
}

void curve_done(curve *c) {
    PRE(c);
    free(c->points);
    free(c->rates);
    free(c->unstable);
    free(c->attainment);
    *c = (curve){0};
}

/* ---- numbers and texts ---- */

double curve_value(const curve *c) {
    PRE(c);
    if (c->counted == 0) return 0;
    if (isinf(c->found.crossing)) return c->found.highest / c->placement->devices;
    return c->found.crossing / c->placement->devices;
}

bool curve_hopeless(const curve *c) {
    PRE(c);
    return c->point_count > 0 && c->points[0].counts && c->points[0].judged == VERDICT_FAIL;
}

attainment_grid curve_grid(const curve *c) {
    PRE(c);
    return (attainment_grid){.rates = c->rates,
                             .rate_count = c->counted,
                             .attainment = c->attainment,
                             .devices = c->placement->devices,
                             .unstable = c->unstable};
}

ratio curve_ratio(const curve *a, const curve *b, uint32_t seed_count, uint32_t resamples) {
    PRE(a);
    PRE(b);
    if (a->counted == 0 || b->counted == 0 || seed_count == 0)
        return (ratio){.mean = NAN, .low = NAN, .high = NAN};
    attainment_grid ga = curve_grid(a), gb = curve_grid(b);
    return bootstrap_goodput_ratio(&ga, &gb, seed_count, a->target, resamples, BOOTSTRAP_KEY);
}

void curve_goodput_text(const curve *c, char *out, size_t size) {
    PRE(c);
    PRE(out);
    if (c->counted == 0)
        snprintf(out, size, c->done ? "undecided" : "no data");
    else
        (void)search_text(&c->found, c->placement->devices, out, size);
}

void ratio_text(const ratio *r, char *out, size_t size) {
    PRE(r);
    PRE(out);
    bool low = isfinite(r->low) && r->low > 0, high = isfinite(r->high);
    if (!isnan(r->mean) && isnan(r->low))
        snprintf(out, size, "%.2f, no interval", r->mean);
    else if (!isnan(r->mean) && low && high)
        snprintf(out, size, "%.2f (%.2f to %.2f)", r->mean, r->low, r->high);
    else if (!isnan(r->mean) && low)
        snprintf(out, size, "%.2f (from %.2f, open above)", r->mean, r->low);
    else if (!isnan(r->mean) && high)
        snprintf(out, size, "%.2f (up to %.2f)", r->mean, r->high);
    else if (!isnan(r->mean))
        snprintf(out, size, "%.2f (open)", r->mean);
    else if (low && !high)
        snprintf(out, size, "> %.2f", r->low);
    else if (high && !low)
        snprintf(out, size, "< %.2f", r->high);
    else if (low && high)
        snprintf(out, size, "%.2f to %.2f", r->low, r->high);
    else
        snprintf(out, size, "unknown");
}
