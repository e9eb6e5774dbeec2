#include "planner/profile/profile.h"

#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

void profile_engine_done(profile_engine *e) {
    if (!e) return;
    step_cost_done(&e->prefill);
    step_cost_done(&e->decode);
}

void profile_free(profile *p) {
    if (!p) return;
    for (uint32_t i = 0; i < p->engine_count; i++) profile_engine_done(&p->engines[i]);
    free(p->engines);
    free(p->name);
    free(p->model);
    free(p->machine);
    free(p->date);
    free(p->version);
    free(p->source);
    free(p);
}

const profile_engine *profile_find(const profile *p, worker_role role, uint32_t tp, uint32_t pp) {
    PRE(p);
    PRE(role < ROLE_COUNT);
    for (uint32_t i = 0; i < p->engine_count; i++) {
        const profile_engine *e = &p->engines[i];
        if (e->roles[role] && e->tp == tp && e->pp == pp) return e;
    }
    return NULL;
}

double profile_step_ns(const profile_engine *e, const latency_step *s, bool *covered) {
    PRE(e);
    PRE(s);
    double px = (double)s->tokens, py = (double)s->squares, dx = s->batch, dy = (double)s->context;
    if (covered)
        *covered = (!s->chunks || step_cost_covers(&e->prefill, px, py)) &&
                   (!s->batch || step_cost_covers(&e->decode, dx, dy));
    double ns = 0;
    if (s->chunks && s->batch) {
        double a = step_cost_intercept_ns(&e->prefill), b = step_cost_intercept_ns(&e->decode);
        /* The larger one whole, the smaller one but for what is shared: with shared = 1 no rounding. */
        ns = MAX(a, b) + (1 - e->shared) * MIN(a, b) +
             (step_cost_rest_ns(&e->prefill, px, py) + step_cost_rest_ns(&e->decode, dx, dy));
        ns = MAX(ns, 0.0);
    } else if (s->chunks) {
        ns = step_cost_ns(&e->prefill, px, py);
    } else if (s->batch) {
        ns = step_cost_ns(&e->decode, dx, dy);
    }
    return MIN(ns, PROFILE_LONGEST_NS);
}

static const profile_error unknown_error = {.mean = NAN, .p90 = NAN, .max = NAN};

profile_engine profile_engine_modelled(const latency_model *m, uint32_t tp, uint32_t pp) {
    PRE(m);
    const latency_terms *p = &m->prefill, *d = &m->decode;
    return (profile_engine){
        .roles = {true, true, true},
        .tp = tp,
        .pp = pp,
        .devices = tp * pp,
        .prefill = step_cost_linear(p->alpha_ns, p->beta_ns, p->gamma_ns),
        .decode = step_cost_linear(d->alpha_ns, d->beta_ns, d->gamma_ns),
        .shared = 1,
        .prefill_error = unknown_error,
        .decode_error = unknown_error,
        .mixed_error = unknown_error,
    };
}

/* --- the hash: numbers by their bits, whatever they were written as --- */

static void hash_u64(XXH3_state_t *h, uint64_t v) {
    (void)XXH3_64bits_update(h, &v, sizeof v);
}

static void hash_number(XXH3_state_t *h, double v) {
    if (isnan(v)) v = NAN;
    if (v == 0) v = 0; /* -0 */
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    hash_u64(h, bits);
}

static void hash_numbers(XXH3_state_t *h, const double *v, size_t count) {
    for (size_t i = 0; i < count; i++) hash_number(h, v[i]);
}

static void hash_cost(XXH3_state_t *h, const step_cost *c) {
    hash_u64(h, c->count);
    for (uint32_t i = 0; i < c->count; i++) {
        const step_cost_knot *k = &c->knots[i];
        hash_numbers(h, (const double[]){k->x, k->base_ns, k->slope_ns}, 3);
    }
    hash_numbers(h, (const double[]){c->rise_ns, c->x_min, c->x_max, c->y_max}, 4);
}

profile_worst profile_worst_error(const profile *p) {
    PRE(p);
    profile_worst worst = {.phase = ""};
    for (uint32_t i = 0; i < p->engine_count; i++) {
        const profile_engine *e = &p->engines[i];
        const double errors[] = {e->prefill_error.mean, e->decode_error.mean, e->mixed_error.mean};
        static const char *const phases[] = {"prefill", "decode", "mixed"};
        for (size_t k = 0; k < ARRAY_LEN(errors); k++)
            if (errors[k] > worst.error || (!worst.engine && errors[k] >= 0)) /* NAN: unknown */
                worst = (profile_worst){e, phases[k], errors[k]};
    }
    return worst;
}

