/* doc - the report being written: the same headings, paragraphs, tables and figures as an HTML page and as
 * Markdown with SVG files beside it.
 *
 * The page is one file without outside resources. A number's link goes to its cell's line in the appendix. */
#ifndef BATON_REPORT_DOC_H
#define BATON_REPORT_DOC_H

#include "bench/report/plot.h"

typedef struct doc {
    buf html, md;  /* bodies; owned */
    char *title;   /* owned */
    char *figures; /* folder of the Markdown and its figures; owned */
    bool in_field;
    char *anchor;   /* of a line whose first field is still to come; NULL = none; owned */
    bool page_only; /* nothing goes to the Markdown */
} doc;

void doc_init(doc *d, const char *title, const char *figures);
void doc_done(doc *d);

void doc_heading(doc *d, int level, const char *text);
/* Plain text; whatever it has is escaped. */
void doc_paragraph(doc *d, const char *text);
/* Smaller: what is good to know */
void doc_note(doc *d, const char *text);
/* Lines as they stand */
void doc_code(doc *d, const char *text);
/* A sentence that must not be missed */
void doc_verdict(doc *d, const char *what, const char *text);
/* What follows can be folded away. */
void doc_fold(doc *d, const char *summary);
void doc_fold_end(doc *d);

void doc_table(doc *d, const char *const *heads, uint32_t columns);
/* Starts a line; anchor: its cell's id, or NULL. */
void doc_row(doc *d, const char *anchor);
/* Starts the next field; numbers stand to the right. */
void doc_field(doc *d, bool number);
/* For sentences: it is not made narrow for the other columns' sake */
void doc_wide_field(doc *d);
/* Within the field */
void doc_text(doc *d, const char *text);
/* With a link to a cell; cell = NULL: none */
void doc_link(doc *d, const char *text, const char *cell);
/* With a link to a figure of the page; the Markdown has the text alone */
void doc_link_figure(doc *d, const char *text, const char *figure);
void doc_row_end(doc *d);
void doc_table_end(doc *d);

/* Runs the plot, takes its picture, and frees p. Errors as plot_run's. */
status doc_figure(doc *d, plot *p, const char *caption, errbuf *eb);
/* Of one cell: the caption links to it. */
status doc_cell_figure(doc *d, plot *p, const char *caption, const char *cell, errbuf *eb);

/* Writes the page to `path` and report.md into the folder of figures. ST_IO */
status doc_write(const doc *d, const char *path, errbuf *eb);

#endif
