#include "bench/report/fig_attainment.h"

#include "bench/report/chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- figure 1 ---- */

/* [left, at, right] of a dot; without an interval left and right are NAN, and an open one ends nowhere. */
typedef struct dot {
    double at, left, right;
    bool hollow, more, less; /* more: the highest rate that was run still passes */
} dot;

static bool dot_of(const curve *c, dot *out) {
    if (c->counted == 0) return false;
    double devices = c->placement->devices;
    *out = (dot){.at = c->goodput.mean, .left = c->goodput.low, .right = c->goodput.high};
    out->more = isinf(c->found.crossing);
    out->less = c->found.crossing == 0;
    if (out->more) out->at = c->found.highest / devices;
    if (out->less) out->at = c->found.lowest / devices;
    out->hollow = isnan(c->found.pass) || isnan(c->found.fail) || isnan(c->goodput.low);
    return true;
}

static double goodput_end(const goodput_table *t, uint32_t w) {
    double end = 0;
    const results *r = t->results;
    for (uint32_t s = 0; s < r->slo_count; s++) {
        for (uint32_t p = 0; p < r->placement_count; p++) {
            const curve *c = &goodput_table_at(t, w, s, p)->curve;
            if (c->counted == 0) continue;
            end = fmax(end, curve_value(c) * 1.25);
            if (isfinite(c->goodput.high)) end = fmax(end, c->goodput.high * 1.08);
        }
    }
    return end > 0 ? end : 1;
}

/* y of a placement among those that are shown, within its SLO's band of 1 */
static double goodput_y(const results *r, const char *workload, uint32_t s, uint32_t p) {
    uint32_t shown = 0, before = 0;
    for (uint32_t i = 0; i < r->placement_count; i++) {
        if (!chart_shows(r, &r->placements[i], workload)) continue;
        before += i < p;
        shown++;
    }
    return s + 0.5 + ((double)before + 0.5 - shown / 2.0) * 0.8 / fmax(1, shown);
}

/* Where it is not known how far it goes on */
static void goodput_arrow(plot *f, const dot *d, double y, double end, const char *colour) {
    double from = isnan(d->left) ? d->at : d->left, to;
    if (isinf(d->right) || (isnan(d->right) && d->more))
        to = end;
    else if (isnan(d->left) && d->less)
        to = 0;
    else
        return;
    plot_add(f, "set arrow from %.6g,%.6g to %.6g,%.6g head size screen 0.008,25 filled lw 1.6 lc rgb '%s'\n",
             from, y, to, y, colour);
}

/* $d: x y shape, shape's filled one; $i: x y left right of closed intervals */
static void goodput_dots(plot *f, const goodput_table *t, uint32_t w, uint32_t p, double end) {
    const results *r = t->results;
    dot d;
    plot_add(f, "$d%u << END\n", p);
    for (uint32_t s = 0; s < r->slo_count; s++) {
        uint32_t style = r->placements[p].style;
        if (dot_of(&goodput_table_at(t, w, s, p)->curve, &d))
            plot_add(f, "%.6g %.6g %d %d\n", d.at, goodput_y(r, r->workloads[w], s, p),
                     plot_shape(style, d.hollow), plot_shape(style, false));
    }
    plot_add(f, "END\n$i%u << END\n", p);
    for (uint32_t s = 0; s < r->slo_count; s++) {
        if (dot_of(&goodput_table_at(t, w, s, p)->curve, &d) && isfinite(d.left) && isfinite(d.right))
            plot_add(f, "%.6g %.6g %.6g %.6g\n", d.at, goodput_y(r, r->workloads[w], s, p), d.left, d.right);
    }
    plot_add(f, "END\n");
    for (uint32_t s = 0; s < r->slo_count; s++) {
        if (dot_of(&goodput_table_at(t, w, s, p)->curve, &d))
            goodput_arrow(f, &d, goodput_y(r, r->workloads[w], s, p), end,
                          plot_colour(r->placements[p].style));
    }
}

