/* chart - what several figures share: the placements' legend, numbers of data, and where panels stand. */
#ifndef BATON_REPORT_CHART_H
#define BATON_REPORT_CHART_H

#include "bench/report/plot.h"
#include "bench/report/results.h"

/* Starts a figure of a workload: "fig2-attainment-WORKLOAD". */
void chart_init(plot *p, const char *kind, const char *workload, const char *title);
/* One entry per placement that has a cell of the workload; lines with or without dashes of their own. */
void chart_legend(plot *p, const results *r, const char *workload, bool dashes, bool points);
/* "chunked", and of a cell on which nothing is built "chunked (void)" or "chunked (not settled)". Caller
 * frees with free. */
char *chart_cell_name(const cell *c);
/* " 1.25", or " NaN" where there is no number */
void chart_number(plot *p, double value);
/* Sets the figure's height for so many panels of this height in columns, behind the legend. */
typedef struct chart_grid {
    int columns, panel_height, top; /* px */
} chart_grid;
chart_grid chart_panels(plot *p, int panels, int columns, int panel_height);
/* Starts panel i of it. */
void chart_panel(plot *p, const chart_grid *g, int i, const char *title);
/* Width of the longest of these names as a margin for labels on the left, px; cut to a third of the figure */
int chart_margin(int longest);
/* Sets the label of an axis ('x' or 'y'). */
void chart_label(plot *p, char axis, const char *text);
/* Whether the placement has a cell of the workload, and is shown in figures */
bool chart_shows(const results *r, const placement *p, const char *workload);
/* Widens [*low, *high] to a finite, positive value. */
void chart_widen(double *low, double *high, double value);
/* Sets a logarithmic axis from low to high with tics that are labelled "10", "20", "50", "100", ... */
void chart_log_axis(plot *p, char axis, double low, double high);

#endif
