#include "planner/replay/fig_predicted.h"

#include "bench/report/chart.h"

#include <math.h>
#include <string.h>

static const struct {
    compared_metric metric;
    const char *title;
} panels[] = {{COMPARED_TTFT_P50, "TTFT, median"},
              {COMPARED_TTFT_P99, "TTFT, P99"},
              {COMPARED_TPOT_P50, "TPOT, median"},
              {COMPARED_TPOT_P99, "TPOT, P99"}};

/* $p: measured predicted low high shape, of one placement */
static void data(plot *f, const compare *c, const placement *p, uint32_t number, compared_metric m,
                 double *low, double *high) {
    plot_add(f, "$p%u << END\n", number);
    for (uint32_t i = 0; i < c->cell_count; i++) {
        const compared_cell *k = &c->cells[i];
        const compared *v = &k->values[m];
        if (strcmp(k->measured->placement, p->name) != 0 || !(v->measured > 0) || !(v->predicted > 0))
            continue;
        chart_widen(low, high, v->measured);
        chart_widen(low, high, v->predicted);
        plot_add(f, "%.6g %.6g", v->measured, v->predicted);
        chart_number(f, isnan(v->low) ? v->measured : fmax(v->low, 1e-6)); /* to the edge */
        chart_number(f, isnan(v->high) ? v->measured : fmax(v->high, 1e-6));
        plot_add(f, " %d\n", plot_shape(p->style, !compared_below(k)));
    }
    plot_add(f, "END\n");
}

/* Areas of equal share around the diagonal, the wide one first. */
static void bands(plot *f, double low, double high) {
    static const struct {
        double share;
        const char *colour;
    } all[] = {{0.15, "#eeeeee"}, {0.05, "#d8d8d8"}};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        double up = 1 + all[i].share, down = 1 - all[i].share;
        plot_add(f,
                 "set object polygon from %.6g,%.6g to %.6g,%.6g to %.6g,%.6g to %.6g,%.6g to %.6g,%.6g "
                 "fillcolor rgb '%s' fillstyle solid 1 noborder back clip\n",
                 low, low * down, low, low * up, high, high * up, high, high * down, low, low * down,
                 all[i].colour);
    }
    plot_add(f, "set arrow from %.6g,%.6g to %.6g,%.6g nohead lw 1 lc rgb '#666666' back\n", low, low, high,
             high);
}

static void panel(plot *f, const compare *c, compared_metric m) {
    const results *r = c->measured;
    double low = INFINITY, high = 0;
    for (uint32_t p = 0; p < r->placement_count; p++) data(f, c, &r->placements[p], p, m, &low, &high);
    if (low > high) low = 1, high = 10;
    low /= 1.3;
    high *= 1.3;
    if (high < low * 2) low /= 1.5, high *= 1.5; /* as chart_log_axis widens it */
    bands(f, low, high);
    chart_label(f, 'x', "measured (ms)");
    chart_label(f, 'y', "predicted (ms)");
    chart_log_axis(f, 'x', low, high);
    chart_log_axis(f, 'y', low, high);
    plot_add(f, "plot NaN");
    for (uint32_t p = 0; p < r->placement_count; p++) {
        const char *colour = plot_colour(r->placements[p].style);
        plot_add(f, ", $p%u using 1:2:3:4 with xerrorbars pt 0 lw 1 lc rgb '%s'", p, colour);
        plot_add(f, ", $p%u using 1:2:5 with points pt variable ps 0.9 lw 1.4 lc rgb '%s'", p, colour);
    }
    plot_add(f, "\n");
}

static bool is_compared(const compare *c, const placement *p) {
    for (uint32_t i = 0; i < c->cell_count; i++)
        if (strcmp(c->cells[i].measured->placement, p->name) == 0) return true;
    return false;
}

status fig_predicted(doc *d, const compare *c, errbuf *eb) {
    PRE(d);
    PRE(c);
    plot f;
    chart_init(&f, "predicted-measured", "", "Predicted against measured TTFT and TPOT");
    const results *r = c->measured;
    for (uint32_t p = 0; p < r->placement_count; p++)
        if (is_compared(c, &r->placements[p]))
            plot_legend(&f, r->placements[p].name, plot_colour(r->placements[p].style), 0,
                        plot_shape(r->placements[p].style, false));
    plot_legend(&f, "hollow: at or above 80 % of capacity", "#444444", 0, 6);
    plot_legend_box(&f, "within 5 %", "#d8d8d8");
    plot_legend_box(&f, "within 15 %", "#eeeeee");
    chart_grid g = chart_panels(&f, ARRAY_LEN(panels), 2, 440);
    for (size_t i = 0; i < ARRAY_LEN(panels); i++) {
        chart_panel(&f, &g, (int)i, panels[i].title);
        panel(&f, c, panels[i].metric);
    }
    return doc_figure(d, &f,
                      "Predicted against measured: a point per cell, bars the 95 % interval of what was "
                      "measured over its seeds; logarithmic. Above the diagonal the prediction is too slow.",
                      eb);
}
