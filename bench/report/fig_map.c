#include "bench/report/fig_map.h"

#include "bench/report/chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIDE      24
#define RESAMPLES 200u
#define NOBODY    UINT32_MAX
#define UNKNOWN   (UINT32_MAX - 1)

typedef struct map {
    double ttft[SIDE + 1], tpot[SIDE + 1]; /* edges, ms */
    uint32_t winner[SIDE][SIDE];           /* [tpot][ttft]; NOBODY = each fails at its lowest rate; UNKNOWN:
                                              none has a goodput, and not all fail */
    bool open[SIDE][SIDE];
} map;

static void log_edges(double *edges, double low, double high) {
    for (int i = 0; i <= SIDE; i++) edges[i] = low * pow(high / low, (double)i / SIDE);
}

static bool map_range(map *m, const results *r, const char *workload) {
    double low[2] = {INFINITY, INFINITY}, high[2] = {0, 0};
    for (size_t i = 0; i < r->cell_count; i++) {
        const cell *c = &r->cells[i];
        if (strcmp(c->workload, workload) != 0 || !cell_counts(c)) continue;
        chart_widen(&low[0], &high[0], 0.7 * c->ttft.p50);
        chart_widen(&low[1], &high[1], 0.85 * c->tpot.p50);
        if (c->facts.unstable) continue;
        chart_widen(&low[0], &high[0], 1.3 * c->ttft.p99);
        chart_widen(&low[1], &high[1], 1.15 * c->tpot.p99);
    }
    for (uint32_t s = 0; s < r->slo_count; s++) {
        for (int up = -1; up <= 1; up += 2) {
            chart_widen(&low[0], &high[0], r->slos[s].ttft_ms * pow(1.3, up));
            chart_widen(&low[1], &high[1], r->slos[s].tpot_ms * pow(1.15, up));
        }
    }
    if (!(high[0] > low[0]) || !(high[1] > low[1])) return false;
    log_edges(m->ttft, low[0], high[0]);
    log_edges(m->tpot, low[1], high[1]);
    return true;
}

/* The best that is not `than`; of another kind than it where there is one with data. */
static uint32_t rival_of(const curve *curves, uint32_t n, uint32_t than) {
    uint32_t best = NOBODY, other = NOBODY;
    for (uint32_t p = 0; p < n; p++) {
        if (p == than || curves[p].done == 0) continue;
        if (best == NOBODY || curve_value(&curves[p]) > curve_value(&curves[best])) best = p;
        if (curves[p].placement->baseline == curves[than].placement->baseline) continue;
        if (other == NOBODY || curve_value(&curves[p]) > curve_value(&curves[other])) other = p;
    }
    return other != NOBODY ? other : best;
}

static void judge(map *m, const results *r, const char *workload, const uint64_t *seeds, uint32_t seed_count,
                  int x, int y) {
    slo s = slo_none();
    s.ttft_ms = sqrt(m->ttft[x] * m->ttft[x + 1]);
    s.tpot_ms = sqrt(m->tpot[y] * m->tpot[y + 1]);
    curve *curves = xcalloc(r->placement_count + 1, sizeof *curves);
    uint32_t best = NOBODY;
    bool hopeless = true;
    for (uint32_t p = 0; p < r->placement_count; p++) {
        if (r->placements[p].again_of) continue;
        curve_init(&curves[p], r, &r->placements[p], workload, &s, seeds, seed_count, 0);
        if (curves[p].done && !curve_hopeless(&curves[p])) hopeless = false;
        double value = curve_value(&curves[p]);
        if (value > 0 && (best == NOBODY || value > curve_value(&curves[best]))) best = p;
    }
    m->winner[y][x] = best != NOBODY || hopeless ? best : UNKNOWN;
    uint32_t rival = best == NOBODY ? NOBODY : rival_of(curves, r->placement_count, best);
    if (rival != NOBODY) {
        ratio q = curve_ratio(&curves[best], &curves[rival], seed_count, RESAMPLES);
        m->open[y][x] = !(q.low > 1 || q.high < 1);
    }
    for (uint32_t p = 0; p < r->placement_count; p++) curve_done(&curves[p]);
    free(curves);
}

/* Runs of equal winners as one rectangle: x1 x2 y1 y2 in the columns that boxxyerror wants. */
static void winners_data(plot *f, const map *m, uint32_t p, const char *name) {
    plot_add(f, "$%s << END\n", name);
    for (int y = 0; y < SIDE; y++) {
        for (int x = 0, end; x < SIDE; x = end) {
            for (end = x + 1; end < SIDE && m->winner[y][end] == m->winner[y][x];) end++;
            if (m->winner[y][x] != p) continue;
            plot_add(f, "%.6g %.6g %.6g %.6g %.6g %.6g\n", m->ttft[x], m->tpot[y], m->ttft[x], m->ttft[end],
                     m->tpot[y], m->tpot[y + 1]);
        }
    }
    plot_add(f, "END\n");
}

