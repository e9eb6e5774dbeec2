#include "planner/search/plan_figures.h"

#include "bench/report/chart.h"

#include <math.h>
#include <stdio.h>

static const char *const kinds[2] = {"best disaggregated", "best colocated"};

/* ---- goodput per device against devices ---- */

/* The best of a kind with so many devices; NULL: none serves. */
static const candidate *best_with(const plan_outcome *o, bool colocated, uint32_t devices) {
    const candidate *best = NULL;
    for (uint32_t i = 0; i < o->list.count; i++) {
        const candidate *c = &o->list.items[i];
        if (c->colocated != colocated || c->devices != devices || c->reason != REJECT_NOT || !c->found)
            continue;
        if (isnan(plan_goodput(c).mean)) continue;
        if (!best || plan_goodput(c).mean > plan_goodput(best).mean) best = c;
    }
    return best;
}

static uint32_t kind_data(plot *f, const plan_outcome *o, bool colocated, uint32_t most, double *high) {
    uint32_t n = 0;
    plot_add(f, "$k%d << END\n", colocated);
    for (uint32_t d = 1; d <= most; d++) {
        const candidate *c = best_with(o, colocated, d);
        if (!c) continue;
        interval v = plan_goodput(c);
        plot_add(f, "%u %.6g %.6g %.6g\n", d, v.mean, v.low, v.high);
        *high = fmax(*high, v.high);
        n++;
    }
    plot_add(f, "END\n");
    return n;
}

static status figure_devices(const plan_report *r, const char *folder, errbuf *eb) {
    plot f;
    plot_init(&f, "goodput-devices", "Goodput per device against devices");
    uint32_t most = 1, some[2];
    for (uint32_t i = 0; i < r->found->list.count; i++) most = MAX(most, r->found->list.items[i].devices);
    double high = 0;
    for (int k = 0; k < 2; k++) some[k] = kind_data(&f, r->found, k, most, &high);
    for (int k = 0; k < 2; k++)
        if (some[k])
            plot_legend(&f, kinds[k], plot_colour((uint32_t)k), plot_dash((uint32_t)k),
                        plot_shape((uint32_t)k, false));
    chart_grid g = chart_panels(&f, 1, 1, 380);
    chart_panel(&f, &g, 0, NULL);
    chart_label(&f, 'x', "devices");
    chart_label(&f, 'y', "goodput (requests/s/device)");
    plot_add(&f, "set xrange [%g:%g]\nset yrange [0:%g]\n", 0.5, most + 0.5, high > 0 ? high * 1.12 : 1);
    plot_add(&f, "set xtics %u\n", most > 16 ? MAX(most / 8, 1u) : 1);
    plot_add(&f, "plot NaN notitle");
    for (int k = 0; k < 2; k++) {
        if (!some[k]) continue;
        plot_add(&f,
                 ", $k%d using 1:2 with lines lw 1.6 dt %d lc rgb '%s' notitle, $k%d using 1:2:3:4 with "
                 "yerrorbars pt %d ps 1 lw 1.4 lc rgb '%s' notitle",
                 k, plot_dash((uint32_t)k), plot_colour((uint32_t)k), k, plot_shape((uint32_t)k, false),
                 plot_colour((uint32_t)k));
    }
    plot_add(&f, "\n");
    status st = plot_run(&f, folder, eb);
    plot_done(&f);
    return st;
}

/* ---- the winner over both limits ---- */

/* -1 nobody, 0 disaggregated, 1 colocated */
static int winner_at(const sensitivity_map *m, uint32_t y, uint32_t x) {
    const double *v = m->per_device[y][x];
    return v[0] > 0 || v[1] > 0 ? v[1] >= v[0] : -1;
}

/* Runs of equal winners as one rectangle each, in the columns that boxxyerror wants. */
static void winner_data(plot *f, const sensitivity_map *m, int who, const char *name) {
    plot_add(f, "$%s << END\n", name);
    for (uint32_t y = 0; y < SENSITIVITY_SIDE; y++) {
        for (uint32_t x = 0, end; x < SENSITIVITY_SIDE; x = end) {
            for (end = x + 1; end < SENSITIVITY_SIDE && winner_at(m, y, end) == winner_at(m, y, x);) end++;
            if (winner_at(m, y, x) == who)
                plot_add(f, "%.6g %.6g %.6g %.6g %.6g %.6g\n", m->ttft_ms[x], m->tpot_ms[y], m->ttft_ms[x],
                         m->ttft_ms[end], m->tpot_ms[y], m->tpot_ms[y + 1]);
        }
    }
    plot_add(f, "END\n");
}