status fig_goodput(doc *d, const goodput_table *t, uint32_t w, errbuf *eb) {
    PRE(d);
    PRE(t);
    const results *r = t->results;
    const char *workload = r->workloads[w];
    plot f;
    chart_init(&f, "fig1-goodput", workload, "Goodput per device, per SLO");
    chart_legend(&f, r, workload, false, true);
    plot_legend(&f, "hollow: not enclosed by a pass and a fail", "#444444", 0, 6);
    uint32_t shown = 0;
    for (uint32_t p = 0; p < r->placement_count; p++) shown += chart_shows(r, &r->placements[p], workload);
    size_t longest = 0;
    for (uint32_t s = 0; s < r->slo_count; s++) longest = MAX(longest, strlen(r->slos[s].name));
    int top = plot_legend_height(&f) + 12, band = MAX(34, 10 + 15 * (int)shown);
    f.height = top + band * (int)r->slo_count + 62;
    plot_panel(&f, chart_margin((int)longest), top, PLOT_WIDTH - 24, top + band * (int)r->slo_count, NULL);
    double end = goodput_end(t, w);
    plot_add(&f, "set xrange [0:%.6g]\nset yrange [%u:0]\nset ytics (", end, r->slo_count);
    for (uint32_t s = 0; s < r->slo_count; s++) {
        if (s) plot_add(&f, ", ");
        plot_quote(&f, r->slos[s].name);
        plot_add(&f, " %.1f", s + 0.5);
    }
    plot_add(&f, ") scale 0\nunset grid\nset grid xtics lc rgb '#dddddd' lt 1 lw 0.6\n");
    for (uint32_t s = 1; s < r->slo_count; s++)
        plot_add(&f, "set arrow from graph 0, first %u to graph 1, first %u nohead lc rgb '#bbbbbb'\n", s, s);
    chart_label(&f, 'x', "goodput (requests per second and device)");
    for (uint32_t p = 0; p < r->placement_count; p++) goodput_dots(&f, t, w, p, end);
    plot_add(&f, "plot NaN");
    for (uint32_t p = 0; p < r->placement_count; p++) {
        if (!chart_shows(r, &r->placements[p], workload)) continue;
        const char *colour = plot_colour(r->placements[p].style);
        plot_add(&f, ", $i%u using 1:2:3:4 with xerrorbars pt -1 lw 1.6 lc rgb '%s'", p, colour);
        plot_add(&f, ", $d%u using 1:2:4 with points pt variable ps 1 lc rgb 'white'", p);
        plot_add(&f, ", $d%u using 1:2:3 with points pt variable ps 1 lw 1.6 lc rgb '%s'", p, colour);
    }
    plot_add(&f, "\n");
    return doc_figure(
        d, &f,
        "Figure 1. Goodput per device: the highest rate at which the target share of all scheduled "
        "requests is within all limits. Dots: crossing of the monotone curve; bars: 95 % "
        "interval over whole seeds; an arrow: beyond the rates that were run.",
        eb);
}

/* ---- figure 2 ---- */

static void attainment_data(plot *f, const curve *c, uint32_t p) {
    plot_add(f, "$l%u << END\n", p);
    for (uint32_t i = 0; i < c->point_count; i++) {
        const curve_point *at = &c->points[i];
        if (!at->counts) continue;
        interval a = at->attainment;
        plot_add(f, "%.6g %.6g", at->rate, 100 * a.mean);
        chart_number(f, 100 * fmax(0, isnan(a.low) ? a.mean : a.low));
        chart_number(f, 100 * fmin(1, isnan(a.high) ? a.mean : a.high));
        plot_add(f, " %.6g %.6g %.6g\n", 100 * at->alone[LIMIT_TTFT].mean, 100 * at->alone[LIMIT_TPOT].mean,
                 100 * at->alone[LIMIT_ITL].mean);
    }
    plot_add(f, "END\n$p%u << END\n", p);
    for (uint32_t i = 0; i < c->point_count; i++) {
        const curve_point *at = &c->points[i];
        if (isnan(at->attainment.mean) || !isfinite(at->rate)) continue;
        bool hollow = !at->counts || at->judged == VERDICT_UNDECIDED;
        int shape = at->joint.unstable ? 2 : plot_shape(c->placement->style, hollow);
        plot_add(f, "%.6g %.6g %d %d\n", at->rate, 100 * at->attainment.mean, shape,
                 at->joint.unstable ? 2 : plot_shape(c->placement->style, false));
    }
    plot_add(f, "END\n");
}

