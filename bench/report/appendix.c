#include "bench/report/appendix.h"

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

static void busy_field(doc *d, const facts *f) {
    buf text = {0};
    for (uint32_t i = 0; i < f->worker_count; i++) {
        double busy = worker_busy_share(&f->workers[i]);
        if (!isnan(busy))
            buf_addf(&text, "%s%s %.0f %%", text.len ? ", " : "", f->workers[i].name, 100 * busy);
    }
    doc_field(d, false);
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
    doc_field(d, false);
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
    char text[64];
    doc_row(d, c->id);
    doc_field(d, false);
    doc_text(d, c->workload);
    doc_field(d, false);
    doc_text(d, c->placement);
    number_field(d, "%.4g", c->rate);
    number_field(d, "%.0f", c->devices);
    state_field(d, c);
    doc_field(d, true);
    snprintf(text, sizeof text, "%u", c->seed_count);
    doc_text(d, text);
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
    doc_table(d, heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < r->cell_count; i++) cell_line(d, &r->cells[i]);
    doc_table_end(d);
}

status appendix_fill(doc *d, const goodput_table *t, errbuf *eb) {
    PRE(d);
    PRE(t);
    (void)eb;
    doc_heading(d, 2, "Appendix");
    cells(d, t->results);
    return ST_OK;
}
