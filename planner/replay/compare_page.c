#include "planner/replay/compare_page.h"

#include "planner/replay/fig_predicted.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void number_field(doc *d, double x, double low, double high) {
    char text[80], a[24], b[24], c[24];
    compare_number(x, a, sizeof a);
    doc_field(d, true);
    if (isfinite(low) && isfinite(high))
        snprintf(text, sizeof text, "%s (%s to %s)", a, compare_number(fmax(low, 0), b, sizeof b),
                 compare_number(high, c, sizeof c));
    else
        snprintf(text, sizeof text, "%s", a);
    doc_text(d, text);
}

static void value_fields(doc *d, const compared *v, bool points) {
    char text[32];
    double scale = points ? 100 : 1;
    number_field(d, v->predicted * scale, NAN, NAN);
    number_field(d, v->measured * scale, v->low * scale, v->high * scale);
    doc_field(d, true);
    doc_text(d, compare_error(v->error, points, text, sizeof text));
}

static void name_fields(doc *d, const compared_cell *k) {
    char text[32];
    doc_row(d, NULL);
    doc_field(d, false);
    doc_text(d, k->measured->id);
    doc_field(d, true);
    snprintf(text, sizeof text, "%.0f %%%s", k->load * 100, k->unstable ? ", unstable" : "");
    doc_text(d, isfinite(k->load) ? text : "-");
}

static void metric_table(doc *d, const compare *c, compared_metric m) {
    const char *heads[] = {"cell", "of capacity", "predicted", "measured (95 % interval)", "error"};
    doc_heading(d, 3, compared_metric_text(m));
    doc_table(d, heads, ARRAY_LEN(heads));
    for (uint32_t i = 0; i < c->cell_count; i++) {
        name_fields(d, &c->cells[i]);
        value_fields(d, &c->cells[i].values[m], false);
        doc_row_end(d);
    }
    doc_table_end(d);
}

static void attainment_table(doc *d, const compare *c, uint32_t limits) {
    const char *heads[] = {"cell", "of capacity", "predicted, %", "measured, % (95 % interval)", "error"};
    char *title = xasprintf("Attainment of %s", c->measured->slos[limits].name);
    doc_heading(d, 3, title);
    free(title);
    doc_table(d, heads, ARRAY_LEN(heads));
    for (uint32_t i = 0; i < c->cell_count; i++) {
        name_fields(d, &c->cells[i]);
        value_fields(d, &c->cells[i].attainment[limits], true);
        doc_row_end(d);
    }
    doc_table_end(d);
}

static void text_field(doc *d, const char *text) {
    doc_field(d, false);
    doc_text(d, text);
}

static void goodput_tables(doc *d, const compare *c) {
    const char *heads[] = {
        "workload", "SLO", "placement", "predicted", "measured", "error", "measured (95 % interval)"};
    doc_heading(d, 2, "Goodput per device");
    doc_table(d, heads, ARRAY_LEN(heads));
    for (uint32_t i = 0; i < c->goodput_count; i++) {
        const compared_goodput *g = &c->goodputs[i];
        char p[48], m[48], e[32];
        curve_goodput_text(g->predicted, p, sizeof p);
        curve_goodput_text(g->measured, m, sizeof m);
        doc_row(d, NULL);
        text_field(d, g->workload);
        text_field(d, c->measured->slos[g->slo].name);
        text_field(d, g->placement);
        text_field(d, p);
        text_field(d, m);
        text_field(d, compare_error(g->value.error, false, e, sizeof e));
        number_field(d, g->value.measured, g->value.low, g->value.high);
        doc_row_end(d);
    }
    doc_table_end(d);
    const char *names[] = {"workload", "SLO", "predicted to win", "measured to win", "agree"};
    doc_heading(d, 2, "Winners");
    doc_table(d, names, ARRAY_LEN(names));
    for (uint32_t i = 0; i < c->winner_count; i++) {
        const compared_winner *w = &c->winners[i];
        doc_row(d, NULL);
        text_field(d, w->workload);
        text_field(d, c->measured->slos[w->slo].name);
        text_field(d, w->predicted->name);
        text_field(d, w->measured->name);
        text_field(d, w->predicted == w->measured ? "yes" : w->agrees ? "not told apart" : "no");
        doc_row_end(d);
    }
    doc_table_end(d);
}

status compare_page(doc *d, const compare *c, const compare_source *from, errbuf *eb) {
    PRE(d);
    PRE(c);
    PRE(from);
    buf text = {0};
    compare_verdict(&text, c);
    doc_heading(d, 1, "Predicted beside measured");
    doc_code(d, text.len ? text.data : "nothing to compare");
    buf_done(&text);
    status st = fig_predicted(d, c, eb);
    if (st != ST_OK) return st;
    goodput_tables(d, c);
    doc_heading(d, 2, "Cells");
    for (compared_metric m = 0; m < COMPARED_METRICS; m++) metric_table(d, c, m);
    for (uint32_t s = 0; s < c->measured->slo_count; s++) attainment_table(d, c, s);
    char *made = xasprintf("baton-plan " BATON_VERSION ", simulator %s, profile %s (%s), noise seed %" PRIu64
                           ". Predicted cells got the requests of the measured ones at the same times; they "
                           "lie beside this page as an experiment of their own.",
                           from->simulator, from->profile_hash, from->profile_name ? from->profile_name : "-",
                           from->noise_seed);
    doc_note(d, made);
    free(made);
    return ST_OK;
}
