#include "bench/report/fig_latency.h"

#include "bench/report/chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FEW 200u /* requests, below which a P99 needs an interval */

/* ---- points of curves that are not judged ---- */

typedef double measure_fn(const cell *c);

static bool drawable(const cell *c, double x, double y) {
    return isfinite(x) && isfinite(y) && y > 0 && c->member_count > 0;
}

/* $lN: the cells that count, to be joined; $pN: all, with their shape. */
static void curve_data(plot *f, const results *r, uint32_t p, const char *workload, measure_fn *x,
                       measure_fn *y) {
    for (int all = 0; all <= 1; all++) {
        plot_add(f, "$%c%u << END\n", all ? 'p' : 'l', p);
        for (const cell *c = NULL; (c = results_next(r, c, r->placements[p].name, workload));) {
            if (!drawable(c, x(c), y(c)) || (!all && !cell_counts(c))) continue;
            int shape = c->facts.unstable ? 2 : plot_shape(r->placements[p].style, cell_hollow(c));
            plot_add(f, "%.6g %.6g %d\n", x(c), y(c), shape);
        }
        plot_add(f, "END\n");
    }
}

static void curve_plots(plot *f, const results *r, const char *workload) {
    plot_add(f, "plot NaN");
    for (uint32_t p = 0; p < r->placement_count; p++) {
        if (!chart_shows(r, &r->placements[p], workload)) continue;
        const placement *one = &r->placements[p];
        plot_add(f, ", $l%u using 1:2 with lines lw 1.8 dt %d lc rgb '%s'", p, plot_dash(one->style),
                 plot_colour(one->style));
        plot_add(f, ", $p%u using 1:2:3 with points pt variable ps 0.9 lw 1.4 lc rgb '%s'", p,
                 plot_colour(one->style));
    }
    plot_add(f, "\n");
}

static void curve_legend(plot *f, const results *r, const char *workload) {
    chart_legend(f, r, workload, true, true);
    plot_legend(f, "hollow: void, unfinished or not settled", "#444444", 0, 6);
    plot_legend(f, "unstable", "#444444", 0, 2);
}

/* ---- figure 4 ---- */

static double ttft_p50(const cell *c) {
    return c->ttft.p50;
}

static double ttft_p99(const cell *c) {
    return c->ttft.p99;
}

static double tpot_p50(const cell *c) {
    return c->tpot.p50;
}

static double tpot_p99(const cell *c) {
    return c->tpot.p99;
}

static double itl_p50(const cell *c) {
    return c->itl.p50;
}

static double itl_p99(const cell *c) {
    return c->itl.p99;
}

static const struct {
    const char *title, *axis;
    measure_fn *value;
} latencies[] = {{"TTFT, median", "TTFT P50 (ms)", ttft_p50}, {"TTFT, P99", "TTFT P99 (ms)", ttft_p99},
                 {"TPOT, median", "TPOT P50 (ms)", tpot_p50}, {"TPOT, P99", "TPOT P99 (ms)", tpot_p99},
                 {"ITL, median", "ITL P50 (ms)", itl_p50},    {"ITL, P99", "ITL P99 (ms)", itl_p99}};

static double limit_of(const slo *s, size_t panel) {
    return panel < 2 ? s->ttft_ms : panel < 4 ? s->tpot_ms : panel == 5 ? s->itl_p99_ms : INFINITY;
}

/* A line per limit, named where the next one above leaves room for text. */
static void limit_lines(plot *f, const results *r, size_t panel, double low, double high) {
    double apart = pow(high / low, 0.1);
    for (uint32_t s = 0; s < r->slo_count; s++) {
        double at = limit_of(&r->slos[s], panel);
        if (!(at > low && at < high)) continue;
        plot_add(
            f,
            "set arrow from graph 0, first %.6g to graph 1, first %.6g nohead lw 0.9 dt 3 lc rgb '#444444'\n",
            at, at);
        bool crowded = at * apart > high;
        for (uint32_t k = 0; k < r->slo_count; k++) {
            double above = limit_of(&r->slos[k], panel);
            crowded |= (above > at && above < at * apart) || (above == at && k < s);
        }
        if (crowded) continue;
        plot_add(f, "set label ");
        plot_quote(f, r->slos[s].name);
        plot_add(f, " at graph 0.01, first %.6g left offset 0,0.5 font ',11' tc rgb '#444444' front\n", at);
    }
}

