#include "planner/replay/compare.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RESAMPLES 2000u

const char *compared_metric_text(compared_metric m) {
    static const char *const texts[] = {"TTFT mean, ms", "TTFT P50, ms",  "TTFT P90, ms",
                                        "TTFT P99, ms",  "TPOT mean, ms", "TPOT P50, ms",
                                        "TPOT P90, ms",  "TPOT P99, ms",  "requests/s"};
    PRE((size_t)m < ARRAY_LEN(texts));
    return texts[m];
}

const char *compared_metric_key(compared_metric m) {
    static const char *const keys[] = {"ttft_mean_ms", "ttft_p50_ms",  "ttft_p90_ms",
                                       "ttft_p99_ms",  "tpot_mean_ms", "tpot_p50_ms",
                                       "tpot_p90_ms",  "tpot_p99_ms",  "requests_per_s"};
    PRE((size_t)m < ARRAY_LEN(keys));
    return keys[m];
}

/* ---- values of a cell ---- */

static bool is_member(const cell_row *r, uint64_t seed) {
    return r->phase == ROW_WINDOW && (seed == SCORE_ALL || r->seed == seed);
}

/* Sorted; those that ended as asked. One-token answers have no TPOT. Caller frees with free. */
static double *values_of(const cell *c, bool tpot, uint64_t seed, size_t *n) {
    double *out = xcalloc(c->row_count + 1, sizeof *out);
    *n = 0;
    for (size_t i = 0; i < c->row_count; i++) {
        const cell_row *r = &c->rows[i];
        if (!is_member(r, seed) || !r->ok || (tpot && r->output_tokens < 2)) continue;
        double v = tpot ? r->tpot_ms : r->ttft_ms;
        if (isfinite(v)) out[(*n)++] = v;
    }
    stats_sort(out, *n);
    return out;
}

static double per_second(const cell *c, uint64_t seed) {
    double ok = 0, seconds = seed == SCORE_ALL ? c->window_s : c->window_s / MAX(c->seed_count, 1u);
    for (size_t i = 0; i < c->row_count; i++) ok += is_member(&c->rows[i], seed) && c->rows[i].ok;
    return seconds > 0 ? ok / seconds : NAN;
}

static double value_of(const cell *c, compared_metric m, uint64_t seed) {
    if (m == COMPARED_PER_S) return per_second(c, seed);
    static const double percentiles[] = {-1, 50, 90, 99};
    size_t n;
    double *v = values_of(c, m >= COMPARED_TPOT_MEAN, seed, &n), q = percentiles[m % 4];
    double out = n == 0 ? NAN : q < 0 ? stats_mean(v, n) : stats_percentile(v, n, q);
    free(v);
    return out;
}

static double attainment_of(const cell *c, const slo *s, uint64_t seed, uint32_t *good, uint32_t *members) {
    *good = *members = 0;
    for (size_t i = 0; i < c->row_count; i++) {
        if (!is_member(&c->rows[i], seed)) continue;
        ++*members;
        *good += cell_row_good(s, &c->rows[i]);
    }
    return *members ? (double)*good / *members : NAN;
}

static compared compare_metric(const cell *m, const cell *p, compared_metric metric) {
    compared v = {.predicted = value_of(p, metric, SCORE_ALL),
                  .measured = value_of(m, metric, SCORE_ALL),
                  .low = NAN,
                  .high = NAN};
    double *each = xcalloc(m->seed_count + 1, sizeof *each);
    size_t n = 0;
    for (uint32_t i = 0; i < m->seed_count; i++) {
        double x = value_of(m, metric, m->seeds[i]);
        if (isfinite(x)) each[n++] = x;
    }
    if (n >= 2) {
        interval over = stats_replications(each, n);
        v.low = over.low;
        v.high = over.high;
    }
    free(each);
    v.error = v.measured > 0 ? v.predicted / v.measured - 1 : NAN;
    return v;
}

