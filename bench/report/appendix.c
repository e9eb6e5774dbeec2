#include "bench/report/appendix.h"

#include "bench/report/fig_strip.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void number_field(doc *d, const char *fmt, double value) __attribute__((format(printf, 2, 0)));
static void number_field(doc *d, const char *fmt, double value) {
    char text[64];
    if (isnan(value))
        snprintf(text, sizeof text, "-");
    else
        snprintf(text, sizeof text, fmt, value);
    doc_field(d, true);
    doc_text(d, text);
}

static void linked_number(doc *d, const char *fmt, double value, const cell *c)
    __attribute__((format(printf, 2, 0)));
static void linked_number(doc *d, const char *fmt, double value, const cell *c) {
    char text[64];
    snprintf(text, sizeof text, fmt, value);
    doc_field(d, true);
    doc_link(d, isnan(value) ? "-" : text, c->id);
}

/* ---- all cells ---- */

#define NAMED_MAX 8u /* workers; more of them are told by role */

/* "prefill 32 x 97 % (91 to 99)" */
static void busy_of_roles(const facts *f, buf *text) {
    for (uint32_t i = 0, n; i < f->worker_count; i += n) { /* names are in order, so roles stand together */
        double sum = 0, low = INFINITY, high = 0;
        for (n = 0; i + n < f->worker_count && strcmp(f->workers[i + n].role, f->workers[i].role) == 0; n++) {
            double busy = 100 * worker_busy_share(&f->workers[i + n]);
            sum += busy;
            low = fmin(low, busy);
            high = fmax(high, busy);
        }
        buf_addf(text, "%s%u %s ", text->len ? ", " : "", n, f->workers[i].role);
        if (isnan(sum))
            buf_adds(text, "unknown");
        else
            buf_addf(text, "%.0f %% (%.0f to %.0f)", sum / n, low, high);
    }
}

static void busy_field(doc *d, const facts *f) {
    buf text = {0};
    for (uint32_t i = 0; i < f->worker_count && f->worker_count <= NAMED_MAX; i++) {
        double busy = worker_busy_share(&f->workers[i]);
        if (!isnan(busy))
            buf_addf(&text, "%s%s %.0f %%", text.len ? ", " : "", f->workers[i].name, 100 * busy);
    }
    if (f->worker_count > NAMED_MAX) busy_of_roles(f, &text);
    doc_wide_field(d);
    doc_text(d, text.len ? text.data : "-");
    buf_done(&text);
}

static void pages_field(doc *d, const facts *f) {
    double most = NAN;
    for (uint32_t i = 0; i < f->worker_count; i++) {
        double share = f->workers[i].pages_used_max / f->workers[i].pages_total;
        if (!isnan(share) && !(share <= most)) most = share;
    }
    number_field(d, "%.0f %%", 100 * most);
}

static void state_field(doc *d, const cell *c) {
    doc_wide_field(d);
    doc_text(d, cell_state_text(c->state));
    if (c->facts.unstable) doc_text(d, ", unstable");
    if (c->facts.drift) doc_text(d, ", drift");
    if (c->facts.present && !c->facts.steady_reached) doc_text(d, ", steady state not reached");
    if (c->facts.interrupted) doc_text(d, ", interrupted");
    if (c->cut) doc_text(d, ", last row cut");
    if (c->reason[0]) {
        doc_text(d, ": ");
        doc_text(d, c->reason);
    }
}

static void cell_line(doc *d, const cell *c) {
    doc_row(d, c->id);
    doc_field(d, false);
    doc_text(d, c->workload);
    doc_field(d, false);
    doc_text(d, c->placement);
    if (c->variant[0] && !c->tuning) {
        doc_text(d, ", ");
        doc_text(d, c->variant);
    }
    char *strip = fig_strip_id(c), text[32];
    snprintf(text, sizeof text, isnan(c->rate) ? "-" : "%.4g", c->rate);
    doc_field(d, true);
    if (c->row_count)
        doc_link_figure(d, text, strip);
    else
        doc_text(d, text);
    free(strip);
    number_field(d, "%.0f", c->devices);
    state_field(d, c);
    number_field(d, "%.0f", c->seed_count);
    number_field(d, "%.0f", (double)c->member_count);
    number_field(d, "%.0f", (double)(c->member_count - c->e2e.n));
    number_field(d, "%.1f", c->ttft.p99);
    number_field(d, "%.1f", c->tpot.p99);
    number_field(d, "%.1f", c->itl.p99);
    number_field(d, "%.2f", c->facts.lateness_p99_ms);
    number_field(d, "%.0f %%", 100 * c->facts.client_cpu_share);
    busy_field(d, &c->facts);
    number_field(d, "%.0f", c->facts.preemptions);
    pages_field(d, &c->facts);
    doc_row_end(d);
}

