#include "planner/replay/compare_text.h"

#include "base/status.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *compare_number(double x, char *out, size_t size) {
    PRE(out);
    double a = fabs(x);
    if (!isfinite(x))
        snprintf(out, size, "-");
    else
        snprintf(out, size, a >= 100 ? "%.0f" : a >= 10 ? "%.1f" : a >= 1 ? "%.2f" : "%.3f", x);
    return out;
}

const char *compare_error(double error, bool points, char *out, size_t size) {
    PRE(out);
    if (!isfinite(error))
        snprintf(out, size, "-");
    else
        snprintf(out, size, points ? "%+.1f points" : "%+.1f %%", error * 100);
    return out;
}

/* ---- sentences ---- */

static void add_summary(buf *out, const char *what, const compared_summary *s, bool points) {
    const char *unit = points ? "points" : "%";
    if (s->n == 0) return;
    buf_addf(out, "  %-14s mean %5.1f %s, worst %5.1f %s", what, s->mean * 100, unit, s->worst * 100, unit);
    if (s->worst_cell) buf_addf(out, " (%s)", s->worst_cell->id);
    buf_addf(out, "; %u of %u within the measured interval\n", s->inside, s->n);
}

static void add_summaries(buf *out, const compare *c, bool below) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->cell_count; i++) n += compared_below(&c->cells[i]) == below;
    if (n == 0) return;
    buf_addf(out, "Errors of the %u %s %s %.0f %% of capacity%s:\n", n, n == 1 ? "cell" : "cells",
             below ? "below" : "at or above", COMPARE_LOAD * 100, below ? "" : ", or unstable");
    for (compared_metric m = 0; m < COMPARED_METRICS; m++) {
        compared_summary s = compare_summary(c, m, below);
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(compared_metric_text(m), ","),
                 compared_metric_text(m));
        add_summary(out, name, &s, false);
    }
    compared_summary s = compare_attainment(c, below);
    add_summary(out, "attainment", &s, true);
}

void compare_verdict(buf *out, const compare *c) {
    PRE(out);
    PRE(c);
    add_summaries(out, c, true);
    add_summaries(out, c, false);
    compared_summary s = compare_goodput(c);
    if (s.n) {
        buf_adds(out, "Goodput per device, where both have a number:\n");
        add_summary(out, "goodput", &s, false);
    }
    uint32_t same = 0, near = 0;
    for (uint32_t i = 0; i < c->winner_count; i++) {
        bool is_same = c->winners[i].predicted == c->winners[i].measured;
        same += is_same;
        near += !is_same && c->winners[i].agrees;
    }
    if (c->winner_count) {
        buf_addf(out, "The winner is the measured one in %u of %u cases", same, c->winner_count);
        if (near) buf_addf(out, ", and cannot be told apart from it in %u more", near);
        buf_adds(out, ".\n");
    }
    if (c->left_out)
        buf_addf(out, "Not compared: %u %s, not measured to the end, void, or not to be simulated.\n",
                 c->left_out, c->left_out == 1 ? "cell" : "cells");
}

/* ---- text ---- */

static void add_pair(buf *out, const compared *v) {
    char p[24], m[24], e[24];
    buf_addf(out, " %7s %7s %8s", compare_number(v->predicted, p, sizeof p),
             compare_number(v->measured, m, sizeof m), compare_error(v->error, false, e, sizeof e));
}

static void add_cells(buf *out, const compare *c) {
    static const compared_metric shown[] = {COMPARED_TTFT_P50, COMPARED_TTFT_P99, COMPARED_TPOT_P50,
                                            COMPARED_TPOT_P99};
    buf_addf(out, "%-34s %5s", "ms: predicted, measured, error", "load");
    for (size_t i = 0; i < ARRAY_LEN(shown); i++) buf_addf(out, " %24.8s", compared_metric_text(shown[i]));
    buf_adds(out, "\n");
    for (uint32_t i = 0; i < c->cell_count; i++) {
        const compared_cell *k = &c->cells[i];
        char load[16] = "-";
        if (isfinite(k->load)) snprintf(load, sizeof load, "%.0f%%", k->load * 100);
        buf_addf(out, "%-34.34s %5s", k->measured->id, load);
        for (size_t m = 0; m < ARRAY_LEN(shown); m++) add_pair(out, &k->values[shown[m]]);
        buf_adds(out, k->unstable ? "  unstable\n" : "\n");
    }
    buf_adds(out, "\n");
}

