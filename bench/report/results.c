#include "bench/report/results.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TARGET          0.9
#define SAME_RATE(a, b) (fabs((a) - (b)) <= 0.01 * fmax(fabs(a), fabs(b)) || (a) == (b))

/* ---- the experiment's file ---- */

static void add_slo(results *r, const slo *s) {
    if (r->slo_count == RESULTS_SLOS_MAX) {
        buf_addf(&r->notes, "only the first %u SLOs are shown\n", RESULTS_SLOS_MAX);
        return;
    }
    slo *out = &r->slos[r->slo_count++];
    *out = *s;
    if (!out->name[0]) slo_describe(s, out->name, sizeof out->name);
}

static void take_slos(results *r, const json_t *list) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        slo s = slo_none();
        json_text(o, "name", s.name, sizeof s.name);
        s.ttft_ms = json_num(o, "ttft_ms", INFINITY);
        s.tpot_ms = json_num(o, "tpot_ms", INFINITY);
        s.itl_p99_ms = json_num(o, "itl_p99_ms", INFINITY);
        s.itl_max_ms = json_num(o, "itl_max_ms", INFINITY);
        s.e2e_ms = json_num(o, "e2e_ms", INFINITY);
        add_slo(r, &s);
    }
}

static void take_text(char **out, const json_t *o, const char *key) {
    char text[512];
    json_text(o, key, text, sizeof text);
    if (!text[0]) return;
    free(*out);
    *out = xstrdup(text);
}

static status read_spec(results *r, errbuf *eb) {
    char *path = xasprintf("%s/experiment.json", r->dir);
    status st = json_file(&r->spec, path, eb);
    free(path);
    if (st == ST_IO) {
        buf_adds(&r->notes,
                 "there is no experiment.json: placements stand in alphabetical order, and cells that "
                 "were not run are not known\n");
        return ST_OK;
    }
    if (st != ST_OK) return st;
    take_text(&r->name, r->spec, "name");
    take_text(&r->title, r->spec, "name");
    take_text(&r->title, r->spec, "title");
    double target = json_num(r->spec, "target", 100 * TARGET);
    r->target = target > 1 ? target / 100 : target;
    if (!(r->target > 0 && r->target <= 1)) r->target = TARGET;
    if (r->slo_count == 0) take_slos(r, json_object_get(r->spec, "slos"));
    return ST_OK;
}

/* Its place in the experiment's list of placements or workloads; behind all others when it is not there. */
static size_t place_in(const results *r, const char *list, const char *name) {
    const json_t *all = json_object_get(r->spec, list);
    size_t n = json_array_size(all);
    for (size_t i = 0; i < n; i++) {
        const char *is = json_string_value(json_object_get(json_array_get(all, i), "name"));
        if (is && strcmp(is, name) == 0) return i;
    }
    return n;
}

/* ---- cells ---- */

static int compare_cells(const void *a, const void *b, void *ctx) {
    const cell *x = a, *y = b;
    const results *r = ctx;
    size_t px = place_in(r, "workloads", x->workload), py = place_in(r, "workloads", y->workload);
    if (px != py) return px < py ? -1 : 1;
    int order = strcmp(x->workload, y->workload);
    if (order) return order;
    px = place_in(r, "placements", x->placement), py = place_in(r, "placements", y->placement);
    if (px != py) return px < py ? -1 : 1;
    order = strcmp(x->placement, y->placement);
    if (order) return order;
    if (x->rate != y->rate) return x->rate < y->rate ? -1 : 1;
    return strcmp(x->id, y->id);
}

/* Those that the experiment would run and has no folder for. */
static void add_missing(results *r) {
    const json_t *names = json_object_get(r->spec, "cells");
    size_t there = r->cell_count;
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *id = json_string_value(json_array_get(names, i));
        bool found = !id;
        for (size_t k = 0; k < there && !found; k++) found = strcmp(r->cells[k].id, id) == 0;
        if (found) continue;
        r->cells = xrealloc(r->cells, r->cell_count + 1, sizeof *r->cells);
        cell_missing(&r->cells[r->cell_count++], id);
    }
}

static bool read_folder(results *r, const char *path, bool rejudge) {
    DIR *d = opendir(path);
    if (!d) return false;
    for (const struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        r->cells = xrealloc(r->cells, r->cell_count + 1, sizeof *r->cells);
        char *folder = xasprintf("%s/%s", path, e->d_name);
        cell_read(&r->cells[r->cell_count++], folder, e->d_name, rejudge);
        free(folder);
    }
    closedir(d);
    return true;
}

static status read_cells(results *r, bool rejudge, errbuf *eb) {
    char *path = xasprintf("%s/cells", r->dir), *tune = xasprintf("%s/tune", r->dir);
    status st = ST_OK;
    if (!read_folder(r, path, rejudge) && !r->spec)
        st = errf(eb, ST_IO, "%s: %s: want an experiment's directory, as baton-bench experiment makes it",
                  path, strerror(errno));
    if (st == ST_OK) {
        (void)read_folder(r, tune, rejudge); /* there is none where nothing is tuned */
        add_missing(r);
        if (r->cell_count == 0) st = errf(eb, ST_IO, "%s: there is no cell in it", path);
    }
    free(path);
    free(tune);
    if (r->cell_count) qsort_r(r->cells, r->cell_count, sizeof *r->cells, compare_cells, r);
    return st;
}

static placement *placement_named(results *r, const char *name) {
    for (uint32_t i = 0; i < r->placement_count; i++) {
        if (strcmp(r->placements[i].name, name) == 0) return &r->placements[i];
    }
    return NULL;
}