static void cells(doc *d, const results *r) {
    static const char *const heads[] = {"workload",      "placement",    "requests/s",  "devices",
                                        "state",         "seeds",        "requests",    "not as asked",
                                        "P99 TTFT, ms",  "P99 TPOT, ms", "P99 ITL, ms", "P99 lateness, ms",
                                        "client's core", "busy workers", "preemptions", "most KV pages"};
    doc_heading(d, 3, "All cells");
    doc_note(d, "Every number above links to its line here; the rate links to the run's strip (figure 8). "
                "Busy: share of "
                "the windows in which a worker ran a step.");
    doc_table(d, heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < r->cell_count; i++) cell_line(d, &r->cells[i]);
    doc_table_end(d);
}

/* ---- the A/A pair ---- */

static double attainment_percent(const cell *c, const slo *s) {
    uint32_t good = 0;
    for (size_t i = 0; i < c->row_count; i++)
        good += c->rows[i].phase == ROW_WINDOW && cell_row_good(s, &c->rows[i]);
    return c->member_count ? 100.0 * good / (double)c->member_count : NAN;
}

static void pair_line(doc *d, const cell *a, const cell *b, const slo *s) {
    double mean[] = {attainment_percent(a, s), attainment_percent(b, s)};
    doc_row(d, NULL);
    doc_field(d, false);
    doc_text(d, a->workload);
    doc_field(d, false);
    doc_text(d, s->name);
    linked_number(d, "%.4g", cell_rate_per_device(a), a);
    linked_number(d, "%.1f", mean[0], a);
    linked_number(d, "%.1f", mean[1], b);
    linked_number(d, "%+.1f", mean[1] - mean[0], b);
    linked_number(d, "%+.1f %%", 100 * (b->ttft.p50 / a->ttft.p50 - 1), b);
    linked_number(d, "%+.1f %%", 100 * (b->tpot.p50 / a->tpot.p50 - 1), b);
    doc_row_end(d);
}

static void pair_goodput(doc *d, const goodput_table *t, uint32_t first, uint32_t again) {
    const results *r = t->results;
    static const char *const heads[] = {"workload", "SLO", "goodput per device", "again", "ratio"};
    doc_table(d, heads, ARRAY_LEN(heads));
    for (uint32_t w = 0; w < r->workload_count; w++) {
        for (uint32_t s = 0; s < r->slo_count; s++) {
            const curve *a = &goodput_table_at(t, w, s, first)->curve,
                        *b = &goodput_table_at(t, w, s, again)->curve;
            char text[96];
            doc_row(d, NULL);
            doc_field(d, false);
            doc_text(d, r->workloads[w]);
            doc_field(d, false);
            doc_text(d, r->slos[s].name);
            const curve *both[] = {a, b};
            for (int i = 0; i < 2; i++) {
                curve_goodput_text(both[i], text, sizeof text);
                doc_field(d, true);
                doc_link(d, text, both[i]->point_count ? both[i]->points[0].cell->id : NULL);
            }
            ratio q = curve_ratio(b, a, t->seed_count[w], BOOTSTRAP_RESAMPLES);
            ratio_text(&q, text, sizeof text);
            doc_field(d, true);
            doc_link(d, text, b->point_count ? b->points[0].cell->id : NULL);
            doc_row_end(d);
        }
    }
    doc_table_end(d);
}

