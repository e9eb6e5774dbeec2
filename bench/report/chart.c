#include "bench/report/chart.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LEFT  88
#define RIGHT 18
#define ABOVE 34 /* a panel's title */
#define BELOW 64 /* tics and label */
#define GAP   96 /* between columns */

void chart_init(plot *p, const char *kind, const char *workload, const char *title) {
    PRE(kind);
    PRE(workload);
    char *id = workload[0] ? xasprintf("%s-%s", kind, workload) : xstrdup(kind);
    plot_init(p, id, title);
    free(id);
}

bool chart_shows(const results *r, const placement *p, const char *workload) {
    PRE(p);
    return !p->again_of && results_next(r, NULL, p->name, workload);
}

void chart_legend(plot *p, const results *r, const char *workload, bool dashes, bool points) {
    PRE(r);
    for (uint32_t i = 0; i < r->placement_count; i++) {
        const placement *one = &r->placements[i];
        if (!chart_shows(r, one, workload)) continue;
        plot_legend(p, one->name, plot_colour(one->style), dashes ? plot_dash(one->style) : 1,
                    points ? plot_shape(one->style, false) : -1);
    }
}

char *chart_cell_name(const cell *c) {
    PRE(c);
    if (!cell_counts(c)) return xasprintf("%s (%s)", c->placement, cell_state_text(c->state));
    if (c->facts.unstable) return xasprintf("%s (unstable)", c->placement);
    return cell_settled(c) ? xstrdup(c->placement) : xasprintf("%s (not settled)", c->placement);
}

void chart_number(plot *p, double value) {
    if (isnan(value) || isinf(value))
        plot_add(p, " NaN");
    else
        plot_add(p, " %.7g", value);
}

chart_grid chart_panels(plot *p, int panels, int columns, int panel_height) {
    PRE(p);
    PRE(panels > 0);
    PRE(columns > 0);
    if (columns > panels) columns = panels;
    int rows = (panels + columns - 1) / columns;
    chart_grid g = {.columns = columns, .panel_height = panel_height, .top = plot_legend_height(p)};
    p->height = g.top + rows * panel_height;
    return g;
}

void chart_panel(plot *p, const chart_grid *g, int i, const char *title) {
    PRE(g);
    int width = (PLOT_WIDTH - LEFT - RIGHT - (g->columns - 1) * GAP) / g->columns;
    int left = LEFT + i % g->columns * (width + GAP), top = g->top + i / g->columns * g->panel_height;
    plot_panel(p, left, top + (title ? ABOVE : 10), left + width, top + g->panel_height - BELOW, title);
}

int chart_margin(int longest) {
    return MIN(MAX(110, 26 + (int)(7.4 * longest)), PLOT_WIDTH / 3);
}

void chart_label(plot *p, char axis, const char *text) {
    PRE(text);
    plot_add(p, "set %clabel ", axis);
    plot_quote(p, text);
    plot_add(p, axis == 'x' ? " offset 0,0.3\n" : "\n");
}

void chart_widen(double *low, double *high, double value) {
    PRE(low);
    PRE(high);
    if (!isfinite(value) || value <= 0) return;
    *low = fmin(*low, value);
    *high = fmax(*high, value);
}

#define STEPS_MAX 11

/* Steps within a decade, finer where there are few of them: 4 to 12 tics in all. Zeros end them. */
static const double *log_steps(double decades) {
    static const double all[][STEPS_MAX] = {
        {1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9}, {1, 1.5, 2, 3, 4, 5, 7}, {1, 2, 5}, {1}};
    return all[decades < 0.5 ? 0 : decades < 1 ? 1 : decades < 2.6 ? 2 : 3];
}

void chart_log_axis(plot *p, char axis, double low, double high) {
    if (!(low > 0) || !isfinite(low) || !(high > 0) || !isfinite(high)) low = 1, high = 10;
    if (high < low * 2) low /= 1.5, high *= 1.5;
    plot_add(p, "set logscale %c\nset %crange [%.6g:%.6g]\nset %ctics (", axis, axis, low, high, axis);
    const double *steps = log_steps(log10(high / low));
    bool first = true;
    for (int e = (int)floor(log10(low)); e <= (int)ceil(log10(high)); e++) {
        for (size_t i = 0; i < STEPS_MAX && steps[i] > 0; i++) {
            double at = steps[i] * pow(10, e);
            if (at < low * 0.999 || at > high * 1.001) continue;
            plot_add(p, "%s'%.6g' %.6g", first ? "" : ", ", at, at);
            first = false;
        }
    }
    plot_add(p, ")\n");
}
