#include "bench/report/goodput_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t place(const results *r, uint32_t workload, uint32_t s, uint32_t p) {
    return ((size_t)workload * r->slo_count + s) * r->placement_count + p;
}

const table_entry *goodput_table_at(const goodput_table *t, uint32_t workload, uint32_t s, uint32_t p) {
    PRE(t);
    PRE(workload < t->results->workload_count);
    PRE(s < t->results->slo_count);
    PRE(p < t->results->placement_count);
    return &t->entries[place(t->results, workload, s, p)];
}

/* ---- what limits ---- */

static const cell *limiting_cell(const curve *c, bool *failing) {
    const cell *highest = NULL;
    *failing = false;
    for (uint32_t i = 0; i < c->point_count; i++) {
        const curve_point *p = &c->points[i];
        if (!p->counts) continue;
        highest = p->cell;
        if (p->judged == VERDICT_FAIL || p->joint.attainment.mean < c->target) {
            *failing = true;
            return p->cell;
        }
    }
    return highest;
}

static stage longest(const double *sums, stage first, stage last) {
    stage best = first;
    for (stage s = first; s <= last; s++) {
        if (sums[s] > sums[best]) best = s;
    }
    return best;
}

static limiter find_limiter(const curve *c) {
    limiter l = {0};
    l.cell = limiting_cell(c, &l.failing);
    if (!l.cell) return l;
    double sums[LIMITS][STAGES] = {{0}};
    uint32_t misses = 0, of[LIMITS] = {0}, errors = 0;
    for (size_t i = 0; i < l.cell->row_count; i++) {
        const cell_row *r = &l.cell->rows[i];
        if (r->phase != ROW_WINDOW || cell_row_good(c->slo, r)) continue;
        misses++;
        errors += !r->ok;
        if (!r->ok) continue;
        for (int k = 0; k < LIMITS; k++) {
            bool missed = !cell_row_keeps(c->slo, r, (limit)k);
            of[k] += missed;
            for (int s = 0; s < STAGES; s++) {
                double ms = isnan(r->stage_ms[s]) ? 0 : r->stage_ms[s];
                if (ms > 0) l.stages_known = true;
                if (missed) sums[k][s] += ms;
            }
        }
    }
    if (misses == 0) return l;
    l.error_share = (double)errors / misses;
    for (int k = 0; k < LIMITS; k++) {
        bool first = k == LIMIT_TTFT || k == LIMIT_E2E, rest = k != LIMIT_TTFT; /* parts that it has */
        l.share[k] = (double)of[k] / misses;
        l.longest[k] =
            longest(sums[k], first ? STAGE_QUEUE : STAGE_HANDOFF, rest ? STAGE_DECODE : STAGE_PREFILL);
    }
    return l;
}

/* "prefill 97 % busy, decode 41 %": means over the workers of a role, in the order in which roles come */
static void add_busy(const facts *f, buf *out) {
    uint32_t told = 0;
    for (uint32_t i = 0; i < f->worker_count; i++) {
        const char *role = f->workers[i].role;
        double sum = 0;
        uint32_t n = 0;
        bool before = false;
        for (uint32_t k = 0; k < f->worker_count; k++) {
            double busy = worker_busy_share(&f->workers[k]);
            if (strcmp(f->workers[k].role, role) != 0 || isnan(busy)) continue;
            before |= k < i;
            sum += busy;
            n++;
        }
        if (before || n == 0) continue;
        buf_addf(out, "%s%s %.0f %%%s", told ? ", " : "; ", role[0] ? role : "workers", 100 * sum / n,
                 told ? "" : " busy");
        told++;
    }
}

