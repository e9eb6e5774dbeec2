#include "bench/report/fig_strip.h"

#include "bench/report/chart.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POINTS_MAX 300u /* of a scatter: every k-th row where there are more */
#define LEFT       64
#define GAP        84

char *fig_strip_id(const cell *c) {
    PRE(c);
    char *id = xasprintf("strip-%s", c->id);
    for (char *at = id; *at; at++) {
        if (!isalnum((unsigned char)*at)) *at = '-';
    }
    return id;
}

/* ---- in flight ---- */

typedef struct change {
    double at_s;
    int by;
} change;

static int by_time(const void *a, const void *b) {
    const change *x = a, *y = b;
    return (x->at_s > y->at_s) - (x->at_s < y->at_s);
}

static int in_flight_data(plot *f, const cell *c) {
    change *all = xcalloc(2 * c->row_count + 1, sizeof *all);
    size_t n = 0;
    for (size_t i = 0; i < c->row_count; i++) {
        const cell_row *r = &c->rows[i];
        if (isnan(r->scheduled_s) || isnan(r->end_s)) continue;
        all[n++] = (change){r->scheduled_s, 1};
        all[n++] = (change){r->end_s, -1};
    }
    qsort(all, n, sizeof *all, by_time);
    int now = 0, most = 1;
    double next = 0, step = n ? all[n - 1].at_s / POINTS_MAX : 1; /* highest level of each step of time */
    int level = 0;
    plot_add(f, "$flight << END\n0 0\n");
    for (size_t i = 0; i < n; i++) {
        now += all[i].by;
        level = MAX(level, now);
        most = MAX(most, now);
        if (all[i].at_s < next && i + 1 < n) continue;
        plot_add(f, "%.5g %d\n", all[i].at_s, level);
        next = all[i].at_s + step;
        level = now;
    }
    plot_add(f, "END\n");
    free(all);
    return most;
}

/* ---- the panels ---- */

static void times(const cell *c, double *begin, double *end, double *last) {
    *begin = INFINITY;
    *end = *last = 0;
    for (size_t i = 0; i < c->row_count; i++) {
        const cell_row *r = &c->rows[i];
        if (isfinite(r->end_s)) *last = fmax(*last, r->end_s);
        if (isfinite(r->scheduled_s)) *last = fmax(*last, r->scheduled_s);
        if (r->phase != ROW_WINDOW) continue;
        *begin = fmin(*begin, r->scheduled_s);
        *end = fmax(*end, r->scheduled_s);
    }
    for (uint32_t i = 0; i < c->facts.segment_count; i++) {
        *begin = fmin(*begin, c->facts.segments[i].begin_s);
        *end = fmax(*end, c->facts.segments[i].end_s);
    }
    if (*last <= 0) *last = 1;
    if (!isfinite(*begin)) *begin = *last;
    if (*end < *begin) *end = *last;
}

/* Warm-up and tail are grey, and the limits between seeds thin lines. */
static void shade(plot *f, const cell *c) {
    double begin, end, last;
    times(c, &begin, &end, &last);
    const double from[] = {0, end}, to[] = {begin, last};
    for (int i = 0; i < 2; i++) {
        if (to[i] > from[i])
            plot_add(f,
                     "set object rectangle from first %.5g, graph 0 to first %.5g, graph 1 behind fc rgb "
                     "'#e4e4e4' fs solid noborder\n",
                     from[i], fmin(to[i], last));
    }
    for (uint32_t i = 1; i < c->facts.segment_count; i++) {
        double at = c->facts.segments[i].begin_s;
        plot_add(f,
                 "set arrow from first %.5g, graph 0 to first %.5g, graph 1 nohead lw 0.6 lc rgb '#888888'\n",
                 at, at);
    }
    plot_add(f, "set xrange [0:%.5g]\n", last);
}

static void panel(plot *f, int i, const char *title) {
    int width = (PLOT_WIDTH - LEFT - 16 - 2 * GAP) / 3, left = LEFT + i * (width + GAP);
    plot_panel(f, left, 30, left + width, 148, title);
    chart_label(f, 'x', "time since the run's start (s)");
}

/* A point is a very short line: gnuplot makes one path of them all, of a tenth of the bytes. */
static void scatter_data(plot *f, const cell *c, bool late, double *low, double *high) {
    double begin, end, last;
    times(c, &begin, &end, &last);
    size_t every = c->row_count / POINTS_MAX + 1;
    plot_add(f, "$%s << END\n", late ? "late" : "ttft");
    for (size_t i = 0; i < c->row_count; i += every) {
        const cell_row *r = &c->rows[i];
        double y = late ? fmax(r->late_ms, 0.001) : r->ttft_ms;
        if (!isfinite(y) || y <= 0 || isnan(r->scheduled_s)) continue;
        plot_add(f, "%.5g %.4g\n%.5g %.4g\n\n", r->scheduled_s, y, r->scheduled_s + 0.008 * last, y);
        chart_widen(low, high, y);
    }
    plot_add(f, "END\n");
}

static status strip(doc *d, const cell *c, errbuf *eb) {
    plot f;
    char *id = fig_strip_id(c);
    plot_init(&f, id, c->id);
    free(id);
    f.height = 212;
    panel(&f, 0, "requests in flight");
    shade(&f, c);
    int most = in_flight_data(&f, c);
    plot_add(&f, "set yrange [0:%.5g]\nset ytics 0,%d\n", 1.1 * most, (most + 3) / 4);
    plot_add(&f, "plot NaN, $flight using 1:2 with steps lw 1.2 lc rgb '#0072B2'\n");
    for (int late = 0; late <= 1; late++) {
        double low = INFINITY, high = 0;
        panel(&f, 1 + late, late ? "lateness of sending (ms)" : "TTFT (ms)");
        shade(&f, c);
        scatter_data(&f, c, late, &low, &high);
        chart_log_axis(&f, 'y', low / 1.3, high * 1.3);
        plot_add(&f, "plot NaN, $%s using 1:2 with lines lw 2 lc rgb '%s'\n", late ? "late" : "ttft",
                 late ? "#D55E00" : "#0072B2");
    }
    buf caption = {0};
    buf_addf(&caption, "%s: %s%s%s", c->id, cell_state_text(c->state), c->facts.unstable ? ", unstable" : "",
             c->reason[0] ? ": " : "");
    buf_adds(&caption, c->reason);
    status st = doc_cell_figure(d, &f, caption.data, c->id, eb);
    buf_done(&caption);
    return st;
}

status fig_strips(doc *d, const results *r, const char *workload, errbuf *eb) {
    PRE(d);
    PRE(r);
    PRE(workload);
    status st = ST_OK;
    d->page_only = true;
    doc_fold(d, "Figure 8. Validity strip of every run");
    doc_note(d, "Grey: warm-up and tail, which are not scored. Thin lines: where the next seed begins.");
    for (size_t i = 0; i < r->cell_count && st == ST_OK; i++) {
        if (strcmp(r->cells[i].workload, workload) == 0 && r->cells[i].row_count)
            st = strip(d, &r->cells[i], eb);
    }
    doc_fold_end(d);
    d->page_only = false;
    return st;
}
