#include "planner/profile/profile_json.h"

#include "base/mem.h"
#include "config/config_keys.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum field_kind {
    FIELD_NUMBER, /* double */
    FIELD_BOUND,  /* double; null is INFINITY; wanted */
    FIELD_KNOWN,  /* double; null is NAN */
    FIELD_COUNT,  /* uint32_t */
    FIELD_TEXT    /* char *, owned; null is NULL */
} field_kind;

typedef struct field {
    const char *key;
    field_kind kind;
    size_t offset;
} field;

#define NUMBER(type, member)                                                                                 \
    { #member, FIELD_NUMBER, offsetof(type, member) }
#define BOUND(type, member)                                                                                  \
    { #member, FIELD_BOUND, offsetof(type, member) }
#define KNOWN(type, member)                                                                                  \
    { #member, FIELD_KNOWN, offsetof(type, member) }
#define COUNT(type, member)                                                                                  \
    { #member, FIELD_COUNT, offsetof(type, member) }
#define TEXT(type, member)                                                                                   \
    { #member, FIELD_TEXT, offsetof(type, member) }

static const field PROFILE[] = {
    TEXT(profile, name),    TEXT(profile, model),  TEXT(profile, machine),      TEXT(profile, date),
    TEXT(profile, version), TEXT(profile, source), COUNT(profile, max_context),
};
static const field ENGINE[] = {
    COUNT(profile_engine, tp),
    COUNT(profile_engine, pp),
    COUNT(profile_engine, devices),
    COUNT(profile_engine, kv_pages),
    COUNT(profile_engine, max_seqs),
    NUMBER(profile_engine, shared),
    NUMBER(profile_engine, gap_ns),
    NUMBER(profile_engine, prefill_cv),
    NUMBER(profile_engine, decode_cv),
    NUMBER(profile_engine, slowed_by_prefill),
    NUMBER(profile_engine, slowed_by_decode),
    NUMBER(profile_engine, decode_slowed_by_prefill),
    NUMBER(profile_engine, decode_slowed_by_decode),
};
static const field COST[] = {
    NUMBER(step_cost, rise_ns),
    NUMBER(step_cost, x_min),
    BOUND(step_cost, x_max),
    BOUND(step_cost, y_max),
};
static const field KNOT[] = {
    NUMBER(step_cost_knot, x),
    NUMBER(step_cost_knot, base_ns),
    NUMBER(step_cost_knot, slope_ns),
};
static const field ERROR[] = {
    KNOWN(profile_error, mean),
    KNOWN(profile_error, p90),
    KNOWN(profile_error, max),
    COUNT(profile_error, points),
};
static const field LINK[] = {
    NUMBER(profile_link, bytes_per_s),        NUMBER(profile_link, latency_ns),
    NUMBER(profile_link, kv_token_bytes),     COUNT(profile_link, layers),
    NUMBER(profile_link, fabric_bytes_per_s),
};
static const field OVERHEADS[] = {
    NUMBER(profile_overheads, arrive_ns),
    NUMBER(profile_overheads, dispatch_ns),
    NUMBER(profile_overheads, emit_ns),
    NUMBER(profile_overheads, handoff_ns),
};

/* An object's fields, and the keys that code of its own reads, "a|b". */
typedef struct shape {
    const field *fields;
    size_t count;
    const char *others;
} shape;

#define SHAPE(table, others)                                                                                 \
    { table, ARRAY_LEN(table), others }
static const shape PROFILE_SHAPE = SHAPE(PROFILE, "format|hash|engines|link|overheads|points");
static const shape ENGINE_SHAPE =
    SHAPE(ENGINE, "roles|prefill|decode|prefill_error|decode_error|mixed_error");
static const shape COST_SHAPE = SHAPE(COST, "knots");
static const shape KNOT_SHAPE = SHAPE(KNOT, "");
static const shape ERROR_SHAPE = SHAPE(ERROR, "");
static const shape LINK_SHAPE = SHAPE(LINK, "");
static const shape OVERHEADS_SHAPE = SHAPE(OVERHEADS, "");

/* --- reading --- */

/* `at` is where the object stands, "engines[0].decode" or "": keys are named after it. */
static status bad(errbuf *eb, const char *at, const char *key, const char *what) {
    return errf(eb, ST_INVALID, "%.100s%s%.60s: %s", at, at[0] && key[0] ? "." : "", key, what);
}

static const char *known_key(const shape *s, size_t i, char *out, size_t size) {
    if (i < s->count) return s->fields[i].key;
    const char *at = s->others;
    for (i -= s->count; i && at; i--) at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL;
    if (!at || !at[0]) return NULL;
    snprintf(out, size, "%.*s", (int)strcspn(at, "|"), at);
    return out;
}

static status check_keys(const json_t *object, const shape *s, const char *at, errbuf *eb) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)object, key, v) {
        char name[40], nearest[40] = "", what[80];
        uint32_t best = CONFIG_NAME_NEAR;
        const char *known;
        bool found = false;
        for (size_t i = 0; !found && (known = known_key(s, i, name, sizeof name)); i++) {
            uint32_t d = config_name_distance(key, known);
            found = strcmp(key, known) == 0;
            if (d >= best) continue;
            best = d;
            snprintf(nearest, sizeof nearest, "%s", known);
        }
        if (found) continue;
        snprintf(what, sizeof what, "unknown key%s%s%s", nearest[0] ? ": did you mean " : "", nearest,
                 nearest[0] ? "?" : "");
        return bad(eb, at, key, what);
    }
    return ST_OK;
}

static status read_double(const json_t *v, const field *f, double *out, const char *at, errbuf *eb) {
    if (json_is_null(v) && f->kind != FIELD_NUMBER) {
        *out = f->kind == FIELD_BOUND ? (double)INFINITY : (double)NAN;
        return ST_OK;
    }
    if (!json_is_number(v))
        return bad(eb, at, f->key,
                   f->kind == FIELD_BOUND   ? "want a number, or null for no bound"
                   : f->kind == FIELD_KNOWN ? "want a number, or null for unknown"
                                            : "want a number");
    *out = json_number_value(v);
    return ST_OK;
}

static status read_field(const json_t *v, const field *f, void *base, const char *at, errbuf *eb) {
    void *slot = (char *)base + f->offset;
    switch (f->kind) {
    case FIELD_NUMBER:
    case FIELD_BOUND:
    case FIELD_KNOWN:
        return read_double(v, f, slot, at, eb);
    case FIELD_COUNT: {
        json_int_t n = json_is_integer(v) ? json_integer_value(v) : -1;
        if (n < 0 || n > UINT32_MAX) return bad(eb, at, f->key, "want a whole number from 0 to 4294967295");
        *(uint32_t *)slot = (uint32_t)n;
        return ST_OK;
    }
    case FIELD_TEXT:
        if (!json_is_string(v) && !json_is_null(v)) return bad(eb, at, f->key, "want a text");
        free(*(char **)slot);
        *(char **)slot = json_is_string(v) ? xstrdup(json_string_value(v)) : NULL;
        return ST_OK;
    }
    return ST_OK;
}

static status read_object(const json_t *v, const shape *s, void *base, const char *at, errbuf *eb) {
    if (!json_is_object(v)) return bad(eb, at, "", "want an object");
    status st = check_keys(v, s, at, eb);
    for (size_t i = 0; i < s->count && st == ST_OK; i++) {
        const field *f = &s->fields[i];
        const json_t *value = json_object_get(v, f->key);
        if (value)
            st = read_field(value, f, base, at, eb);
        else if (f->kind == FIELD_BOUND)
            st = bad(eb, at, f->key, "is missing: want a number, or null for no bound");
    }
    return st;
}

static bool absent(const json_t *v) {
    return !v || json_is_null(v);
}

static status read_cost(const json_t *v, step_cost *c, const char *at, errbuf *eb) {
    if (absent(v)) return ST_OK;
    status st = read_object(v, &COST_SHAPE, c, at, eb);
    if (st != ST_OK) return st;
    const json_t *knots = json_object_get(v, "knots");
    size_t n = json_is_array(knots) ? json_array_size(knots) : 0;
    if (!n || n > STEP_COST_KNOTS_MAX) return bad(eb, at, "knots", "want an array of 1 to 64 knots");
    c->knots = xcalloc(n, sizeof *c->knots);
    c->count = (uint32_t)n;
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        char key[80];
        snprintf(key, sizeof key, "%s.knots[%zu]", at, i);
        st = read_object(json_array_get(knots, i), &KNOT_SHAPE, &c->knots[i], key, eb);
    }
    return st;
}

static status read_error(const json_t *engine, const char *name, profile_error *e, const char *at,
                         errbuf *eb) {
    *e = (profile_error){.mean = NAN, .p90 = NAN, .max = NAN};
    const json_t *v = json_object_get(engine, name);
    char key[64];
    snprintf(key, sizeof key, "%s.%s", at, name);
    return absent(v) ? ST_OK : read_object(v, &ERROR_SHAPE, e, key, eb);
}

static status read_roles(const json_t *v, bool *roles, const char *at, errbuf *eb) {
    if (!json_is_array(v)) return bad(eb, at, "roles", "want an array of prefill, decode and colocated");
    size_t i;
    const json_t *word;
    json_array_foreach((json_t *)v, i, word) {
        worker_role r = 0;
        const char *text = json_is_string(word) ? json_string_value(word) : "";
        while (r < ROLE_COUNT && strcmp(text, worker_role_name(r)) != 0) r++;
        if (r == ROLE_COUNT) return bad(eb, at, "roles", "want prefill, decode or colocated");
        roles[r] = true;
    }
    return ST_OK;
}

static status read_engine(const json_t *v, profile_engine *e, const char *at, errbuf *eb) {
    e->tp = e->pp = 1;
    char prefill[56], decode[56];
    snprintf(prefill, sizeof prefill, "%s.prefill", at);
    snprintf(decode, sizeof decode, "%s.decode", at);
    status st = read_object(v, &ENGINE_SHAPE, e, at, eb);
    if (st != ST_OK) return st;
    if (!json_object_get(v, "devices") && (uint64_t)e->tp * e->pp <= UINT32_MAX) e->devices = e->tp * e->pp;
    st = read_roles(json_object_get(v, "roles"), e->roles, at, eb);
    if (st == ST_OK) st = read_cost(json_object_get(v, "prefill"), &e->prefill, prefill, eb);
    if (st == ST_OK) st = read_cost(json_object_get(v, "decode"), &e->decode, decode, eb);
    if (st == ST_OK) st = read_error(v, "prefill_error", &e->prefill_error, at, eb);
    if (st == ST_OK) st = read_error(v, "decode_error", &e->decode_error, at, eb);
    return st == ST_OK ? read_error(v, "mixed_error", &e->mixed_error, at, eb) : st;
}

static status read_engines(profile *p, const json_t *v, errbuf *eb) {
    size_t n = json_is_array(v) ? json_array_size(v) : 0;
    if (!n || n > PROFILE_ENGINES_MAX) return bad(eb, "", "engines", "want an array of 1 to 256 engines");
    p->engines = xcalloc(n, sizeof *p->engines);
    status st = ST_OK;
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        char at[40];
        snprintf(at, sizeof at, "engines[%zu]", i);
        p->engine_count = (uint32_t)i + 1;
        st = read_engine(json_array_get(v, i), &p->engines[i], at, eb);
    }
    return st;
}

