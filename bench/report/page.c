#include "bench/report/page.h"

#include "bench/report/appendix.h"
#include "bench/report/fig_attainment.h"
#include "bench/report/fig_latency.h"
#include "bench/report/fig_map.h"
#include "bench/report/fig_stages.h"
#include "bench/report/fig_strip.h"
#include "bench/report/fig_timeline.h"
#include "bench/report/verdict_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const cell *cell_at(const curve *c, double rate) {
    const cell *from = NULL;
    for (uint32_t i = 0; i < c->point_count; i++) {
        if (c->points[i].counts && c->points[i].joint.rate == rate) from = c->points[i].cell;
    }
    return from;
}

/* A rate of the bracket, linked to the cell that judged it. */
static void bound(doc *d, const curve *c, double rate) {
    if (c->counted == 0 || isnan(rate)) {
        doc_text(d, "-");
        return;
    }
    const cell *from = cell_at(c, rate);
    char text[32];
    snprintf(text, sizeof text, "%.4g", rate / c->placement->devices);
    doc_link(d, text, from ? from->id : NULL);
}

/* The cell next to the crossing, for links of what was computed from all. */
static const char *near_crossing(const curve *c) {
    const char *id = NULL;
    for (uint32_t i = 0; i < c->point_count; i++) {
        if (!c->points[i].counts) continue;
        if (!id || c->points[i].joint.rate <= c->found.crossing) id = c->points[i].cell->id;
    }
    return id;
}

static void interval_text(const curve *c, char *out, size_t size) {
    const interval *g = &c->goodput;
    if (c->counted == 0)
        snprintf(out, size, "-");
    else if (isnan(g->low))
        snprintf(out, size, "none (%u seed%s)", c->seeds, c->seeds == 1 ? "" : "s");
    else if (isinf(g->high) && !(g->low > 0))
        snprintf(out, size, "open");
    else if (isinf(g->high))
        snprintf(out, size, "from %.3g", g->low);
    else
        snprintf(out, size, "%.3g to %.3g", g->low, g->high);
}

static void table_line(doc *d, const goodput_table *t, uint32_t w, uint32_t s, uint32_t p) {
    const table_entry *e = goodput_table_at(t, w, s, p);
    const curve *c = &e->curve;
    char text[128];
    doc_row(d, NULL);
    doc_field(d, false);
    doc_text(d, t->results->slos[s].name);
    doc_field(d, false);
    doc_text(d, c->placement->name);
    doc_field(d, true);
    curve_goodput_text(c, text, sizeof text);
    doc_link(d, text, near_crossing(c));
    doc_field(d, true);
    interval_text(c, text, sizeof text);
    doc_link(d, text, near_crossing(c));
    doc_field(d, true);
    bound(d, c, c->found.pass);
    doc_field(d, true);
    bound(d, c, c->found.fail);
    doc_field(d, true);
    const cell *passed = c->counted ? cell_at(c, c->found.pass) : NULL;
    snprintf(text, sizeof text, passed ? "%.1f" : "-", passed ? passed->itl.p99 : 0);
    doc_link(d, text, passed ? passed->id : NULL);
    doc_field(d, false);
    ratio_text(&e->to_baseline, text, sizeof text);
    doc_link(d, e->is_baseline ? "1 (the best baseline)" : text, near_crossing(c));
    doc_wide_field(d);
    buf limits = {0};
    limiter_text(&e->limiter, &limits);
    doc_link(d, limits.data, e->limiter.cell ? e->limiter.cell->id : NULL);
    buf_done(&limits);
    doc_row_end(d);
}

static void goodput_lines(doc *d, const goodput_table *t, uint32_t w) {
    static const char *const heads[] = {
        "SLO",           "placement",   "goodput per device, requests/s", "95 % interval",
        "highest pass",  "lowest fail", "P99 ITL at that pass, ms",       "ratio to the best baseline",
        "what limits it"};
    const results *r = t->results;
    doc_table(d, heads, ARRAY_LEN(heads));
    for (uint32_t s = 0; s < r->slo_count; s++) {
        for (uint32_t p = 0; p < r->placement_count; p++) {
            if (!r->placements[p].again_of && goodput_table_at(t, w, s, p)->curve.point_count)
                table_line(d, t, w, s, p);
        }
    }
    doc_table_end(d);
}