void limiter_text(const limiter *l, buf *out) {
    PRE(l);
    PRE(out);
    if (!l->cell) {
        buf_adds(out, "no cell that counts");
        return;
    }
    limit most = LIMIT_TTFT;
    for (int k = 0; k < LIMITS; k++) {
        if (l->share[k] > l->share[most]) most = (limit)k;
    }
    if (!l->failing) buf_adds(out, "no rate that was run fails; ");
    if (l->share[most] == 0 && l->error_share == 0) {
        buf_adds(out, "no misses");
    } else if (l->error_share > 0.5) {
        buf_addf(out, "errors: %.0f %% of the misses did not end as asked", 100 * l->error_share);
    } else {
        stage s = l->longest[most];
        buf_addf(out, "%s (%.0f %% of misses)", limit_text(most), 100 * l->share[most]);
        if (l->stages_known)
            buf_addf(out, ": %s",
                     s == STAGE_QUEUE     ? "queue before prefill"
                     : s == STAGE_PREFILL ? "prefill itself"
                                          : stage_text(s));
    }
    add_busy(&l->cell->facts, out);
}

/* ---- the table ---- */

/* The best that is (or is no) baseline, by what it is ranked by; the first of equals. */
static uint32_t best_of(const goodput_table *t, uint32_t workload, uint32_t s, bool baseline) {
    const results *r = t->results;
    uint32_t best = UINT32_MAX;
    double value = -1;
    for (uint32_t p = 0; p < r->placement_count; p++) {
        const table_entry *e = goodput_table_at(t, workload, s, p);
        if (r->placements[p].baseline != baseline || r->placements[p].again_of || e->curve.done == 0)
            continue;
        if (curve_value(&e->curve) > value) value = curve_value(&e->curve), best = p;
    }
    return best;
}

uint32_t goodput_table_baseline(const goodput_table *t, uint32_t workload, uint32_t s) {
    return best_of(t, workload, s, true);
}

uint32_t goodput_table_rival(const goodput_table *t, uint32_t workload, uint32_t s) {
    return best_of(t, workload, s, false);
}

static void compare(goodput_table *t, uint32_t workload, uint32_t s) {
    const results *r = t->results;
    uint32_t base = goodput_table_baseline(t, workload, s);
    for (uint32_t p = 0; p < r->placement_count; p++) {
        table_entry *e = &t->entries[place(r, workload, s, p)];
        e->to_baseline = (ratio){.mean = NAN, .low = NAN, .high = NAN};
        e->is_baseline = p == base;
        e->limiter = find_limiter(&e->curve);
        if (base == UINT32_MAX || p == base) continue;
        const curve *b = &goodput_table_at(t, workload, s, base)->curve;
        e->to_baseline = curve_ratio(&e->curve, b, t->seed_count[workload], BOOTSTRAP_RESAMPLES);
    }
}

void goodput_table_init(goodput_table *t, const results *r) {
    PRE(t);
    PRE(r);
    *t = (goodput_table){.results = r};
    t->entries =
        xcalloc((size_t)r->workload_count * r->slo_count * r->placement_count + 1, sizeof *t->entries);
    t->seed_count = xcalloc(r->workload_count + 1, sizeof *t->seed_count);
    for (uint32_t w = 0; w < r->workload_count; w++) {
        uint64_t *seeds = curve_seeds(r, r->workloads[w], &t->seed_count[w]);
        for (uint32_t s = 0; s < r->slo_count; s++) {
            for (uint32_t p = 0; p < r->placement_count; p++)
                curve_init(&t->entries[place(r, w, s, p)].curve, r, &r->placements[p], r->workloads[w],
                           &r->slos[s], seeds, t->seed_count[w], BOOTSTRAP_RESAMPLES);
            compare(t, w, s);
        }
        free(seeds);
    }
}

void goodput_table_done(goodput_table *t) {
    PRE(t);
    const results *r = t->results;
    size_t n = r ? (size_t)r->workload_count * r->slo_count * r->placement_count : 0;
    for (size_t i = 0; i < n; i++) curve_done(&t->entries[i].curve);
    free(t->entries);
    free(t->seed_count);
    *t = (goodput_table){0};
}