static void hatch_data(plot *f, const map *m) {
    plot_add(f, "$hatch << END\n");
    for (int y = 0; y < SIDE; y++) {
        for (int x = 0; x < SIDE; x++) {
            if (!m->open[y][x]) continue;
            double x0 = m->ttft[x], x2 = m->ttft[x + 1], x1 = sqrt(x0 * x2);
            double y0 = m->tpot[y], y2 = m->tpot[y + 1], y1 = sqrt(y0 * y2);
            plot_add(f, "%.6g %.6g\n%.6g %.6g\n\n", x0, y0, x2, y2);
            plot_add(f, "%.6g %.6g\n%.6g %.6g\n\n", x0, y1, x1, y2);
            plot_add(f, "%.6g %.6g\n%.6g %.6g\n\n", x1, y0, x2, y1);
        }
    }
    plot_add(f, "END\n");
}

static void mark_slos(plot *f, const map *m, const results *r) {
    double middle = sqrt(m->ttft[0] * m->ttft[SIDE]);
    for (uint32_t s = 0; s < r->slo_count; s++) {
        const slo *o = &r->slos[s];
        if (isinf(o->ttft_ms) || isinf(o->tpot_ms)) continue;
        bool left = o->ttft_ms > middle, below = o->tpot_ms > m->tpot[SIDE - 2];
        plot_add(f, "set label ");
        plot_quote(f, o->name);
        plot_add(f, " at %.6g,%.6g %s point pt 7 ps 0.9 lc rgb 'black' offset %s,%s front\n", o->ttft_ms,
                 o->tpot_ms, left ? "right" : "left", left ? "-0.6" : "0.6", below ? "-0.8" : "0.6");
    }
}

static void draw(plot *f, const map *m, const results *r, const char *workload) {
    bool nobody = false, unknown = false;
    for (int y = 0; y < SIDE; y++) {
        for (int x = 0; x < SIDE; x++) {
            nobody |= m->winner[y][x] == NOBODY;
            unknown |= m->winner[y][x] == UNKNOWN;
        }
    }
    for (uint32_t p = 0; p < r->placement_count; p++) {
        if (chart_shows(r, &r->placements[p], workload))
            plot_legend_box(f, r->placements[p].name, plot_colour(r->placements[p].style));
    }
    if (nobody) plot_legend_box(f, "none reaches the target", "#dddddd");
    if (unknown) plot_legend_box(f, "undecided: none has a goodput", "#ffffff");
    plot_legend(f, "hatched: the ratio to the best of the other kind is not decided", "#000000", 1, -1);
    chart_grid g = chart_panels(f, 1, 1, 500);
    chart_panel(f, &g, 0, NULL);
    chart_label(f, 'x', "limit on TTFT (ms)");
    chart_label(f, 'y', "limit on TPOT (ms)");
    chart_log_axis(f, 'x', m->ttft[0], m->ttft[SIDE]);
    chart_log_axis(f, 'y', m->tpot[0], m->tpot[SIDE]);
    mark_slos(f, m, r);
    for (uint32_t p = 0; p < r->placement_count; p++) {
        char name[16];
        snprintf(name, sizeof name, "w%u", p);
        winners_data(f, m, p, name);
    }
    winners_data(f, m, NOBODY, "nobody");
    hatch_data(f, m);
    plot_add(f,
             "set style fill solid 0.55 noborder\nplot NaN, $nobody using 1:2:3:4:5:6 with boxxyerror fc rgb "
             "'#dddddd' fs solid 1 noborder");
    for (uint32_t p = 0; p < r->placement_count; p++)
        plot_add(f, ", $w%u using 1:2:3:4:5:6 with boxxyerror fc rgb '%s' fs solid 0.55 noborder", p,
                 plot_colour(r->placements[p].style));
    plot_add(f, ", $hatch using 1:2 with lines lw 0.8 lc rgb '#222222'\n");
}

status fig_map(doc *d, const goodput_table *t, uint32_t w, errbuf *eb) {
    PRE(d);
    PRE(t);
    const results *r = t->results;
    const char *workload = r->workloads[w];
    map *m = xcalloc(1, sizeof *m);
    if (!map_range(m, r, workload)) {
        doc_note(d, "Figure 3, the map over both limits, needs cells that count: there is none.");
        free(m);
        return ST_OK;
    }
    uint32_t seed_count;
    uint64_t *seeds = curve_seeds(r, workload, &seed_count);
    for (int y = 0; y < SIDE; y++) {
        for (int x = 0; x < SIDE; x++) judge(m, r, workload, seeds, seed_count, x, y);
    }
    free(seeds);
    plot f;
    chart_init(&f, "fig3-map", workload,
               "The placement with the highest goodput per device, over both limits");
    draw(&f, m, r, workload);
    free(m);
    return doc_figure(
        d, &f,
        "Figure 3. The same rows scored for every pair of limits: the colour is the placement with the "
        "highest goodput per device; hatched where the 95 % interval of its ratio to the best of the "
        "other kind (colocated baseline or not) contains 1 or is open. Dots: the SLOs of the table.",
        eb);
}