static void latency_panel(plot *f, const results *r, const char *workload, size_t i) {
    double low = INFINITY, high = 0;
    for (size_t k = 0; k < r->cell_count; k++) {
        const cell *c = &r->cells[k];
        if (strcmp(c->workload, workload) == 0 && !c->tuning) chart_widen(&low, &high, latencies[i].value(c));
    }
    for (uint32_t s = 0; s < r->slo_count; s++) { /* limits that are far off do not squeeze the curves */
        double at = limit_of(&r->slos[s], i);
        if (at > low / 4 && at < high * 4) chart_widen(&low, &high, at);
    }
    if (low > high) low = 1, high = 10;
    chart_label(f, 'y', latencies[i].axis);
    chart_log_axis(f, 'y', low / 1.25, high * 1.35);
    limit_lines(f, r, i, low / 1.25, high * 1.35);
    for (uint32_t p = 0; p < r->placement_count; p++)
        curve_data(f, r, p, workload, cell_rate_per_device, latencies[i].value);
    curve_plots(f, r, workload);
}

/* A P99 of few requests is hardly known: with its interval, which has no upper end */
static void latency_text(const cell *c, size_t panel, char *out, size_t size) {
    double ms = latencies[panel].value(c);
    const tail *t = panel == 1 ? &c->ttft : panel == 3 ? &c->tpot : NULL;
    if (isnan(ms))
        snprintf(out, size, "-");
    else if (!t || t->n >= FEW || isnan(t->p99_low))
        snprintf(out, size, "%.1f", ms);
    else if (isinf(t->p99_high))
        snprintf(out, size, "%.1f (>= %.1f, open above)", ms, t->p99_low);
    else
        snprintf(out, size, "%.1f (%.1f to %.1f)", ms, t->p99_low, t->p99_high);
}

static void latency_numbers(doc *d, const results *r, const char *workload) {
    static const char *const heads[] = {"placement",    "requests/s per device", "TTFT P50, ms",
                                        "TTFT P99, ms", "TPOT P50, ms",          "TPOT P99, ms",
                                        "ITL P50, ms",  "ITL P99, ms",           "n",
                                        "state"};
    doc_fold(d, "The numbers of figure 4");
    doc_table(d, heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < r->cell_count; i++) {
        const cell *c = &r->cells[i];
        char text[64];
        if (strcmp(c->workload, workload) != 0 || c->tuning || c->member_count == 0) continue;
        doc_row(d, NULL);
        doc_field(d, false);
        doc_text(d, c->placement);
        doc_field(d, true);
        snprintf(text, sizeof text, "%.4g", cell_rate_per_device(c));
        doc_link(d, text, c->id);
        for (size_t k = 0; k < ARRAY_LEN(latencies); k++) {
            doc_field(d, true);
            latency_text(c, k, text, sizeof text);
            doc_link(d, text, c->id);
        }
        doc_field(d, true);
        snprintf(text, sizeof text, "%zu", c->ttft.n);
        doc_text(d, text);
        doc_field(d, false);
        doc_text(d, !cell_counts(c)     ? cell_state_text(c->state)
                    : c->facts.unstable ? "unstable"
                    : cell_settled(c)   ? "done"
                                        : "not settled");
        doc_row_end(d);
    }
    doc_table_end(d);
    doc_fold_end(d);
}

static double rate_end(const results *r, const char *workload) {
    double end = 0;
    for (size_t i = 0; i < r->cell_count; i++) {
        double rate = cell_rate_per_device(&r->cells[i]);
        if (strcmp(r->cells[i].workload, workload) == 0 && isfinite(rate)) end = fmax(end, 1.04 * rate);
    }
    return end > 0 ? end : 1;
}

status fig_latency(doc *d, const results *r, const char *workload, errbuf *eb) {
    PRE(d);
    PRE(r);
    PRE(workload);
    plot f;
    chart_init(&f, "fig4-latency", workload, "Latency against rate per device");
    curve_legend(&f, r, workload);
    plot_legend(&f, "SLO", "#444444", 3, -1);
    chart_grid g = chart_panels(&f, ARRAY_LEN(latencies), 2, 280);
    for (size_t i = 0; i < ARRAY_LEN(latencies); i++) {
        chart_panel(&f, &g, (int)i, latencies[i].title);
        chart_label(&f, 'x', "requests per second and device");
        plot_add(&f, "set xrange [0:%.6g]\n", rate_end(r, workload));
        latency_panel(&f, r, workload, i);
    }
    status st =
        doc_figure(d, &f,
                   "Figure 4. Latency against rate per device, of requests that ended as asked; logarithmic. "
                   "Beyond saturation (x) a percentile describes the length of the run.",
                   eb);
    if (st == ST_OK) latency_numbers(d, r, workload);
    return st;
}

/* ---- figure 6 ---- */

#define TAIL_LEAST 0.01 /* percent: where the axis ends */

static const tail *tail_of(const cell *c, bool itl) {
    return itl ? &c->itl : &c->ttft;
}

/* Grey dashes where nothing is built on the cell */
static const char *tail_colour(const cell *c, const placement *p) {
    return cell_hollow(c) ? "#999999" : plot_colour(p->style);
}

static int tail_dash(const cell *c, const placement *p) {
    return cell_hollow(c) ? MAX(2, plot_dash(p->style)) : plot_dash(p->style);
}

