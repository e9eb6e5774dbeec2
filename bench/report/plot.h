/* plot - one figure: a gnuplot script with its data in it, and the SVG that gnuplot makes of it.
 *
 * Panels and the legend are placed in pixels by the caller, so that nothing depends on what gnuplot believes
 * about fonts. Figures are white cards with dark text in either colour scheme. Colours are Okabe's and Ito's;
 * every placement has its shape and its dashes besides. Text is never "enhanced": names may have any
 * character. */
#ifndef BATON_REPORT_PLOT_H
#define BATON_REPORT_PLOT_H

#include "base/mem.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

#define PLOT_WIDTH 960

typedef struct plot_entry {
    char *text; /* owned */
    const char *colour;
    int dash, point; /* 0, -1 = none */
    bool box;
    int x, y; /* px */
} plot_entry;

typedef struct plot {
    char *id;           /* file name without ".svg", and the prefix of the ids inside; owned */
    char *title;        /* what it shows, for those who cannot see it; owned */
    buf script;         /* owned */
    int height;         /* px; set before the first panel */
    int panels;         /* drawn so far */
    plot_entry *legend; /* [legend_count]; owned */
    uint32_t legend_count;
    int legend_x, legend_rows;
    buf svg; /* after plot_run; owned */
} plot;

/* id: of letters, digits and '-'; anything else becomes '-'. */
void plot_init(plot *p, const char *id, const char *title);
void plot_done(plot *p);
/* Appends to the script. */
void plot_add(plot *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Appends 'text' as gnuplot quotes it. */
void plot_quote(plot *p, const char *text);

/* One entry of the legend on top: a line (dash > 0) and/or a shape (point >= 0) in a colour, and its text.
 * Entries wrap. Before the first panel. */
void plot_legend(plot *p, const char *text, const char *colour, int dash, int point);
/* A filled box instead */
void plot_legend_box(plot *p, const char *text, const char *colour);
/* Height of the legend so far, px */
int plot_legend_height(const plot *p);
/* Starts a panel whose axes stand at these pixels, from the left and from the top; everything of the panel
 * before it is unset. title may be NULL. The caller adds labels of axes, ranges and the plot command. */
void plot_panel(plot *p, int left, int top, int right, int bottom, const char *title);

/* Colour, filled and hollow shape, and dash type of a placement's style */
const char *plot_colour(uint32_t style);
int plot_shape(uint32_t style, bool hollow);
int plot_dash(uint32_t style);
/* Of what is not a placement: 0..4 */
const char *plot_stage_colour(uint32_t i);

/* Runs gnuplot; the SVG lies in p->svg and, if folder is given, in FOLDER/ID.svg. ST_UNSUPPORTED: there is no
 * gnuplot, with the remedy; ST_IO: it failed, with its words; ST_TIMEOUT. */
status plot_run(plot *p, const char *folder, errbuf *eb);

#endif