static void collect_names(results *r) {
    r->workloads = xcalloc(r->cell_count + 1, sizeof *r->workloads);
    r->placements = xcalloc(r->cell_count + 1, sizeof *r->placements);
    for (size_t i = 0; i < r->cell_count; i++) {
        const cell *c = &r->cells[i];
        if (!c->workload[0]) continue; /* it is in the list of cells only */
        if (r->workload_count == 0 || strcmp(r->workloads[r->workload_count - 1], c->workload) != 0)
            r->workloads[r->workload_count++] = xstrdup(c->workload);
        if (c->tuning) continue;
        placement *p = placement_named(r, c->placement);
        if (!p) {
            if (r->placement_count == RESULTS_PLACEMENTS_MAX) continue;
            p = &r->placements[r->placement_count++];
            *p = (placement){.name = xstrdup(c->placement), .devices = c->devices};
            p->again_of = c->again_of[0] ? xstrdup(c->again_of) : NULL;
        }
        if (c->devices > p->devices) p->devices = c->devices;
        p->baseline |= c->baseline;
    }
    uint32_t style = 0;
    for (uint32_t i = 0; i < r->placement_count; i++) {
        if (!r->placements[i].again_of) r->placements[i].style = style++;
    }
}

status results_read(results *r, const char *dir, const slo *slos, uint32_t slo_count, bool rejudge,
                    errbuf *eb) {
    PRE(r);
    PRE(dir);
    PRE(slos || slo_count == 0);
    *r = (results){.dir = xstrdup(dir), .target = TARGET};
    while (strlen(r->dir) > 1 && r->dir[strlen(r->dir) - 1] == '/') r->dir[strlen(r->dir) - 1] = 0;
    const char *slash = strrchr(r->dir, '/');
    r->name = xstrdup(slash ? slash + 1 : r->dir);
    r->title = xstrdup(r->name);
    for (uint32_t i = 0; i < slo_count; i++) add_slo(r, &slos[i]);
    status st = read_spec(r, eb);
    if (st == ST_OK) st = read_cells(r, rejudge, eb);
    if (st != ST_OK) return st;
    collect_names(r);
    if (r->slo_count == 0) {
        slo none = slo_none();
        snprintf(none.name, sizeof none.name, "no limit");
        add_slo(r, &none);
        buf_adds(&r->notes, "no SLO is given: --slo ttft:200,tpot:50 scores the same rows for any\n");
    }
    errbuf why = {0};
    char *path = xasprintf("%s/machine.json", r->dir);
    if (json_file(&r->machine, path, &why) != ST_OK) buf_addf(&r->notes, "machine: %s\n", why.text);
    free(path);
    path = xasprintf("%s/tune.json", r->dir);
    if (json_file(&r->tune, path, NULL) != ST_OK) r->tune = NULL; /* most experiments tune nothing */
    free(path);
    return ST_OK;
}

void results_done(results *r) {
    PRE(r);
    for (size_t i = 0; i < r->cell_count; i++) cell_done(&r->cells[i]);
    for (uint32_t i = 0; i < r->placement_count; i++) {
        free(r->placements[i].name);
        free(r->placements[i].again_of);
    }
    for (uint32_t i = 0; i < r->workload_count; i++) free(r->workloads[i]);
    free(r->cells);
    free(r->placements);
    free(r->workloads);
    free(r->dir);
    free(r->name);
    free(r->title);
    json_decref(r->machine);
    json_decref(r->spec);
    json_decref(r->tune);
    buf_done(&r->notes);
    *r = (results){0};
}

/* ---- looking up ---- */

const cell *results_next(const results *r, const cell *after, const char *name, const char *workload) {
    PRE(r);
    PRE(name);
    PRE(workload);
    for (size_t i = after ? (size_t)(after - r->cells) + 1 : 0; i < r->cell_count; i++) {
        const cell *c = &r->cells[i];
        if (strcmp(c->placement, name) == 0 && strcmp(c->workload, workload) == 0) return c;
    }
    return NULL;
}

const cell *results_find(const results *r, const char *name, const char *workload, double rate_per_device) {
    const cell *c = NULL;
    while ((c = results_next(r, c, name, workload))) {
        if (SAME_RATE(cell_rate_per_device(c), rate_per_device)) return c;
    }
    return NULL;
}

static double common_rate(const results *r, const char *workload, bool settled) {
    double best = NAN;
    uint32_t most = 0;
    for (size_t i = 0; i < r->cell_count; i++) {
        if (strcmp(r->cells[i].workload, workload) != 0 || !cell_counts(&r->cells[i])) continue;
        double rate = cell_rate_per_device(&r->cells[i]);
        uint32_t have = 0;
        for (uint32_t p = 0; p < r->placement_count; p++) {
            const cell *c = results_find(r, r->placements[p].name, workload, rate);
            have += c && cell_counts(c) && (cell_settled(c) || !settled) && !c->facts.unstable &&
                    !r->placements[p].again_of;
        }
        if (have > most || (have == most && have > 0 && rate > best)) best = rate, most = have;
    }
    return best;
}

double results_common_rate(const results *r, const char *workload) {
    PRE(r);
    PRE(workload);
    double best = common_rate(r, workload, true);
    return isnan(best) ? common_rate(r, workload, false) : best;
}

void slo_describe(const slo *s, char *out, size_t size) {
    PRE(s);
    PRE(out);
    const struct {
        const char *name;
        double limit;
    } all[] = {{"TTFT", s->ttft_ms},
               {"TPOT", s->tpot_ms},
               {"P99 ITL", s->itl_p99_ms},
               {"max ITL", s->itl_max_ms},
               {"E2E", s->e2e_ms}};
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (isinf(all[i].limit) || used >= size) continue;
        used += (size_t)snprintf(out + used, size - used, "%s%s %g ms", used ? ", " : "", all[i].name,
                                 all[i].limit);
    }
    if (!out[0]) snprintf(out, size, "no limit");
}