static void pair(doc *d, const goodput_table *t, uint32_t first, uint32_t again) {
    const results *r = t->results;
    char text[256];
    snprintf(text, sizeof text,
             "%s was run a second time with the same requests. What differs between the two is noise: a "
             "difference between "
             "placements that is not larger says nothing.",
             r->placements[first].name);
    doc_paragraph(d, text);
    pair_goodput(d, t, first, again);
    static const char *const heads[] = {"workload",      "SLO",        "requests/s per device",
                                        "attainment, %", "again, %",   "difference, points",
                                        "median TTFT",   "median TPOT"};
    doc_fold(d, "The pair, cell by cell");
    doc_table(d, heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < r->cell_count; i++) {
        const cell *a = &r->cells[i];
        if (strcmp(a->placement, r->placements[first].name) != 0) continue;
        const cell *b = results_find(r, r->placements[again].name, a->workload, cell_rate_per_device(a));
        for (uint32_t s = 0; b && s < r->slo_count; s++) pair_line(d, a, b, &r->slos[s]);
    }
    doc_table_end(d);
    doc_fold_end(d);
}

static void pairs(doc *d, const goodput_table *t) {
    const results *r = t->results;
    bool some = false;
    doc_heading(d, 3, "A/A: the same placement twice");
    for (uint32_t again = 0; again < r->placement_count; again++) {
        for (uint32_t first = 0; r->placements[again].again_of && first < r->placement_count; first++) {
            if (strcmp(r->placements[first].name, r->placements[again].again_of) != 0) continue;
            pair(d, t, first, again);
            some = true;
        }
    }
    if (!some) doc_note(d, "No placement was run twice: how much two equal runs differ is not known.");
}

/* ---- what was run ---- */

/* "a, b": a list of texts or numbers */
static void list_text(const json_t *list, buf *out) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        buf_adds(out, i ? ", " : "");
        if (json_is_string(v))
            buf_adds(out, json_string_value(v));
        else
            buf_addf(out, "%g", json_number_value(v));
    }
}

static void list_field(doc *d, const json_t *list) {
    buf text = {0};
    list_text(list, &text);
    doc_field(d, false);
    doc_text(d, text.len ? text.data : "-");
    buf_done(&text);
}

static void text_field(doc *d, const json_t *o, const char *key) {
    char text[256];
    json_text(o, key, text, sizeof text);
    doc_field(d, false);
    doc_text(d, text[0] ? text : "-");
}

static void placements(doc *d, const results *r) {
    static const char *const heads[] = {"placement", "what it is", "devices", "baseline", "settings"};
    const json_t *all = json_object_get(r->spec, "placements");
    doc_table(d, heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *o = json_array_get(all, i);
        doc_row(d, NULL);
        text_field(d, o, "name");
        text_field(d, o, "words");
        number_field(d, "%.0f", json_num(o, "devices", NAN));
        doc_field(d, false);
        doc_text(d, json_flag(o, "baseline", false) ? "yes" : "no");
        list_field(d, json_object_get(o, "set"));
        doc_row_end(d);
    }
    doc_table_end(d);
}

static void workloads(doc *d, const results *r) {
    static const char *const heads[] = {"workload", "parameters", "rates, requests/s"};
    const json_t *all = json_object_get(r->spec, "workloads");
    doc_table(d, heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *o = json_array_get(all, i);
        const char *key;
        json_t *v;
        buf text = {0};
        json_object_foreach(json_object_get(o, "parameters"), key, v) {
            const char *value = json_string_value(v);
            if (value) buf_addf(&text, "%s%s %s", text.len ? ", " : "", key, value);
        }
        doc_row(d, NULL);
        text_field(d, o, "name");
        doc_field(d, false);
        doc_text(d, text.len ? text.data : "-");
        list_field(d, json_object_get(o, "rates"));
        if (json_flag(o, "per_device", false)) doc_text(d, " per device");
        doc_row_end(d);
        buf_done(&text);
    }
    doc_table_end(d);
}

static void setup(doc *d, const results *r) {
    doc_heading(d, 3, "What was run");
    if (!r->spec) {
        doc_note(d, "There is no experiment.json.");
        return;
    }
    buf text = {0}, seeds = {0};
    list_text(json_object_get(r->spec, "seeds"), &seeds);
    double warmup = json_num(r->spec, "warmup_s", NAN), window = json_num(r->spec, "window_s", NAN);
    if (!isnan(warmup) && !isnan(window))
        buf_addf(
            &text,
            "Each cell: %g s of warm-up, then a window of %g s for each of the seeds %s; windows follow each "
            "other under load that never stops, so that they are nearly, not strictly independent. Every "
            "placement gets the same requests.%s",
            warmup, window, seeds.len ? seeds.data : "-",
            json_flag(r->spec, "quick", false)
                ? " This is a quick run: fewer rates and seeds, shorter windows."
                : "");
    if (text.len) doc_paragraph(d, text.data);
    buf_done(&text);
    buf_done(&seeds);
    placements(d, r);
    workloads(d, r);
}

