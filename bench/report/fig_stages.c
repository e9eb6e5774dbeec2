#include "bench/report/fig_stages.h"

#include "bench/report/chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct shown {
    const cell **cells; /* [count]; owned */
    uint32_t count;
    double rate;
} shown;

static bool has_stages(const cell *c) {
    for (int s = 0; s < STAGES; s++) {
        if (!isnan(c->stage_mean_ms[s])) return true;
    }
    return false;
}

static shown choose(const results *r, const char *workload) {
    shown out = {.rate = results_common_rate(r, workload)};
    out.cells = xcalloc(r->placement_count + 1, sizeof(const cell *));
    for (uint32_t p = 0; p < r->placement_count && !isnan(out.rate); p++) {
        const cell *c = results_find(r, r->placements[p].name, workload, out.rate);
        if (c && !r->placements[p].again_of && has_stages(c)) out.cells[out.count++] = c;
    }
    return out;
}

static double mean(const cell *c, int s) {
    return isnan(c->stage_mean_ms[s]) ? 0 : c->stage_mean_ms[s];
}

/* $sN: of cells that count, $hN: of those that are drawn hollow */
static void bars_data(plot *f, const shown *on, int first, int s, bool hollow) {
    plot_add(f, "$%c%d << END\n", hollow ? 'h' : 's', s);
    for (uint32_t i = 0; i < on->count; i++) {
        double from = 0;
        if (cell_hollow(on->cells[i]) != hollow) continue;
        for (int k = first; k < s; k++) from += mean(on->cells[i], k);
        plot_add(f, "%.6g %.2f %.6g %.6g %.2f %.2f\n", from, i + 0.5, from, from + mean(on->cells[i], s),
                 i + 0.18, i + 0.82);
    }
    plot_add(f, "END\n");
}

/* Bars of the stages first..last, one per cell, from the top */
static void bars(plot *f, const shown *on, int first, int last, int top, int bottom, const char *title) {
    double end = 0;
    for (uint32_t i = 0; i < on->count; i++) {
        double sum = 0;
        for (int s = first; s <= last; s++) sum += mean(on->cells[i], s);
        end = fmax(end, sum);
    }
    size_t longest = 0;
    for (uint32_t i = 0; i < on->count; i++) {
        char *name = chart_cell_name(on->cells[i]);
        longest = MAX(longest, strlen(name));
        free(name);
    }
    plot_panel(f, chart_margin((int)longest), top, PLOT_WIDTH - 30, bottom, title);
    plot_add(f, "set xrange [0:%.6g]\nset yrange [%u:0]\nset ytics (", end > 0 ? 1.12 * end : 1, on->count);
    for (uint32_t i = 0; i < on->count; i++) {
        if (i) plot_add(f, ", ");
        char *name = chart_cell_name(on->cells[i]);
        plot_quote(f, name);
        free(name);
        plot_add(f, " %.1f", i + 0.5);
    }
    plot_add(f, ") scale 0\n");
    for (int s = first; s <= last; s++) {
        bars_data(f, on, first, s, false);
        bars_data(f, on, first, s, true);
    }
    for (uint32_t i = 0; i < on->count; i++) {
        double sum = 0;
        for (int s = first; s <= last; s++) sum += mean(on->cells[i], s);
        plot_add(f, "set label '%.4g ms' at %.6g, %.2f left offset 0.5,0 front\n", sum, sum, i + 0.5);
    }
    if (last == STAGE_DECODE) chart_label(f, 'x', "mean time (ms)");
    plot_add(f, "plot NaN");
    for (int s = first; s <= last; s++) {
        const char *colour = plot_stage_colour((uint32_t)s);
        plot_add(f, ", $s%d using 1:2:3:4:5:6 with boxxyerror fc rgb '%s' fs solid 1 border lc rgb '#444444'",
                 s, colour);
        plot_add(f, ", $h%d using 1:2:3:4:5:6 with boxxyerror fc rgb '%s' fs empty border lc rgb '%s'", s,
                 colour, colour);
    }
    plot_add(f, "\n");
}

static void numbers(doc *d, const shown *on) {
    const char *heads[2 + STAGES] = {"placement", "requests/s per device"};
    char names[STAGES][32];
    for (int s = 0; s < STAGES; s++) {
        snprintf(names[s], sizeof names[s], "%s, ms", stage_text((stage)s));
        heads[2 + s] = names[s];
    }
    doc_fold(d, "The numbers of figure 5");
    doc_table(d, heads, ARRAY_LEN(heads));
    for (uint32_t i = 0; i < on->count; i++) {
        const cell *c = on->cells[i];
        char text[32];
        doc_row(d, NULL);
        doc_field(d, false);
        char *name = chart_cell_name(c);
        doc_text(d, name);
        free(name);
        doc_field(d, true);
        snprintf(text, sizeof text, "%.4g", cell_rate_per_device(c));
        doc_link(d, text, c->id);
        for (int s = 0; s < STAGES; s++) {
            doc_field(d, true);
            snprintf(text, sizeof text, isnan(c->stage_mean_ms[s]) ? "-" : "%.2f", c->stage_mean_ms[s]);
            doc_link(d, text, c->id);
        }
        doc_row_end(d);
    }
    doc_table_end(d);
    doc_fold_end(d);
}

status fig_stages(doc *d, const results *r, const char *workload, errbuf *eb) {
    PRE(d);
    PRE(r);
    PRE(workload);
    shown on = choose(r, workload);
    if (on.count == 0) {
        doc_note(d, "Figure 5, the stages, needs stage times of the server: no cell has them.");
        free(on.cells);
        return ST_OK;
    }
    plot f;
    chart_init(&f, "fig5-stages", workload, "Where the time of a request goes");
    for (int s = 0; s < STAGES; s++)
        plot_legend_box(&f, stage_text((stage)s), plot_stage_colour((uint32_t)s));
    int top = plot_legend_height(&f), panel = 34 * (int)on.count;
    f.height = top + 2 * (panel + 34 + 40) + 26;
    char title[96];
    snprintf(title, sizeof title, "to the first token, at %.4g requests/s per device", on.rate);
    bars(&f, &on, STAGE_QUEUE, STAGE_PREFILL, top + 34, top + 34 + panel, title);
    int second = top + panel + 34 + 40;
    snprintf(title, sizeof title, "from the first token to the last");
    bars(&f, &on, STAGE_HANDOFF, STAGE_DECODE, second + 34, second + 34 + panel, title);
    buf caption = {0};
    buf_addf(
        &caption,
        "Figure 5. Stages by the server's own clock, means in ms over the requests that ended as asked, at "
        "%.4g "
        "requests per second and device. The first token is sent at the end of prefill: queue and prefill "
        "make "
        "up TTFT, the others what follows. Decode is what is left of it without hand-off and decode queue. "
        "Hollow: the cell is void, unfinished or not settled.",
        on.rate);
    status st = doc_figure(d, &f, caption.data, eb);
    buf_done(&caption);
    if (st == ST_OK) numbers(d, &on);
    free(on.cells);
    return st;
}