static void hatch_data(plot *f, const sensitivity_map *m) {
    plot_add(f, "$hatch << END\n");
    for (uint32_t y = 0; y < SENSITIVITY_SIDE; y++) {
        for (uint32_t x = 0; x < SENSITIVITY_SIDE; x++) {
            if (!m->open[y][x]) continue;
            double x0 = m->ttft_ms[x], x2 = m->ttft_ms[x + 1], x1 = sqrt(x0 * x2);
            double y0 = m->tpot_ms[y], y2 = m->tpot_ms[y + 1], y1 = sqrt(y0 * y2);
            plot_add(f, "%.6g %.6g\n%.6g %.6g\n\n", x0, y0, x2, y2);
            plot_add(f, "%.6g %.6g\n%.6g %.6g\n\n", x0, y1, x1, y2);
            plot_add(f, "%.6g %.6g\n%.6g %.6g\n\n", x1, y0, x2, y1);
        }
    }
    plot_add(f, "END\n");
}

static status figure_map(const plan_report *r, const char *folder, errbuf *eb) {
    const sensitivity_map *m = &r->sensitivity->map;
    plot f;
    plot_init(&f, "winner-map", "The kind with the highest goodput per device, over both limits");
    bool nobody = false, open = false;
    for (uint32_t y = 0; y < SENSITIVITY_SIDE; y++) {
        for (uint32_t x = 0; x < SENSITIVITY_SIDE; x++) {
            nobody |= winner_at(m, y, x) < 0;
            open |= m->open[y][x];
        }
    }
    for (int k = 0; k < 2; k++)
        plot_legend_box(&f, k ? "colocated" : "disaggregated", plot_colour((uint32_t)k));
    if (nobody) plot_legend_box(&f, "none can serve", "#dddddd");
    if (open) plot_legend(&f, "hatched: not decided", "#000000", 1, -1);
    chart_grid g = chart_panels(&f, 1, 1, 460);
    chart_panel(&f, &g, 0, NULL);
    chart_label(&f, 'x', "limit on TTFT (ms)");
    chart_label(&f, 'y', "limit on TPOT (ms)");
    chart_log_axis(&f, 'x', m->ttft_ms[0], m->ttft_ms[SENSITIVITY_SIDE]);
    chart_log_axis(&f, 'y', m->tpot_ms[0], m->tpot_ms[SENSITIVITY_SIDE]);
    const slo *l = &r->in->limits;
    if (isfinite(l->ttft_ms) && isfinite(l->tpot_ms))
        plot_add(&f,
                 "set label 'the limits' at %.6g,%.6g left point pt 7 ps 0.9 lc rgb 'black' offset 0.6,0.6 "
                 "front\n",
                 l->ttft_ms, l->tpot_ms);
    winner_data(&f, m, -1, "nobody");
    winner_data(&f, m, 0, "w0");
    winner_data(&f, m, 1, "w1");
    hatch_data(&f, m);
    plot_add(
        &f,
        "plot NaN notitle, $nobody using 1:2:3:4:5:6 with boxxyerror fc rgb '#dddddd' fs solid 1 noborder");
    for (int k = 0; k < 2; k++)
        plot_add(&f, ", $w%d using 1:2:3:4:5:6 with boxxyerror fc rgb '%s' fs solid 0.55 noborder", k,
                 plot_colour((uint32_t)k));
    plot_add(&f, ", $hatch using 1:2 with lines lw 0.8 lc rgb '#222222'\n");
    status st = plot_run(&f, folder, eb);
    plot_done(&f);
    return st;
}

status plan_figures(const plan_report *r, const char *folder, errbuf *eb) {
    PRE(r);
    PRE(folder);
    status st = figure_devices(r, folder, eb);
    if (st == ST_OK && r->sensitivity && r->sensitivity->there) st = figure_map(r, folder, eb);
    return st;
}