/* How far apart two equal runs were: what a difference has to be larger than. */
static void noise(doc *d, const goodput_table *t, uint32_t first, uint32_t again) {
    const results *r = t->results;
    double least = INFINITY, most = 0;
    uint32_t pairs = 0, known = 0;
    for (uint32_t w = 0; w < r->workload_count; w++) {
        for (uint32_t s = 0; s < r->slo_count; s++) {
            const curve *a = &goodput_table_at(t, w, s, first)->curve;
            const curve *b = &goodput_table_at(t, w, s, again)->curve;
            if (!a->point_count || !b->point_count) continue;
            double q = b->goodput.mean / a->goodput.mean;
            pairs++;
            if (isnan(q)) continue; /* one of both is off its rates */
            known++;
            least = fmin(least, q);
            most = fmax(most, q);
        }
    }
    if (pairs == 0) return;
    const char *name = r->placements[first].name;
    char text[400];
    if (known == 0)
        snprintf(
            text, sizeof text,
            "Noise: unknown. %s was run a second time, and under none of %u pairs of workload and SLO do "
            "both runs have a goodput within their rates (A/A, in the appendix).",
            name, pairs);
    else
        snprintf(text, sizeof text,
                 "Noise: run a second time, %s had %.2f to %.2f times its goodput, over %u of %u pairs of "
                 "workload and SLO%s (A/A, in the appendix).",
                 name, least, most, known, pairs,
                 known < pairs ? "; under the others one of both runs has none within its rates" : "");
    doc_note(d, text);
}

static void noises(doc *d, const goodput_table *t) {
    const results *r = t->results;
    for (uint32_t again = 0; again < r->placement_count; again++) {
        for (uint32_t first = 0; r->placements[again].again_of && first < r->placement_count; first++) {
            if (strcmp(r->placements[first].name, r->placements[again].again_of) == 0)
                noise(d, t, first, again);
        }
    }
}

static void head(doc *d, const results *r, const goodput_table *t) {
    doc_heading(d, 1, r->title);
    uint32_t of[CELL_MISSING + 1] = {0};
    uint32_t unsettled = 0;
    for (size_t i = 0; i < r->cell_count; i++) {
        of[r->cells[i].state]++;
        unsettled += cell_counts(&r->cells[i]) && !cell_settled(&r->cells[i]);
    }
    buf text = {0};
    buf_addf(
        &text,
        "%zu cells: %u done, %u void, %u failed, %u unfinished, %u missing. Target: %.4g %% of all scheduled "
        "requests within the limits.",
        r->cell_count, of[CELL_DONE], of[CELL_VOID], of[CELL_FAILED], of[CELL_RUNNING], of[CELL_MISSING],
        100 * r->target);
    doc_note(d, text.data);
    if (of[CELL_DONE] < r->cell_count) {
        buf_reset(&text);
        buf_addf(
            &text, "Only %u of %zu cells count%s; the reasons of the others stand in the table of all cells.",
            of[CELL_DONE], r->cell_count,
            of[CELL_RUNNING] + of[CELL_MISSING] ? ", and some are still to come: what follows will change"
                                                : "");
        doc_paragraph(d, text.data);
    }
    if (unsettled) {
        buf_reset(&text);
        buf_addf(&text,
                 "%u of the cells that are done had not settled when their windows began: they can fail a "
                 "rate, but pass none, and no number is built on them. A longer warm-up decides.",
                 unsettled);
        doc_paragraph(d, text.data);
    }
    for (uint32_t w = 0; w < r->workload_count; w++) {
        buf_reset(&text);
        verdict_text(t, w, &text);
        doc_verdict(d, r->workloads[w], text.data);
    }
    noises(d, t);
    buf_done(&text);
}

status page_fill(doc *d, const results *r, errbuf *eb) {
    PRE(d);
    PRE(r);
    goodput_table t;
    goodput_table_init(&t, r);
    head(d, r, &t);
    status st = ST_OK;
    for (uint32_t w = 0; w < r->workload_count && st == ST_OK; w++) {
        doc_heading(d, 2, r->workloads[w]);
        goodput_lines(d, &t, w);
        st = fig_goodput(d, &t, w, eb);
        if (st == ST_OK) st = fig_attainment(d, &t, w, eb);
        if (st == ST_OK) st = fig_map(d, &t, w, eb);
        if (st == ST_OK) st = fig_latency(d, r, r->workloads[w], eb);
        if (st == ST_OK) st = fig_stages(d, r, r->workloads[w], eb);
        if (st == ST_OK) st = fig_tails(d, r, r->workloads[w], eb);
        if (st == ST_OK) st = fig_speed(d, r, r->workloads[w], eb);
        if (st == ST_OK) st = fig_strips(d, r, r->workloads[w], eb);
        if (st == ST_OK) st = fig_timeline(d, r, r->workloads[w], eb);
    }
    if (st == ST_OK) appendix_fill(d, &t);
    goodput_table_done(&t);
    return st;
}