static compared compare_slo(const cell *m, const cell *p, const slo *s) {
    uint32_t good, members, of_good, of_members;
    compared v = {.low = NAN, .high = NAN};
    v.predicted = attainment_of(p, s, SCORE_ALL, &good, &members);
    v.measured = attainment_of(m, s, SCORE_ALL, &good, &members);
    double *each = xcalloc(m->seed_count + 1, sizeof *each);
    for (uint32_t i = 0; i < m->seed_count; i++)
        each[i] = attainment_of(m, s, m->seeds[i], &of_good, &of_members);
    if (m->seed_count >= 2) {
        interval over = stats_seeds(each, m->seed_count, good, members);
        v.low = over.low;
        v.high = over.high;
    }
    free(each);
    v.error = v.predicted - v.measured;
    return v;
}

static const cell *cell_named(const results *r, const char *id) {
    for (size_t i = 0; i < r->cell_count; i++)
        if (strcmp(r->cells[i].id, id) == 0) return &r->cells[i];
    return NULL;
}

static void add_cells(compare *c, compare_capacity *capacity, void *ctx) {
    c->cells = xcalloc(c->measured->cell_count + 1, sizeof *c->cells);
    for (size_t i = 0; i < c->measured->cell_count; i++) {
        const cell *m = &c->measured->cells[i], *p = cell_named(c->predicted, m->id);
        if (m->tuning) continue;
        if (!p || !cell_counts(m) || !cell_counts(p)) {
            c->left_out++;
            continue;
        }
        compared_cell *out = &c->cells[c->cell_count++];
        *out = (compared_cell){.measured = m,
                               .predicted = p,
                               .load = m->rate / capacity(ctx, m->placement, m->workload),
                               .unstable = m->facts.unstable || p->facts.unstable};
        for (compared_metric k = 0; k < COMPARED_METRICS; k++) out->values[k] = compare_metric(m, p, k);
        for (uint32_t s = 0; s < c->measured->slo_count; s++)
            out->attainment[s] = compare_slo(m, p, &c->measured->slos[s]);
    }
}

/* ---- goodput ---- */

static const curve *curve_of(const goodput_table *t, const char *workload, uint32_t limits,
                             const char *name) {
    const results *r = t->results;
    for (uint32_t w = 0; w < r->workload_count; w++) {
        if (strcmp(r->workloads[w], workload) != 0) continue;
        for (uint32_t p = 0; p < r->placement_count; p++)
            if (strcmp(r->placements[p].name, name) == 0) return &goodput_table_at(t, w, limits, p)->curve;
    }
    return NULL;
}

static void add_goodput(compare *c, const char *workload, uint32_t limits, const placement *p) {
    const curve *m = curve_of(&c->tables[0], workload, limits, p->name),
                *s = curve_of(&c->tables[1], workload, limits, p->name);
    if (!m || !s || m->counted == 0 || s->counted == 0) return;
    compared v = {.predicted = s->goodput.mean,
                  .measured = m->goodput.mean,
                  .low = m->goodput.low,
                  .high = m->goodput.high};
    v.error = v.measured > 0 ? v.predicted / v.measured - 1 : NAN;
    c->goodputs = xrealloc(c->goodputs, c->goodput_count + 1, sizeof *c->goodputs);
    c->goodputs[c->goodput_count++] = (compared_goodput){
        .workload = workload, .placement = p->name, .slo = limits, .measured = m, .predicted = s, .value = v};
}

/* The first of those with the highest goodput that both tables have. */
static const placement *best(const compare *c, uint32_t table, const char *workload, uint32_t limits) {
    const results *r = c->measured;
    const placement *found = NULL;
    double most = -1;
    for (uint32_t i = 0; i < r->placement_count; i++) {
        const placement *p = &r->placements[i];
        const curve *m = curve_of(&c->tables[0], workload, limits, p->name),
                    *s = curve_of(&c->tables[1], workload, limits, p->name);
        if (p->again_of || !m || !s || m->counted == 0 || s->counted == 0) continue;
        double value = curve_value(table ? s : m);
        if (value > most) most = value, found = p;
    }
    return found;
}

