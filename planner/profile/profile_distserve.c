#include "planner/profile/profile_distserve.h"

#include "base/mem.h"
#include "bench/experiment/files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS 1e6 /* ns */

static const uint32_t stages[] = {1, 2, 4, 5, 8};

bool profile_distserve_is(const json_t *root) {
    const char *model, *tp;
    json_t *engines, *engine;
    json_object_foreach((json_t *)root, model, engines) {
        json_object_foreach(engines, tp, engine) {
            if (json_object_get(engine, "decoding_large_small_bs_threshold") ||
                json_object_get(engine, "decoding_smallbs"))
                return true;
        }
    }
    return false;
}

/* --- reading --- */

static status bad(const distserve_engine *e, const char *key, const char *what, errbuf *eb) {
    return errf(eb, ST_INVALID, "\"%.60s\".\"%u\".%.60s: %s", e->model, e->tp, key, what);
}

static status read_terms(const distserve_engine *e, const json_t *o, const char *key, distserve_terms *out,
                         errbuf *eb) {
    const json_t *v = json_object_get(o, key);
    double values[3];
    if (json_array_size(v) != 3) return bad(e, key, "want three numbers", eb);
    for (size_t i = 0; i < 3; i++) {
        const json_t *number = json_array_get(v, i);
        values[i] = json_is_number(number) ? json_number_value(number) : (double)NAN;
        if (!isfinite(values[i])) return bad(e, key, "want three numbers", eb);
    }
    *out = (distserve_terms){values[0], values[1], values[2]};
    return ST_OK;
}

static status read_engine(distserve_engine *e, const char *tp, const json_t *o, errbuf *eb) {
    static const char *const keys[] = {"decoding_large_small_bs_threshold", "prefill", "decoding_smallbs",
                                       "decoding_largebs"};
    char *end;
    unsigned long n = tp[0] >= '0' && tp[0] <= '9' ? strtoul(tp, &end, 10) : (end = NULL, 0);
    if (!end || *end || !n || n > 1024)
        return errf(eb, ST_INVALID, "\"%s\".\"%.40s\": want a tensor parallelism from 1 to 1024", e->model,
                    tp);
    e->tp = (uint32_t)n;
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)o, key, v) {
        bool known = false;
        for (size_t i = 0; i < ARRAY_LEN(keys); i++) known |= strcmp(key, keys[i]) == 0;
        if (!known)
            return bad(e, key,
                       "unknown key: want prefill, decoding_smallbs, decoding_largebs and "
                       "decoding_large_small_bs_threshold",
                       eb);
    }
    const json_t *threshold = json_object_get(o, keys[0]);
    json_int_t t = json_is_integer(threshold) ? json_integer_value(threshold) : 0;
    if (t < 1 || t > 1000000) return bad(e, keys[0], "want a batch size from 1 to 1000000", eb);
    e->threshold = (uint32_t)t;
    status st = read_terms(e, o, keys[1], &e->prefill, eb);
    if (st == ST_OK) st = read_terms(e, o, keys[2], &e->small, eb);
    return st == ST_OK ? read_terms(e, o, keys[3], &e->large, eb) : st;
}

static status read_root(profile_distserve *out, const json_t *root, errbuf *eb) {
    profile_distserve d = {.engines = xcalloc(PROFILE_ENGINES_MAX, sizeof *d.engines)};
    const char *model, *tp;
    json_t *engines, *engine;
    status st = ST_OK;
    json_object_foreach((json_t *)root, model, engines) {
        if (st == ST_OK && strlen(model) >= sizeof d.engines->model)
            st = errf(eb, ST_INVALID, "\"%.40s...\": the name of a model has at most 63 letters", model);
        if (st == ST_OK && !json_is_object(engines))
            st = errf(eb, ST_INVALID, "\"%.60s\": want an object, with a tensor parallelism as each key",
                      model);
        json_object_foreach(engines, tp, engine) {
            if (st != ST_OK) break;
            if (d.count == PROFILE_ENGINES_MAX) {
                st = errf(eb, ST_INVALID, "more than %u engines", PROFILE_ENGINES_MAX);
                break;
            }
            distserve_engine *e = &d.engines[d.count++];
            snprintf(e->model, sizeof e->model, "%s", model);
            st = read_engine(e, tp, engine, eb);
        }
    }
    if (st == ST_OK && !d.count) st = errf(eb, ST_INVALID, "no engine in it");
    if (st == ST_OK)
        *out = d;
    else
        profile_distserve_done(&d);
    return st;
}

status profile_distserve_read(profile_distserve *out, const char *path, errbuf *eb) {
    PRE(out);
    PRE(path);
    char *text = NULL;
    status st = files_read(&text, path, eb);
    if (st != ST_OK) return st;
    json_error_t je;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &je);
    free(text);
    if (!root)
        return errf(eb, ST_INVALID, "%.100s:%d:%d: no JSON: %.100s", path, je.line, je.column, je.text);
    st = read_root(out, root, eb);
    json_decref(root);
    return st == ST_OK ? ST_OK : err_prefix(eb, st, "%.100s", path);
}