static status check_hash(profile *p, const json_t *v, errbuf *eb) {
    profile_seal(p);
    if (!v) return ST_OK;
    if (json_is_string(v) && strcmp(json_string_value(v), p->hash) == 0) return ST_OK;
    return errf(eb, ST_INVALID,
                "hash: the numbers give %s: leave the key out, if they were changed on purpose", p->hash);
}

status profile_json_read(profile **out, const json_t *root, errbuf *eb) {
    PRE(out);
    PRE(root);
    profile *p = xcalloc(1, sizeof *p);
    const json_t *link = json_object_get(root, "link"), *overheads = json_object_get(root, "overheads");
    const json_t *format = json_object_get(root, "format");
    status st = ST_OK;
    if (!json_is_string(format) || strcmp(json_string_value(format), PROFILE_JSON_FORMAT) != 0)
        st = bad(eb, "", "format", "want \"" PROFILE_JSON_FORMAT "\"");
    if (st == ST_OK) st = read_object(root, &PROFILE_SHAPE, p, "", eb);
    if (st == ST_OK) st = read_engines(p, json_object_get(root, "engines"), eb);
    p->link.known = !absent(link);
    if (st == ST_OK && p->link.known) st = read_object(link, &LINK_SHAPE, &p->link, "link", eb);
    if (st == ST_OK && !absent(overheads))
        st = read_object(overheads, &OVERHEADS_SHAPE, &p->overheads, "overheads", eb);
    if (st == ST_OK) st = profile_check(p, eb);
    if (st == ST_OK) st = check_hash(p, json_object_get(root, "hash"), eb);
    if (st == ST_OK)
        *out = p;
    else
        profile_free(p);
    return st;
}