static void tails_panel(plot *f, const results *r, const char *workload, double rate, bool itl) {
    double low = INFINITY, high = 0, least = 10; /* percent */
    for (uint32_t p = 0; p < r->placement_count; p++) {
        const cell *c =
            r->placements[p].again_of ? NULL : results_find(r, r->placements[p].name, workload, rate);
        plot_add(f, "$t%u << END\n", p);
        for (uint32_t i = 0; c && i < tail_of(c, itl)->points; i++) {
            const tail *t = tail_of(c, itl);
            if (t->at[i] <= 0) continue; /* tokens that came together: no place on a logarithmic axis */
            plot_add(f, "%.6g %.6g\n", t->at[i], 100 * t->above[i]);
            chart_widen(&low, &high, t->at[i]);
            least = fmax(TAIL_LEAST, fmin(least, 100 * t->above[i]));
        }
        plot_add(f, "END\n");
    }
    low = fmax(low, 0.01); /* less than that is two events in one read */
    chart_label(f, 'x', itl ? "ITL (ms)" : "TTFT (ms)");
    chart_label(f, 'y', itl ? "gaps that are longer (%)" : "requests that take longer (%)");
    chart_log_axis(f, 'x', low / 1.1, high * 1.1);
    chart_log_axis(f, 'y', least / 1.2, 120);
    plot_add(f, "plot NaN");
    for (uint32_t p = 0; p < r->placement_count; p++) {
        const placement *one = &r->placements[p];
        const cell *c = results_find(r, one->name, workload, rate);
        if (c && chart_shows(r, one, workload))
            plot_add(f, ", $t%u using 1:2 with lines lw %s dt %d lc rgb '%s'", p, cell_hollow(c) ? "1" : "2",
                     tail_dash(c, one), tail_colour(c, one));
    }
    plot_add(f, "\n");
}

status fig_tails(doc *d, const results *r, const char *workload, errbuf *eb) {
    PRE(d);
    PRE(r);
    PRE(workload);
    double rate = results_common_rate(r, workload);
    if (isnan(rate)) {
        doc_note(d, "Figure 6, the distributions, needs a cell that counts: there is none.");
        return ST_OK;
    }
    plot f;
    chart_init(&f, "fig6-tails", workload, "Complementary distributions of TTFT and ITL");
    for (uint32_t p = 0; p < r->placement_count; p++) {
        const cell *c = results_find(r, r->placements[p].name, workload, rate);
        if (!c || !chart_shows(r, &r->placements[p], workload)) continue;
        char *name = chart_cell_name(c);
        plot_legend(&f, name, tail_colour(c, &r->placements[p]), tail_dash(c, &r->placements[p]), -1);
        free(name);
    }
    chart_grid g = chart_panels(&f, 2, 2, 360);
    char title[64];
    for (int i = 0; i < 2; i++) {
        snprintf(title, sizeof title, "%s at %.4g requests/s per device", i ? "ITL" : "TTFT", rate);
        chart_panel(&f, &g, i, title);
        tails_panel(&f, r, workload, rate, i);
    }
    return doc_figure(
        d, &f,
        "Figure 6. Complementary distributions at the highest rate per device at which every placement "
        "has a stable, settled cell that counts (or the most have): how many take longer than that. Grey "
        "dashes: the "
        "cell is void, unfinished or not settled.",
        eb);
}

/* ---- figure 7 ---- */

static double per_user(const cell *c) {
    return 1000 / c->tpot.p50;
}

static double per_device(const cell *c) {
    return c->output_tokens_per_s / c->devices;
}

status fig_speed(doc *d, const results *r, const char *workload, errbuf *eb) {
    PRE(d);
    PRE(r);
    PRE(workload);
    plot f;
    chart_init(&f, "fig7-speed", workload, "Tokens per second and device against tokens per second and user");
    curve_legend(&f, r, workload);
    double x = 0, y = 0;
    for (size_t i = 0; i < r->cell_count; i++) {
        const cell *c = &r->cells[i];
        if (strcmp(c->workload, workload) != 0 || c->tuning || !drawable(c, per_user(c), per_device(c)))
            continue;
        x = fmax(x, per_user(c));
        y = fmax(y, per_device(c));
    }
    chart_grid g = chart_panels(&f, 1, 1, 420);
    chart_panel(&f, &g, 0, NULL);
    chart_label(&f, 'x', "output tokens per second and user (1 / median TPOT)");
    chart_label(&f, 'y', "output tokens per second and device");
    plot_add(&f, "set xrange [0:%.6g]\nset yrange [0:%.6g]\n", x > 0 ? 1.06 * x : 1, y > 0 ? 1.08 * y : 1);
    for (uint32_t p = 0; p < r->placement_count; p++) curve_data(&f, r, p, workload, per_user, per_device);
    curve_plots(&f, r, workload);
    return doc_figure(
        d, &f,
        "Figure 7. What a device yields against what a user sees; along a line the rate rises. Upper "
        "right is better.",
        eb);
}