void profile_distserve_done(profile_distserve *d) {
    if (!d) return;
    free(d->engines);
    *d = (profile_distserve){0};
}

const distserve_engine *profile_distserve_find(const profile_distserve *d, const char *model, uint32_t tp) {
    PRE(d);
    PRE(model);
    for (uint32_t i = 0; i < d->count; i++)
        if (d->engines[i].tp == tp && strcmp(d->engines[i].model, model) == 0) return &d->engines[i];
    return NULL;
}

/* --- its formulas --- */

double profile_distserve_prefill_ms(const distserve_engine *e, uint32_t pp, double tokens, double squares) {
    PRE(e);
    const distserve_terms *t = &e->prefill;
    double delay = t->a + t->b * tokens + t->c * squares;
    return pp ? delay * (1.0 / pp) + pp : delay;
}

double profile_distserve_decode_ms(const distserve_engine *e, uint32_t pp, double batch, double context) {
    PRE(e);
    const distserve_terms *t = batch < e->threshold ? &e->small : &e->large;
    double delay = t->a + t->b * context + t->c * batch;
    return pp ? delay * (1.0 / pp) : delay;
}

/* --- as a profile --- */

static step_cost prefill_of(const distserve_engine *e, uint32_t pp) {
    const distserve_terms *t = &e->prefill;
    step_cost c = step_cost_linear((t->a / pp + pp) * MS, t->b / pp * MS, t->c / pp * MS);
    if (t->c < 0) {
        double longest = fmax(t->b / (-2 * t->c), 0);
        c.y_max = longest * longest;
    }
    return c;
}

/* Both regimes as they are, with a step between the last small batch and the first large one. */
static step_cost decode_of(const distserve_engine *e, uint32_t pp) {
    const double x[] = {0, e->threshold - 1.0, e->threshold, 2.0 * e->threshold};
    step_cost c = {.knots = xcalloc(ARRAY_LEN(x), sizeof *c.knots), .x_max = INFINITY, .y_max = INFINITY};
    for (size_t i = 0; i < ARRAY_LEN(x); i++) {
        if (i == 1 && x[i] == 0) continue;
        const distserve_terms *t = i < 2 ? &e->small : &e->large;
        c.knots[c.count++] = (step_cost_knot){x[i], (t->a + t->c * x[i]) / pp * MS, t->b / pp * MS};
    }
    return c;
}

static profile_engine engine_of(const distserve_engine *e, uint32_t pp) {
    const profile_error unknown = {.mean = NAN, .p90 = NAN, .max = NAN};
    return (profile_engine){.roles = {true, true, true},
                            .tp = e->tp,
                            .pp = pp,
                            .devices = e->tp * pp,
                            .prefill = prefill_of(e, pp),
                            .decode = decode_of(e, pp),
                            .shared = 1,
                            .prefill_error = unknown,
                            .decode_error = unknown,
                            .mixed_error = unknown};
}

/* The model that is asked for, or the only one. */
static status choose_model(const json_t *root, const char *model, const char **out, errbuf *eb) {
    char names[160] = "";
    size_t at = 0;
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)root, name, v) {
        if (!model && json_object_size(root) == 1) model = name;
        if (at < sizeof names)
            at += (size_t)snprintf(names + at, sizeof names - at, "%s%.60s", at ? ", " : "", name);
    }
    if (!model)
        return errf(eb, ST_INVALID,
                    "several models: choose one with --model, or --profile-model beside --profile: %s",
                    names);
    if (!json_object_get(root, model))
        return errf(eb, ST_INVALID, "no model \"%.60s\": there are %s", model, names);
    *out = model;
    return ST_OK;
}

status profile_distserve_make(profile **out, const json_t *root, const char *model, errbuf *eb) {
    PRE(out);
    PRE(root);
    profile_distserve d = {0};
    status st = choose_model(root, model, &model, eb);
    if (st == ST_OK) st = read_root(&d, root, eb);
    if (st != ST_OK) return st;
    profile *p = xcalloc(1, sizeof *p);
    p->model = xstrdup(model);
    p->engines = xcalloc(d.count * ARRAY_LEN(stages), sizeof *p->engines);
    for (uint32_t i = 0; i < d.count; i++)
        for (size_t k = 0; k < ARRAY_LEN(stages) && p->engine_count < PROFILE_ENGINES_MAX; k++)
            if (strcmp(d.engines[i].model, model) == 0)
                p->engines[p->engine_count++] = engine_of(&d.engines[i], stages[k]);
    profile_distserve_done(&d);
    if (p->engine_count) {
        *out = p;
        return ST_OK;
    }
    profile_free(p);
    return errf(eb, ST_INVALID, "\"%.60s\": no engine in it", model);
}
