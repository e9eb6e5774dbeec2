#include "bench/experiment/plan.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct making {
    const spec *spec;
    const spec_facts *facts;
    plan *plan;
} making;

static cell *add(making *m, uint32_t placement, uint32_t workload, double rate, const char *suffix) {
    const spec_placement *p = &m->spec->placements[placement];
    m->plan->cells = xrealloc(m->plan->cells, m->plan->count + 1, sizeof *m->plan->cells);
    cell *c = &m->plan->cells[m->plan->count++];
    *c = (cell){.placement = placement,
                .workload = workload,
                .rate = rate,
                .variant = PLAN_NO_VARIANT,
                .devices = m->facts[placement].devices};
    c->shown = xasprintf("%s%s", p->name, suffix);
    c->name = xasprintf("%s@%s@%g", c->shown, m->spec->workloads[workload].name, rate);
    return c;
}

static double rate_at(const making *m, uint32_t placement, uint32_t workload, uint32_t index) {
    const spec_workload *w = &m->spec->workloads[workload];
    return w->rates.count ? w->rates.items[index]
                          : w->rates_per_device.items[index] * m->facts[placement].devices;
}

static uint32_t rate_count(const spec_workload *w) {
    return w->rates.count + w->rates_per_device.count;
}

static void add_tuning(making *m, uint32_t workload) {
    const spec_workload *w = &m->spec->workloads[workload];
    for (uint32_t p = 0; p < m->spec->placement_count; p++) {
        const spec_placement *of = &m->spec->placements[p];
        double rate = w->tune_rate > 0 ? w->tune_rate : rate_at(m, p, workload, rate_count(w) / 2);
        for (uint32_t v = 0; v < of->variant_count && of->variant_count > 1; v++) {
            char *suffix = xasprintf("~%s", of->variants[v].name);
            cell *c = add(m, p, workload, rate, suffix);
            free(suffix);
            c->tuning = true;
            c->variant = v;
        }
    }
}

/* Entry i of the placements with the second copy of the A/A pair after them. */
static void add_grid(making *m, uint32_t entry, uint32_t workload, uint32_t index) {
    bool again = entry == m->spec->placement_count;
    uint32_t placement = entry;
    if (again)
        for (placement = 0; strcmp(m->spec->placements[placement].name, m->spec->aa) != 0;) placement++;
    cell *c = add(m, placement, workload, rate_at(m, placement, workload, index), again ? "-again" : "");
    c->again = again;
    c->rate_index = index;
}

void plan_make(plan *out, const spec *s, const spec_facts *facts, bool quick) {
    PRE(out);
    PRE(s);
    PRE(facts);
    *out = (plan){0};
    making m = {.spec = s, .facts = facts, .plan = out};
    uint32_t entries = s->placement_count + (s->aa[0] != 0);
    for (uint32_t w = 0; w < s->workload_count && (!quick || s->quick.tune); w++) add_tuning(&m, w);
    for (uint32_t w = 0; w < s->workload_count && strcmp(s->order, "interleaved") == 0; w++)
        for (uint32_t r = 0; r < rate_count(&s->workloads[w]); r++)
            for (uint32_t e = 0; e < entries; e++) add_grid(&m, (e + r) % entries, w, r);
    for (uint32_t e = 0; e < entries && strcmp(s->order, "interleaved") != 0; e++)
        for (uint32_t w = 0; w < s->workload_count; w++)
            for (uint32_t r = 0; r < rate_count(&s->workloads[w]); r++) add_grid(&m, e, w, r);
}

void plan_done(plan *p) {
    PRE(p);
    for (uint32_t i = 0; i < p->count; i++) {
        free(p->cells[i].name);
        free(p->cells[i].shown);
    }
    free(p->cells);
    *p = (plan){0};
}

const spec_numbers *plan_seeds(const spec *s, const cell *c) {
    PRE(s);
    PRE(c);
    return c->tuning ? &s->tune.seeds : &s->seeds;
}

double plan_measured_s(const spec *s, const cell *c) {
    PRE(s);
    PRE(c);
    double seeds = plan_seeds(s, c)->count;
    return c->tuning ? s->tune.warmup_s + seeds * s->tune.window_s : s->warmup_s + seeds * s->window_s;
}

static void flag(spec_texts *to, const char *name, const char *value) {
    if (!value) return;
    spec_texts_addf(to, "%s", name);
    spec_texts_addf(to, "%s", value);
}

static void number_flag(spec_texts *to, const char *name, double value) {
    spec_texts_addf(to, "%s", name);
    spec_texts_addf(to, "%.10g", value);
}

static void workload_flags(spec_texts *to, const spec_workload *w) {
    flag(to, "--workload", w->kind);
    flag(to, "--random-input-len", w->input_len);
    flag(to, "--random-output-len", w->output_len);
    flag(to, "--random-range-ratio", w->range_ratio);
    flag(to, "--input-cv", w->input_cv);
    flag(to, "--output-cv", w->output_cv);
    flag(to, "--input-scale", w->input_scale);
    flag(to, "--output-scale", w->output_scale);
    flag(to, "--input-min", w->input_min);
    flag(to, "--input-max", w->input_max);
    flag(to, "--output-min", w->output_min);
    flag(to, "--output-max", w->output_max);
    flag(to, "--spread", w->spread);
    flag(to, "--arrivals", w->arrivals);
    flag(to, "--burstiness", w->burstiness);
}

char *plan_cell_dir(const cell *c, const char *root) {
    PRE(c);
    PRE(root);
    return xasprintf("%s/%s/%s", root, c->tuning ? "tune" : "cells", c->name);
}

void plan_serve_args(spec_texts *out, const spec *s, const cell *c, const char *http, const char *native,
                     const char *dir) {
    PRE(out);
    PRE(s);
    PRE(c);
    PRE(http);
    PRE(native);
    PRE(dir);
    *out = (spec_texts){0};
    const spec_workload *w = &s->workloads[c->workload];
    flag(out, "--backend", s->backend);
    bool by_native = strcmp(s->backend, "baton") == 0;
    flag(out, "--base-url", by_native ? native : http);
    if (by_native) flag(out, "--metrics-url", http);
    workload_flags(out, w);
    number_flag(out, "--request-rate", c->rate);
    buf seeds = {0};
    const spec_numbers *list = plan_seeds(s, c);
    for (uint32_t i = 0; i < list->count; i++) buf_addf(&seeds, "%s%.0f", i ? "," : "", list->items[i]);
    flag(out, "--seeds", seeds.data);
    buf_done(&seeds);
    number_flag(out, "--warmup", c->tuning ? s->tune.warmup_s : s->warmup_s);
    number_flag(out, "--window", c->tuning ? s->tune.window_s : s->window_s);
    number_flag(out, "--request-timeout", s->request_timeout_s);
    flag(out, "--name", c->name);
    flag(out, "--out", dir);
    for (uint32_t i = 0; i < w->args.count; i++) spec_texts_addf(out, "%s", w->args.items[i]);
}