static void add_winner(compare *c, uint32_t w, uint32_t limits) {
    const char *workload = c->measured->workloads[w];
    compared_winner out = {.workload = workload,
                           .slo = limits,
                           .measured = best(c, 0, workload, limits),
                           .predicted = best(c, 1, workload, limits),
                           .lead = {.mean = NAN, .low = NAN, .high = NAN}};
    if (!out.measured || !out.predicted) return;
    out.agrees = out.measured == out.predicted;
    if (!out.agrees) {
        const curve *a = curve_of(&c->tables[0], workload, limits, out.measured->name),
                    *b = curve_of(&c->tables[0], workload, limits, out.predicted->name);
        out.lead = curve_ratio(a, b, c->tables[0].seed_count[w], RESAMPLES);
        out.agrees = curve_value(a) == curve_value(b) || out.lead.low <= 1;
    }
    c->winners = xrealloc(c->winners, c->winner_count + 1, sizeof *c->winners);
    c->winners[c->winner_count++] = out;
}

void compare_init(compare *c, const results *measured, const results *predicted, compare_capacity *capacity,
                  void *ctx) {
    PRE(c);
    PRE(measured);
    PRE(predicted);
    PRE(capacity);
    PRE(measured->slo_count == predicted->slo_count);
    *c = (compare){.measured = measured, .predicted = predicted};
    add_cells(c, capacity, ctx);
    goodput_table_init(&c->tables[0], measured);
    goodput_table_init(&c->tables[1], predicted);
    for (uint32_t w = 0; w < measured->workload_count; w++) {
        for (uint32_t s = 0; s < measured->slo_count; s++) {
            for (uint32_t p = 0; p < measured->placement_count; p++)
                add_goodput(c, measured->workloads[w], s, &measured->placements[p]);
            add_winner(c, w, s);
        }
    }
}

void compare_done(compare *c) {
    PRE(c);
    goodput_table_done(&c->tables[0]);
    goodput_table_done(&c->tables[1]);
    free(c->cells);
    free(c->goodputs);
    free(c->winners);
    *c = (compare){0};
}

/* ---- summaries ---- */

bool compared_below(const compared_cell *c) {
    PRE(c);
    return c->load < COMPARE_LOAD && !c->unstable;
}

static void sum_up(compared_summary *s, const compared *v, const cell *at) {
    if (!isfinite(v->error)) return;
    double e = fabs(v->error);
    s->inside += v->predicted >= v->low && v->predicted <= v->high;
    s->mean = (s->mean * s->n + e) / (s->n + 1);
    if (s->n++ == 0 || e > s->worst) {
        s->worst = e;
        s->worst_cell = at;
    }
}

static const compared_summary NOTHING = {.mean = 0, .worst = 0};

compared_summary compare_summary(const compare *c, compared_metric m, bool below) {
    PRE(c);
    compared_summary s = NOTHING;
    for (uint32_t i = 0; i < c->cell_count; i++)
        if (compared_below(&c->cells[i]) == below) sum_up(&s, &c->cells[i].values[m], c->cells[i].measured);
    return s;
}

compared_summary compare_attainment(const compare *c, bool below) {
    PRE(c);
    compared_summary s = NOTHING;
    for (uint32_t i = 0; i < c->cell_count; i++)
        for (uint32_t k = 0; k < c->measured->slo_count && compared_below(&c->cells[i]) == below; k++)
            sum_up(&s, &c->cells[i].attainment[k], c->cells[i].measured);
    return s;
}

compared_summary compare_goodput(const compare *c) {
    PRE(c);
    compared_summary s = NOTHING;
    for (uint32_t i = 0; i < c->goodput_count; i++) sum_up(&s, &c->goodputs[i].value, NULL);
    return s;
}
