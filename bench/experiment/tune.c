#include "bench/experiment/tune.h"

#include "base/mem.h"
#include "bench/experiment/cell_state.h"
#include "bench/experiment/files.h"
#include "bench/rows/score.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOT_CHOSEN UINT32_MAX

struct tuning {
    const spec *spec;
    const plan *plan;
    char *dir, *path;
    uint32_t *chosen; /* [placement x workload]: variant, or NOT_CHOSEN */
    json_t *file;     /* list of what was tried and chosen */
};

static uint32_t *chosen_at(const tuning *t, uint32_t placement, uint32_t workload) {
    return &t->chosen[placement * t->spec->workload_count + workload];
}

static status take_entry(tuning *t, const json_t *entry, errbuf *eb) {
    const char *placement = json_string_value(json_object_get(entry, "placement"));
    const char *workload = json_string_value(json_object_get(entry, "workload"));
    const char *chosen = json_string_value(json_object_get(entry, "chosen"));
    if (!placement || !workload || !chosen)
        return errf(eb, ST_INVALID, "%s: not what tuning writes: remove it to tune again", t->path);
    for (uint32_t p = 0; p < t->spec->placement_count; p++)
        for (uint32_t w = 0; w < t->spec->workload_count; w++) {
            const spec_placement *of = &t->spec->placements[p];
            if (strcmp(of->name, placement) != 0 || strcmp(t->spec->workloads[w].name, workload) != 0)
                continue;
            for (uint32_t v = 0; v < of->variant_count; v++)
                if (strcmp(of->variants[v].name, chosen) == 0) *chosen_at(t, p, w) = v;
            if (*chosen_at(t, p, w) == NOT_CHOSEN)
                return errf(eb, ST_INVALID,
                            "%s: placement %s has no variant %s any more: remove the file to tune again",
                            t->path, placement, chosen);
        }
    return ST_OK;
}

status tuning_open(tuning **out, const spec *s, const plan *p, const char *dir, errbuf *eb) {
    PRE(out);
    PRE(s);
    PRE(p);
    PRE(dir);
    tuning *t = xcalloc(1, sizeof *t);
    *t = (tuning){.spec = s, .plan = p, .dir = xstrdup(dir), .path = xasprintf("%s/tune.json", dir)};
    uint32_t pairs = s->placement_count * s->workload_count;
    t->chosen = xcalloc(pairs + 1, sizeof *t->chosen);
    for (uint32_t i = 0; i < pairs; i++) t->chosen[i] = NOT_CHOSEN;
    status st = ST_OK;
    if (files_exist(t->path)) {
        json_error_t why;
        t->file = json_load_file(t->path, 0, &why);
        if (!json_is_array(t->file))
            st = errf(eb, ST_INVALID, "%s: %s: remove it to tune again", t->path,
                      t->file ? "no list" : why.text);
    } else {
        t->file = json_array();
    }
    for (size_t i = 0; st == ST_OK && i < json_array_size(t->file); i++)
        st = take_entry(t, json_array_get(t->file, i), eb);
    if (st == ST_OK)
        *out = t;
    else
        tuning_free(t);
    return st;
}

void tuning_free(tuning *t) {
    if (!t) return;
    json_decref(t->file);
    free(t->chosen);
    free(t->dir);
    free(t->path);
    free(t);
}

const spec_variant *tuning_variant(const tuning *t, const cell *c) {
    PRE(t);
    PRE(c);
    const spec_placement *p = &t->spec->placements[c->placement];
    if (!p->variant_count) return NULL;
    uint32_t v = c->tuning ? c->variant : *chosen_at(t, c->placement, c->workload);
    return &p->variants[v == NOT_CHOSEN ? 0 : v];
}

static slo limits_of(const spec_slo *o) {
    slo s = slo_none();
    if (o->ttft > 0) s.ttft_ms = o->ttft;
    if (o->tpot > 0) s.tpot_ms = o->tpot;
    if (o->itl_p99 > 0) s.itl_p99_ms = o->itl_p99;
    if (o->itl_max > 0) s.itl_max_ms = o->itl_max;
    if (o->e2e > 0) s.e2e_ms = o->e2e;
    return s;
}