/* --- writing --- */

/* A number that is none is unknown, or no bound. */
static json_t *number(double v) {
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *object_of(const shape *s, const void *base) {
    json_t *o = json_object();
    CHECK(o);
    for (size_t i = 0; i < s->count; i++) {
        const field *f = &s->fields[i];
        const void *slot = (const char *)base + f->offset;
        json_t *v = NULL;
        switch (f->kind) {
        case FIELD_NUMBER:
        case FIELD_BOUND:
        case FIELD_KNOWN:
            v = number(*(const double *)slot);
            break;
        case FIELD_COUNT:
            v = json_integer(*(const uint32_t *)slot);
            break;
        case FIELD_TEXT: {
            const char *text = *(char *const *)slot;
            v = text ? json_string(text) : json_null();
            break;
        }
        }
        CHECK(json_object_set_new(o, f->key, v ? v : json_null()) == 0);
    }
    return o;
}

static json_t *cost_of(const step_cost *c) {
    if (!c->count) return json_null();
    json_t *o = object_of(&COST_SHAPE, c), *knots = json_array();
    for (uint32_t i = 0; i < c->count; i++)
        CHECK(json_array_append_new(knots, object_of(&KNOT_SHAPE, &c->knots[i])) == 0);
    CHECK(json_object_set_new(o, "knots", knots) == 0);
    return o;
}

static json_t *error_of(const profile_error *e) {
    return isnan(e->mean) ? json_null() : object_of(&ERROR_SHAPE, e);
}

static json_t *engine_of(const profile_engine *e) {
    json_t *roles = json_array();
    for (worker_role r = 0; r < ROLE_COUNT; r++)
        if (e->roles[r]) CHECK(json_array_append_new(roles, json_string(worker_role_name(r))) == 0);
    json_t *o = json_object(), *fields = object_of(&ENGINE_SHAPE, e);
    CHECK(json_object_set_new(o, "roles", roles) == 0);
    CHECK(json_object_update(o, fields) == 0);
    json_decref(fields);
    CHECK(json_object_set_new(o, "prefill", cost_of(&e->prefill)) == 0);
    CHECK(json_object_set_new(o, "decode", cost_of(&e->decode)) == 0);
    CHECK(json_object_set_new(o, "prefill_error", error_of(&e->prefill_error)) == 0);
    CHECK(json_object_set_new(o, "decode_error", error_of(&e->decode_error)) == 0);
    CHECK(json_object_set_new(o, "mixed_error", error_of(&e->mixed_error)) == 0);
    return o;
}

json_t *profile_json_of(const profile *p) {
    PRE(p);
    json_t *o = json_object(), *fields = object_of(&PROFILE_SHAPE, p), *engines = json_array();
    CHECK(json_object_set_new(o, "format", json_string(PROFILE_JSON_FORMAT)) == 0);
    CHECK(json_object_set_new(o, "hash", json_string(p->hash)) == 0);
    CHECK(json_object_update(o, fields) == 0);
    json_decref(fields);
    for (uint32_t i = 0; i < p->engine_count; i++)
        CHECK(json_array_append_new(engines, engine_of(&p->engines[i])) == 0);
    json_t *link = p->link.known ? object_of(&LINK_SHAPE, &p->link) : json_null();
    CHECK(json_object_set_new(o, "link", link) == 0);
    CHECK(json_object_set_new(o, "overheads", object_of(&OVERHEADS_SHAPE, &p->overheads)) == 0);
    CHECK(json_object_set_new(o, "engines", engines) == 0);
    return o;
}