static void add_goodputs(buf *out, const compare *c) {
    for (uint32_t i = 0; i < c->goodput_count; i++) {
        const compared_goodput *g = &c->goodputs[i];
        char p[48], m[48], e[24];
        if (i == 0 || g->slo != g[-1].slo || strcmp(g->workload, g[-1].workload) != 0)
            buf_addf(out, "Goodput per device, %s, %s: predicted, measured\n", g->workload,
                     c->measured->slos[g->slo].name);
        curve_goodput_text(g->predicted, p, sizeof p);
        curve_goodput_text(g->measured, m, sizeof m);
        buf_addf(out, "  %-24s %-22s %-22s %s\n", g->placement, p, m,
                 compare_error(g->value.error, false, e, sizeof e));
    }
    for (uint32_t i = 0; i < c->winner_count; i++) {
        const compared_winner *w = &c->winners[i];
        buf_addf(out, "Winner, %s, %s: predicted %s, measured %s%s\n", w->workload,
                 c->measured->slos[w->slo].name, w->predicted->name, w->measured->name,
                 w->predicted == w->measured ? ""
                 : w->agrees                 ? " (which cannot be told apart)"
                                             : ": ANOTHER");
    }
    if (c->goodput_count) buf_adds(out, "\n");
}

void compare_text(buf *out, const compare *c, const compare_source *from) {
    PRE(out);
    PRE(c);
    PRE(from);
    buf_addf(out, "%s: predicted (%s, profile %s) beside measured\n\n", c->measured->title, from->simulator,
             from->profile_hash);
    add_cells(out, c);
    add_goodputs(out, c);
    compare_verdict(out, c);
}

/* ---- CSV ---- */

static void csv_number(buf *out, double x) {
    if (isfinite(x))
        buf_addf(out, ",%.9g", x);
    else
        buf_adds(out, ",");
}

static void csv_text(buf *out, const char *text, bool first) {
    buf_adds(out, first ? "\"" : ",\"");
    for (; *text; text++) {
        if (*text == '"') buf_adds(out, "\"");
        char one = *text == '\n' || *text == '\r' ? ' ' : *text;
        buf_add(out, &one, 1);
    }
    buf_adds(out, "\"");
}

static void csv_value(buf *out, const char *what, const compared *v) {
    csv_text(out, what, false);
    csv_number(out, v->predicted);
    csv_number(out, v->measured);
    csv_number(out, v->low);
    csv_number(out, v->high);
    csv_number(out, v->error);
    buf_adds(out, "\n");
}

static void csv_begin(buf *out, const char *id, const char *name, const char *of) {
    csv_text(out, id, true);
    csv_text(out, name, false);
    csv_text(out, of, false);
}

void compare_csv(buf *out, const compare *c) {
    PRE(out);
    PRE(c);
    buf_adds(out, "cell,placement,workload,rate,load,what,predicted,measured,low,high,error\n");
    for (uint32_t i = 0; i < c->cell_count; i++) {
        const compared_cell *k = &c->cells[i];
        for (uint32_t m = 0; m < COMPARED_METRICS + c->measured->slo_count; m++) {
            csv_begin(out, k->measured->id, k->measured->placement, k->measured->workload);
            csv_number(out, k->measured->rate);
            csv_number(out, k->load);
            char what[64];
            bool attained = m >= COMPARED_METRICS;
            uint32_t s = attained ? m - COMPARED_METRICS : 0;
            snprintf(what, sizeof what, "%s%s", attained ? "attainment " : "",
                     attained ? c->measured->slos[s].name : compared_metric_key((compared_metric)m));
            csv_value(out, what, attained ? &k->attainment[s] : &k->values[m]);
        }
    }
    for (uint32_t i = 0; i < c->goodput_count; i++) {
        const compared_goodput *g = &c->goodputs[i];
        char what[64];
        csv_begin(out, "", g->placement, g->workload);
        buf_adds(out, ",,");
        snprintf(what, sizeof what, "goodput %s", c->measured->slos[g->slo].name);
        csv_value(out, what, &g->value);
    }
}

/* ---- JSON ---- */