status tune_score_of(tune_score *out, const spec *s, const char *cell_dir, errbuf *eb) {
    PRE(out);
    PRE(s);
    PRE(s->slo_count > 0);
    PRE(cell_dir);
    row_list rows = {0};
    bool cut = false;
    char *path = xasprintf("%s/rows.jsonl", cell_dir);
    status st = row_file_read(&rows, path, &cut, eb);
    free(path);
    if (st == ST_OK) {
        double *attained = xcalloc(s->slo_count, sizeof *attained), one = NAN, sum = 0;
        for (uint32_t i = 0; i < s->slo_count; i++) {
            const slo limits = limits_of(&s->slos[i]);
            double a = score_of(&rows, &limits, SCORE_ALL, 1).attainment;
            attained[i] = isnan(a) ? 0 : a; /* no members: nothing was attained */
            sum += attained[i];
            if (strcmp(s->slos[i].name, s->tune.by) == 0) one = attained[i];
        }
        stats_sort(attained, s->slo_count);
        if (isnan(one)) one = stats_percentile(attained, s->slo_count, 50);
        *out = (tune_score){.by = one, .mean = sum / s->slo_count};
        free(attained);
    }
    row_list_done(&rows);
    return st;
}

static json_t *sets_json(const spec_variant *v) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < v->sets.count; i++) json_array_append_new(list, json_string(v->sets.items[i]));
    return list;
}

/* One line of what was tried; true: it has a score, in *out. */
static bool add_tried(const tuning *t, const cell *c, json_t *tried, tune_score *out) {
    const spec_variant *v = &t->spec->placements[c->placement].variants[c->variant];
    char *dir = plan_cell_dir(c, t->dir);
    cell_state state = {0};
    errbuf eb = {0};
    bool scored = cell_state_read(&state, dir, &eb) == ST_OK && state.end == CELL_DONE &&
                  tune_score_of(out, t->spec, dir, &eb) == ST_OK;
    free(dir);
    json_t *j = json_pack("{s:s, s:s, s:s, s:o}", "variant", v->name, "cell", c->name, "state",
                          cell_end_name(state.end), "set", sets_json(v));
    json_object_set_new(j, "score", scored ? json_real(out->by) : json_null());
    json_object_set_new(j, "mean_attainment", scored ? json_real(out->mean) : json_null());
    json_array_append_new(tried, j);
    return scored;
}

static status save(const tuning *t, errbuf *eb) {
    char *text = json_dumps(t->file, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    CHECK(text);
    status st = files_write(t->path, text, strlen(text), eb);
    free(text);
    return st;
}

/* Whether all cells in which variants of the placement are compared for the workload have ended. */
static bool all_ended(const tuning *t, const cell *of) {
    for (uint32_t i = 0; i < t->plan->count; i++) {
        const cell *c = &t->plan->cells[i];
        if (!c->tuning || c->placement != of->placement || c->workload != of->workload) continue;
        char *dir = plan_cell_dir(c, t->dir);
        cell_state state = {0};
        bool ended = cell_state_read(&state, dir, NULL) == ST_OK && state.end != CELL_NONE;
        free(dir);
        if (!ended) return false;
    }
    return true;
}

status tuning_choose(tuning *t, const cell *after, char *told, size_t size, errbuf *eb) {
    PRE(t);
    PRE(after);
    PRE(after->tuning);
    PRE(told);
    told[0] = 0;
    uint32_t *chosen = chosen_at(t, after->placement, after->workload);
    if (*chosen != NOT_CHOSEN || !all_ended(t, after)) return ST_OK;
    const spec_placement *p = &t->spec->placements[after->placement];
    const char *workload = t->spec->workloads[after->workload].name;
    json_t *tried = json_array();
    tune_score best = {-1, -1}, s;
    for (uint32_t i = 0; i < t->plan->count; i++) {
        const cell *c = &t->plan->cells[i];
        if (!c->tuning || c->placement != after->placement || c->workload != after->workload) continue;
        if (!add_tried(t, c, tried, &s)) continue;
        if (s.by < best.by || (s.by == best.by && s.mean <= best.mean)) continue; /* the first of equals */
        best = s;
        *chosen = c->variant;
    }
    bool scored = *chosen != NOT_CHOSEN;
    if (!scored) *chosen = 0;
    const char *name = p->variants[*chosen].name;
    json_array_append_new(t->file,
                          json_pack("{s:s, s:s, s:f, s:s, s:s, s:b, s:o}", "placement", p->name, "workload",
                                    workload, "rate", after->rate, "by", t->spec->tune.by, "chosen", name,
                                    "scored", scored, "tried", tried));
    snprintf(told, size,
             scored ? "%s for %s: %s is best (%.1f %% attained)" : "%s for %s: no variant ran, so %s it is",
             p->name, workload, name, best.by * 100);
    return save(t, eb);
}