static void hash_error(XXH3_state_t *h, const profile_error *e) {
    hash_numbers(h, (const double[]){e->mean, e->p90, e->max}, 3);
    hash_u64(h, e->points);
}

static uint64_t engine_hash(XXH3_state_t *h, const profile_engine *e) {
    (void)XXH3_64bits_reset(h);
    for (int i = 0; i < ROLE_COUNT; i++) hash_u64(h, e->roles[i]);
    const uint64_t whole[] = {e->tp, e->pp, e->devices, e->kv_pages, e->max_seqs};
    for (size_t i = 0; i < ARRAY_LEN(whole); i++) hash_u64(h, whole[i]);
    hash_cost(h, &e->prefill);
    hash_cost(h, &e->decode);
    const double numbers[] = {e->shared,
                              e->gap_ns,
                              e->prefill_cv,
                              e->decode_cv,
                              e->slowed_by_prefill,
                              e->slowed_by_decode,
                              e->decode_slowed_by_prefill,
                              e->decode_slowed_by_decode};
    hash_numbers(h, numbers, ARRAY_LEN(numbers));
    hash_error(h, &e->prefill_error);
    hash_error(h, &e->decode_error);
    hash_error(h, &e->mixed_error);
    return XXH3_64bits_digest(h);
}

static int by_number(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

void profile_seal(profile *p) {
    PRE(p);
    PRE(p->engine_count <= PROFILE_ENGINES_MAX);
    XXH3_state_t *h = XXH3_createState();
    CHECK(h);
    uint64_t engines[PROFILE_ENGINES_MAX];
    for (uint32_t i = 0; i < p->engine_count; i++) engines[i] = engine_hash(h, &p->engines[i]);
    qsort(engines, p->engine_count, sizeof engines[0], by_number);
    (void)XXH3_64bits_reset(h);
    hash_u64(h, p->engine_count);
    for (uint32_t i = 0; i < p->engine_count; i++) hash_u64(h, engines[i]);
    const profile_link *l = &p->link;
    hash_u64(h, l->known);
    hash_u64(h, l->layers);
    hash_numbers(h, (const double[]){l->bytes_per_s, l->latency_ns, l->kv_token_bytes, l->fabric_bytes_per_s},
                 4);
    const profile_overheads *o = &p->overheads;
    hash_numbers(h, (const double[]){o->arrive_ns, o->dispatch_ns, o->emit_ns, o->handoff_ns}, 4);
    hash_u64(h, p->max_context);
    snprintf(p->hash, sizeof p->hash, "%016" PRIx64, XXH3_64bits_digest(h));
    XXH3_freeState(h);
}

/* --- the check --- */

/* A number of an engine or of the profile, where it stands and what it may be. */
typedef struct range {
    const char *key;
    double value, most;
} range;

static status check_ranges(const range *r, size_t count, errbuf *eb) {
    for (size_t i = 0; i < count; i++) {
        if (isfinite(r[i].value) && r[i].value >= 0 && r[i].value <= r[i].most) continue;
        if (r[i].most < INFINITY)
            return errf(eb, ST_INVALID, "%s is %g: want a number from 0 to %g", r[i].key, r[i].value,
                        r[i].most);
        return errf(eb, ST_INVALID, "%s is %g: want a finite number, 0 or more", r[i].key, r[i].value);
    }
    return ST_OK;
}

static status check_error(const profile_error *e, const char *key, errbuf *eb) {
    const double values[] = {e->mean, e->p90, e->max};
    static const char *const names[] = {"mean", "p90", "max"};
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        if (values[i] < 0 || isinf(values[i]))
            return errf(eb, ST_INVALID, "%s.%s is %g: want a finite number, 0 or more", key, names[i],
                        values[i]);
    return ST_OK;
}

/* The text that is there names a key within `key`. */
static status within(errbuf *eb, status st, const char *key) {
    if (!eb) return st;
    errbuf inner = *eb;
    return errf(eb, st, "%s.%s", key, inner.text);
}

static status check_curve(const step_cost *c, const char *key, bool needed, errbuf *eb) {
    status st = step_cost_check(c, eb);
    if (st != ST_OK) return within(eb, st, key);
    if (needed && !c->count) return errf(eb, ST_INVALID, "%s: no knots, but the roles need them", key);
    return ST_OK;
}

static status check_engine(const profile_engine *e, errbuf *eb) {
    const range ranges[] = {
        {"shared", e->shared, 1},
        {"gap_ns", e->gap_ns, PROFILE_LONGEST_NS},
        {"prefill_cv", e->prefill_cv, 10},
        {"decode_cv", e->decode_cv, 10},
        {"slowed_by_prefill", e->slowed_by_prefill, 100},
        {"slowed_by_decode", e->slowed_by_decode, 100},
        {"decode_slowed_by_prefill", e->decode_slowed_by_prefill, 100},
        {"decode_slowed_by_decode", e->decode_slowed_by_decode, 100},
    };
    if (!e->tp) return errf(eb, ST_INVALID, "tp is 0: want 1 or more");
    if (!e->pp) return errf(eb, ST_INVALID, "pp is 0: want 1 or more");
    if (!e->devices) return errf(eb, ST_INVALID, "devices is 0: want 1 or more");
    if (!e->roles[ROLE_PREFILL] && !e->roles[ROLE_DECODE] && !e->roles[ROLE_COLOCATED])
        return errf(eb, ST_INVALID, "roles: none, want prefill, decode or colocated");
    bool both = e->roles[ROLE_COLOCATED];
    status st = check_curve(&e->prefill, "prefill", both || e->roles[ROLE_PREFILL], eb);
    if (st == ST_OK) st = check_curve(&e->decode, "decode", both || e->roles[ROLE_DECODE], eb);
    if (st == ST_OK) st = check_ranges(ranges, ARRAY_LEN(ranges), eb);
    if (st == ST_OK) st = check_error(&e->prefill_error, "prefill_error", eb);
    if (st == ST_OK) st = check_error(&e->decode_error, "decode_error", eb);
    return st == ST_OK ? check_error(&e->mixed_error, "mixed_error", eb) : st;
}

static status check_once(const profile *p, uint32_t i, errbuf *eb) {
    const profile_engine *e = &p->engines[i];
    for (worker_role r = 0; r < ROLE_COUNT; r++) {
        if (!e->roles[r]) continue;
        const profile_engine *found = profile_find(p, r, e->tp, e->pp);
        if (found != e)
            return errf(eb, ST_INVALID,
                        "engines[%u]: %s with tp %u and pp %u stands in engines[%u] already: delete one", i,
                        worker_role_name(r), e->tp, e->pp, (unsigned)(found - p->engines));
    }
    return ST_OK;
}

static status check_link(const profile_link *l, errbuf *eb) {
    if (!l->known) return ST_OK;
    if (!isfinite(l->bytes_per_s) || l->bytes_per_s <= 0)
        return errf(eb, ST_INVALID,
                    "link.bytes_per_s is %g: want more than 0 (a link that carries nothing moves no KV)",
                    l->bytes_per_s);
    const range ranges[] = {
        {"link.latency_ns", l->latency_ns, PROFILE_LONGEST_NS},
        {"link.kv_token_bytes", l->kv_token_bytes, INFINITY},
        {"link.fabric_bytes_per_s", l->fabric_bytes_per_s, INFINITY},
    };
    status st = check_ranges(ranges, ARRAY_LEN(ranges), eb);
    if (st != ST_OK) return st;
    bool fabric = l->fabric_bytes_per_s > 0 && l->fabric_bytes_per_s < l->bytes_per_s;
    double rate = fabric ? l->fabric_bytes_per_s : l->bytes_per_s;
    if (l->kv_token_bytes / rate * 1e9 <= PROFILE_LONGEST_NS) return ST_OK;
    return errf(eb, ST_INVALID,
                "link.%s is %g: a token's KV of %g bytes (link.kv_token_bytes) would take "
                "more than an hour",
                fabric ? "fabric_bytes_per_s" : "bytes_per_s", rate, l->kv_token_bytes);
}

status profile_check(const profile *p, errbuf *eb) {
    PRE(p);
    if (!p->engine_count) return errf(eb, ST_INVALID, "engines: none, want one or more");
    if (p->engine_count > PROFILE_ENGINES_MAX)
        return errf(eb, ST_INVALID, "engines: %u of them, want at most %u", p->engine_count,
                    PROFILE_ENGINES_MAX);
    for (uint32_t i = 0; i < p->engine_count; i++) {
        status st = check_engine(&p->engines[i], eb);
        if (st != ST_OK) {
            char key[24];
            snprintf(key, sizeof key, "engines[%u]", i);
            return within(eb, st, key);
        }
        st = check_once(p, i, eb);
        if (st != ST_OK) return st;
    }
    status st = check_link(&p->link, eb);
    if (st != ST_OK) return st;
    const profile_overheads *o = &p->overheads;
    const range ranges[] = {
        {"overheads.arrive_ns", o->arrive_ns, PROFILE_LONGEST_NS},
        {"overheads.dispatch_ns", o->dispatch_ns, PROFILE_LONGEST_NS},
        {"overheads.emit_ns", o->emit_ns, PROFILE_LONGEST_NS},
        {"overheads.handoff_ns", o->handoff_ns, PROFILE_LONGEST_NS},
    };
    return check_ranges(ranges, ARRAY_LEN(ranges), eb);
}
