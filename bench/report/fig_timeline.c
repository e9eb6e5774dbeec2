#include "bench/report/fig_timeline.h"

#include "bench/report/chart.h"
#include "bench/report/step_trace.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECONDS   5.0
#define SPANS_MAX 6000u /* drawn; a window with more of them is made shorter */
#define ROW       34
#define SHOWN_MAX 16u /* workers */

static const char *colour_of(span_kind k) {
    static const char *const all[] = {"#0072B2", "#56B4E9", "#009E73", "#CC79A7"};
    return all[k];
}

typedef struct window {
    double begin_s, end_s;
} window;

/* From the middle of the trace, where all are at work. */
static window choose_window(const step_trace *t) {
    window w = {fmax(0, t->end_s / 2 - SECONDS / 2), 0};
    w.end_s = fmin(t->end_s, w.begin_s + SECONDS);
    size_t drawn = 0;
    for (size_t i = 0; i < t->span_count; i++) {
        const span *s = &t->spans[i];
        if (s->end_s < w.begin_s || s->begin_s > w.end_s || s->worker >= SHOWN_MAX) continue;
        if (++drawn == SPANS_MAX) w.end_s = fmax(s->begin_s, w.begin_s + 0.01);
    }
    return w;
}

/* Steps stand in the row's lower part, hand-offs on top of them. */
static void spans_data(plot *f, const step_trace *t, const window *w, span_kind k) {
    plot_add(f, "$k%d << END\n", (int)k);
    for (size_t i = 0; i < t->span_count; i++) {
        const span *s = &t->spans[i];
        if (s->kind != k || s->end_s < w->begin_s || s->begin_s > w->end_s || s->worker >= SHOWN_MAX)
            continue;
        double from = fmax(s->begin_s, w->begin_s) - w->begin_s, to = fmin(s->end_s, w->end_s) - w->begin_s;
        double top = s->worker + (k == SPAN_HANDOFF ? 0.08 : 0.3),
               bottom = s->worker + (k == SPAN_HANDOFF ? 0.24 : 0.9);
        plot_add(f, "%.6f %.2f %.6f %.6f %.2f %.2f\n", from, top, from, to, top, bottom);
    }
    plot_add(f, "END\n");
}

static status draw(doc *d, const step_trace *t, const cell *c, errbuf *eb) {
    plot f;
    char *kind = xasprintf("fig9-timeline-%s", c->workload);
    chart_init(&f, kind, c->placement, "What the workers did");
    free(kind);
    for (int k = 0; k < SPAN_KINDS; k++)
        plot_legend_box(&f, span_text((span_kind)k), colour_of((span_kind)k));
    plot_legend_box(&f, "idle", "#ffffff");
    window w = choose_window(t);
    uint32_t shown = MIN(t->worker_count, SHOWN_MAX);
    int top = plot_legend_height(&f) + 10;
    f.height = top + ROW * (int)shown + 62;
    size_t longest = 0;
    for (uint32_t i = 0; i < shown; i++) longest = MAX(longest, strlen(t->workers[i]));
    plot_panel(&f, chart_margin((int)longest), top, PLOT_WIDTH - 24, top + ROW * (int)shown, NULL);
    plot_add(&f, "set xrange [0:%.6g]\nset yrange [%u:0]\nset ytics (", w.end_s - w.begin_s, shown);
    for (uint32_t i = 0; i < shown; i++) {
        if (i) plot_add(&f, ", ");
        plot_quote(&f, t->workers[i]);
        plot_add(&f, " %.1f", i + 0.6);
    }
    plot_add(&f, ") scale 0\nunset grid\n");
    chart_label(&f, 'x', "time (s)");
    for (int k = 0; k < SPAN_KINDS; k++) spans_data(&f, t, &w, (span_kind)k);
    plot_add(&f, "plot NaN");
    for (int k = 0; k < SPAN_KINDS; k++)
        plot_add(&f, ", $k%d using 1:2:3:4:5:6 with boxxyerror fc rgb '%s' fs solid 1 noborder", k,
                 colour_of((span_kind)k));
    plot_add(&f, "\n");
    buf caption = {0};
    char *name = chart_cell_name(c);
    buf_addf(&caption, "Figure 9. %.3g s of %s at %.4g requests per second: steps of each worker%s",
             w.end_s - w.begin_s, name, c->rate,
             shown < t->worker_count ? "; only the first 16 workers are shown." : ".");
    free(name);
    status st = doc_cell_figure(d, &f, caption.data, c->id, eb);
    buf_done(&caption);
    return st;
}

static bool has_trace(const cell *c) {
    char *path = xasprintf("%s/trace.json", c->folder);
    bool there = access(path, R_OK) == 0;
    free(path);
    return there;
}

static const cell *choose_cell(const results *r, const placement *p, const char *workload, double rate) {
    const cell *best = rate > 0 ? results_find(r, p->name, workload, rate) : NULL;
    if (best && has_trace(best)) return best;
    best = NULL;
    for (const cell *c = NULL; (c = results_next(r, c, p->name, workload));) {
        if (has_trace(c) && !c->facts.unstable) best = c;
    }
    return best;
}

status fig_timeline(doc *d, const results *r, const char *workload, errbuf *eb) {
    PRE(d);
    PRE(r);
    PRE(workload);
    double rate = results_common_rate(r, workload);
    uint32_t drawn = 0;
    status st = ST_OK;
    for (uint32_t p = 0; p < r->placement_count && st == ST_OK; p++) {
        const cell *c = r->placements[p].again_of ? NULL : choose_cell(r, &r->placements[p], workload, rate);
        if (!c) continue;
        step_trace t;
        errbuf why = {0};
        char *path = xasprintf("%s/trace.json", c->folder);
        if (step_trace_read(&t, path, &why) == ST_OK)
            st = draw(d, &t, c, eb);
        else
            doc_note(d, why.text);
        drawn++;
        step_trace_done(&t);
        free(path);
    }
    if (drawn == 0 && st == ST_OK)
        doc_note(d, "Figure 9, the timeline of the workers, needs a cell with a trace.json (baton-bench "
                    "serve --trace): "
                    "there is none.");
    return st;
}