static void attainment_panel(plot *f, const goodput_table *t, uint32_t w, uint32_t s, double end) {
    const results *r = t->results;
    plot_add(f, "set xrange [0:%.6g]\nset yrange [0:104]\nset ytics 0,20,100\n", end);
    plot_add(
        f, "set arrow from graph 0, first %.6g to graph 1, first %.6g nohead lw 1.4 dt 4 lc rgb '#444444'\n",
        100 * r->target, 100 * r->target);
    for (uint32_t p = 0; p < r->placement_count; p++) {
        if (!chart_shows(r, &r->placements[p], r->workloads[w])) continue;
        const curve *c = &goodput_table_at(t, w, s, p)->curve;
        attainment_data(f, c, p);
        if (!isnan(c->goodput.mean))
            plot_add(f, "set arrow from %.6g,0 to %.6g,%.6g nohead lw 1 lc rgb '%s'\n", c->goodput.mean,
                     c->goodput.mean, 100 * r->target, plot_colour(c->placement->style));
    }
    plot_add(f, "plot NaN");
    for (uint32_t p = 0; p < r->placement_count; p++) {
        if (!chart_shows(r, &r->placements[p], r->workloads[w])) continue;
        const char *colour = plot_colour(r->placements[p].style);
        if (goodput_table_at(t, w, s, p)->curve.counted > 0) {
            plot_add(f, ", $l%u using 1:3:4 with filledcurves fc rgb '%s' fs transparent solid 0.14 noborder",
                     p, colour);
            plot_add(f, ", $l%u using 1:5 with lines lw 1.2 dt 3 lc rgb '%s'", p, colour);
            plot_add(f, ", $l%u using 1:6 with lines lw 1.2 dt 2 lc rgb '%s'", p, colour);
            if (limit_is_set(&r->slos[s], LIMIT_ITL))
                plot_add(f, ", $l%u using 1:7 with lines lw 1.2 dt 5 lc rgb '%s'", p, colour);
            plot_add(f, ", $l%u using 1:2 with lines lw 2 lc rgb '%s'", p, colour);
        }
        plot_add(f, ", $p%u using 1:2:4 with points pt variable ps 0.9 lc rgb 'white'", p);
        plot_add(f, ", $p%u using 1:2:3 with points pt variable ps 0.9 lw 1.4 lc rgb '%s'", p, colour);
    }
    plot_add(f, "\n");
}

static void percent(char *out, size_t size, const interval *a) {
    if (isnan(a->mean))
        snprintf(out, size, "-");
    else if (isnan(a->low))
        snprintf(out, size, "%.1f", 100 * a->mean);
    else if (fabs(a->high + a->low - 2 * a->mean) > 1e-9) /* Wilson's, of seeds that are alike */
        snprintf(out, size, "%.1f (%.1f to %.1f)", 100 * a->mean, 100 * a->low, 100 * a->high);
    else
        snprintf(out, size, "%.1f \xC2\xB1 %.1f", 100 * a->mean, 50 * (a->high - a->low));
}

static const char *judged_text(const curve_point *p) {
    if (!cell_counts(p->cell)) return cell_state_text(p->cell->state);
    if (!p->counts && !cell_settled(p->cell)) return "undecided (steady state not reached)";
    if (!p->counts) return cell_state_text(p->cell->state);
    if (p->joint.unstable) return "fail (unstable)";
    return verdict_name(p->judged);
}

static bool some_slo_limits(const results *r, limit l) {
    bool some = false;
    for (uint32_t s = 0; s < r->slo_count; s++) some |= limit_is_set(&r->slos[s], l);
    return some;
}

/* TTFT and TPOT are always told. */
static bool has_column(const results *r, limit l) {
    return l == LIMIT_TTFT || l == LIMIT_TPOT || some_slo_limits(r, l);
}

static void percent_field(doc *d, const interval *a, const cell *c) {
    char text[64];
    percent(text, sizeof text, a);
    doc_field(d, true);
    doc_link(d, text, c->id);
}