static json_t *number(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *text(const char *s) {
    json_t *out = s ? json_string(s) : json_null();
    return out ? out : json_string("?"); /* no UTF-8 */
}

static json_t *value_json(const compared *v) {
    return json_pack("{s:o, s:o, s:[o, o], s:o}", "predicted", number(v->predicted), "measured",
                     number(v->measured), "interval", number(v->low), number(v->high), "error",
                     number(v->error));
}

static json_t *summary_json(const compared_summary *s) {
    return json_pack("{s:o, s:o, s:o, s:i, s:i}", "mean", s->n ? number(s->mean) : json_null(), "worst",
                     s->n ? number(s->worst) : json_null(), "worst_cell",
                     text(s->worst_cell ? s->worst_cell->id : NULL), "n", (int)s->n, "inside",
                     (int)s->inside);
}

static json_t *summaries_json(const compare *c, bool below) {
    json_t *out = json_object();
    for (compared_metric m = 0; m < COMPARED_METRICS; m++) {
        compared_summary s = compare_summary(c, m, below);
        json_object_set_new(out, compared_metric_key(m), summary_json(&s));
    }
    compared_summary s = compare_attainment(c, below);
    json_object_set_new(out, "attainment", summary_json(&s));
    return out;
}

static json_t *cell_json(const compare *c, const compared_cell *k) {
    json_t *out = json_pack("{s:o, s:o, s:o, s:o, s:o, s:b}", "cell", text(k->measured->id), "placement",
                            text(k->measured->placement), "workload", text(k->measured->workload), "rate",
                            number(k->measured->rate), "load", number(k->load), "unstable", k->unstable);
    for (compared_metric m = 0; m < COMPARED_METRICS; m++)
        json_object_set_new(out, compared_metric_key(m), value_json(&k->values[m]));
    json_t *slos = json_object();
    for (uint32_t s = 0; s < c->measured->slo_count; s++)
        json_object_set_new(slos, c->measured->slos[s].name, value_json(&k->attainment[s]));
    json_object_set_new(out, "attainment", slos);
    return out;
}

static json_t *goodput_json(const compare *c, const compared_goodput *g) {
    char p[48], m[48];
    curve_goodput_text(g->predicted, p, sizeof p);
    curve_goodput_text(g->measured, m, sizeof m);
    json_t *out = value_json(&g->value);
    json_object_set_new(out, "workload", text(g->workload));
    json_object_set_new(out, "slo", text(c->measured->slos[g->slo].name));
    json_object_set_new(out, "placement", text(g->placement));
    json_object_set_new(out, "predicted_text", text(p));
    json_object_set_new(out, "measured_text", text(m));
    return out;
}

json_t *compare_json(const compare *c, const compare_source *from) {
    PRE(c);
    PRE(from);
    json_t *cells = json_array(), *goodputs = json_array(), *winners = json_array();
    for (uint32_t i = 0; i < c->cell_count; i++) json_array_append_new(cells, cell_json(c, &c->cells[i]));
    for (uint32_t i = 0; i < c->goodput_count; i++)
        json_array_append_new(goodputs, goodput_json(c, &c->goodputs[i]));
    for (uint32_t i = 0; i < c->winner_count; i++) {
        const compared_winner *w = &c->winners[i];
        json_array_append_new(winners, json_pack("{s:o, s:o, s:o, s:o, s:b}", "workload", text(w->workload),
                                                 "slo", text(c->measured->slos[w->slo].name), "predicted",
                                                 text(w->predicted->name), "measured",
                                                 text(w->measured->name), "agrees", w->agrees));
    }
    compared_summary goodput = compare_goodput(c);
    return json_pack("{s:s, s:s, s:o, s:s, s:s, s:o, s:I, s:i, s:o, s:o, s:o, s:o, s:o, s:o}", "schema",
                     "baton-replay/1", "version", BATON_VERSION, "experiment", text(c->measured->name),
                     "simulator", from->simulator, "profile_hash", from->profile_hash, "profile",
                     text(from->profile_name), "noise_seed", (json_int_t)from->noise_seed, "left_out",
                     (int)c->left_out, "below_capacity", summaries_json(c, true), "near_capacity",
                     summaries_json(c, false), "goodput_error", summary_json(&goodput), "cells", cells,
                     "goodput", goodputs, "winners", winners);
}