/* ---- tuning ---- */

/* What tune.json says of a cell that was tried; NULL = nothing. */
static const json_t *tried(const results *r, const cell *c, bool *chosen) {
    *chosen = false;
    for (size_t i = 0; i < json_array_size(r->tune); i++) {
        const json_t *choice = json_array_get(r->tune, i), *all = json_object_get(choice, "tried");
        for (size_t k = 0; k < json_array_size(all); k++) {
            const json_t *one = json_array_get(all, k);
            char id[256], variant[96], best[96];
            json_text(one, "cell", id, sizeof id);
            if (strcmp(id, c->id) != 0) continue;
            json_text(one, "variant", variant, sizeof variant);
            json_text(choice, "chosen", best, sizeof best);
            *chosen = best[0] && strcmp(best, variant) == 0;
            return one;
        }
    }
    return NULL;
}

static void tuning_line(doc *d, const results *r, const cell *c) {
    bool chosen;
    const json_t *of = tried(r, c, &chosen);
    doc_row(d, NULL);
    doc_field(d, false);
    doc_text(d, c->workload);
    doc_field(d, false);
    doc_text(d, c->placement);
    list_field(d, json_object_get(of, "set"));
    linked_number(d, "%.4g", c->rate, c);
    doc_field(d, false);
    doc_text(d, chosen ? "chosen" : cell_state_text(c->state));
    for (uint32_t s = 0; s < r->slo_count; s++)
        linked_number(d, "%.1f", attainment_percent(c, &r->slos[s]), c);
    doc_row_end(d);
}

static void tuning(doc *d, const results *r) {
    bool some = false;
    for (size_t i = 0; i < r->cell_count; i++) some |= r->cells[i].tuning;
    doc_heading(d, 3, "Tuning: the variants that were tried");
    if (!some) {
        doc_note(d, "No variants were compared.");
        return;
    }
    const char *heads[5 + RESULTS_SLOS_MAX] = {"workload", "placement and variant", "settings", "requests/s",
                                               "state"};
    for (uint32_t s = 0; s < r->slo_count; s++) heads[5 + s] = r->slos[s].name;
    doc_paragraph(d, "Attainment in percent per SLO. Variants were compared with seeds of their own; the "
                     "best per placement "
                     "and workload was used for the grid.");
    doc_table(d, heads, 5 + r->slo_count);
    for (size_t i = 0; i < r->cell_count; i++) {
        if (r->cells[i].tuning) tuning_line(d, r, &r->cells[i]);
    }
    doc_table_end(d);
}

/* ---- machine ---- */

static void machine_lines(doc *d, const char *prefix, const json_t *o) {
    const char *key;
    json_t *v; /* json_object_foreach takes the object unconst */
    json_object_foreach((json_t *)(uintptr_t)o, key, v) {
        char *name = xasprintf("%s%s", prefix, key);
        if (json_is_object(v)) {
            char *deeper = xasprintf("%s.", name);
            machine_lines(d, deeper, v);
            free(deeper);
        } else {
            char *text = json_is_string(v) ? xstrdup(json_string_value(v))
                                           : json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(5));
            doc_row(d, NULL);
            doc_field(d, false);
            doc_text(d, name);
            doc_field(d, false);
            doc_text(d, text ? text : "-");
            doc_row_end(d);
            free(text);
        }
        free(name);
    }
}

static void machine(doc *d, const results *r) {
    static const char *const heads[] = {"of the machine", "value"};
    doc_heading(d, 3, "Machine");
    if (!json_is_object(r->machine)) {
        doc_note(d, "There is no machine.json.");
        return;
    }
    doc_table(d, heads, ARRAY_LEN(heads));
    machine_lines(d, "", r->machine);
    doc_table_end(d);
}

void appendix_fill(doc *d, const goodput_table *t) {
    PRE(d);
    PRE(t);
    const results *r = t->results;
    doc_heading(d, 2, "Appendix");
    setup(d, r);
    pairs(d, t);
    tuning(d, r);
    cells(d, r);
    machine(d, r);
    if (r->notes.len) {
        doc_heading(d, 3, "Notes");
        doc_code(d, r->notes.data);
    }
}