static void attainment_line(doc *d, const results *r, const curve *c, const curve_point *at) {
    char text[64];
    doc_row(d, NULL);
    doc_field(d, false);
    doc_text(d, c->slo->name);
    doc_field(d, false);
    doc_text(d, c->placement->name);
    doc_field(d, true);
    snprintf(text, sizeof text, "%.4g", at->rate);
    doc_link(d, text, at->cell->id);
    percent_field(d, &at->attainment, at->cell);
    for (int l = 0; l < LIMITS; l++) {
        if (has_column(r, (limit)l)) percent_field(d, &at->alone[l], at->cell);
    }
    doc_field(d, true);
    snprintf(text, sizeof text, at->alike ? "%u, alike" : "%u", at->attainment.n);
    doc_text(d, text);
    doc_field(d, false);
    doc_text(d, judged_text(at));
    doc_row_end(d);
}

static void attainment_numbers(doc *d, const goodput_table *t, uint32_t w) {
    const results *r = t->results;
    const char *heads[6 + LIMITS] = {"SLO", "placement", "requests/s per device", "attainment, %"};
    char names[LIMITS][16];
    uint32_t columns = 4;
    for (int l = 0; l < LIMITS; l++) {
        if (!has_column(r, (limit)l)) continue;
        snprintf(names[l], sizeof names[l], "%s alone, %%", limit_text((limit)l));
        heads[columns++] = names[l];
    }
    heads[columns++] = "seeds";
    heads[columns++] = "judged";
    doc_fold(d, "The numbers of figure 2");
    doc_table(d, heads, columns);
    for (uint32_t s = 0; s < r->slo_count; s++) {
        for (uint32_t p = 0; p < r->placement_count; p++) {
            const curve *c = &goodput_table_at(t, w, s, p)->curve;
            for (uint32_t i = 0; i < c->point_count; i++) attainment_line(d, r, c, &c->points[i]);
        }
    }
    doc_table_end(d);
    doc_fold_end(d);
}

status fig_attainment(doc *d, const goodput_table *t, uint32_t w, errbuf *eb) {
    PRE(d);
    PRE(t);
    const results *r = t->results;
    const char *workload = r->workloads[w];
    plot f;
    chart_init(&f, "fig2-attainment", workload, "Attainment against rate per device");
    chart_legend(&f, r, workload, false, true);
    plot_legend(&f, "all limits", "#444444", 1, -1);
    plot_legend(&f, "TTFT alone", "#444444", 3, -1);
    plot_legend(&f, "TPOT alone", "#444444", 2, -1);
    if (some_slo_limits(r, LIMIT_ITL)) plot_legend(&f, "ITL alone", "#444444", 5, -1);
    plot_legend(&f, "target", "#444444", 4, -1);
    plot_legend(&f, "hollow: undecided, not settled, void or unfinished", "#444444", 0, 6);
    plot_legend(&f, "unstable", "#444444", 0, 2);
    double end = 0;
    for (size_t i = 0; i < r->cell_count; i++) {
        double rate = cell_rate_per_device(&r->cells[i]);
        if (strcmp(r->cells[i].workload, workload) == 0 && isfinite(rate)) end = fmax(end, 1.04 * rate);
    }
    chart_grid g = chart_panels(&f, (int)r->slo_count, 2, 300);
    for (uint32_t s = 0; s < r->slo_count; s++) {
        char limits[128], title[192];
        slo_describe(&r->slos[s], limits, sizeof limits);
        bool same = strcmp(limits, r->slos[s].name) == 0;
        if (same)
            snprintf(title, sizeof title, "%s", limits);
        else
            snprintf(title, sizeof title, "%s: %s", r->slos[s].name, limits);
        chart_panel(&f, &g, (int)s, title);
        chart_label(&f, 'x', "requests per second and device");
        chart_label(&f, 'y', "attainment (%)");
        attainment_panel(&f, t, w, s, end > 0 ? end : 1);
    }
    status st =
        doc_figure(d, &f,
                   "Figure 2. Attainment against rate per device: share of all scheduled requests within "
                   "the limits, mean over seeds with its 95 % t interval (band), or, where all seeds are "
                   "alike, Wilson's of their requests together. The windows of seeds follow each other under "
                   "load that never stops: nearly, not strictly independent. The vertical line is the "
                   "crossing with the target.",
                   eb);
    if (st == ST_OK) attainment_numbers(d, t, w);
    return st;
}
