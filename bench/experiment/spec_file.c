/* The libcyaml schema is built from the tables of spec_keys for each load: every map is an array of slots
 * {pointer, count}, one per key, so that NULL means "not in the file". Values are read as texts, since
 * libcyaml takes "12x" for 12, and parsed here.
 *
 * libcyaml tells what it refuses in log lines, innermost first; the place is then looked up by those steps.
 */
#include "bench/experiment/spec_file.h"

#include "base/mem.h"
#include "bench/experiment/spec_keys.h"
#include "config/config_keys.h"
#include "config/yaml_place.h"
#include "config/yaml_refusal.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_MAX 4096

typedef struct slot {
    void *value; /* char *, char **, slot * or slot **; of libcyaml */
    uint64_t count;
} slot;

/* ---- the schema ---- */

static const cyaml_schema_value_t text_schema = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 0, CYAML_UNLIMITED)};

/* Fields and entries, freed together. */
typedef struct schema {
    cyaml_schema_value_t root;
    void *blocks[64];
    uint32_t block_count;
} schema;

static void *schema_block(schema *s, size_t count, size_t size) {
    CHECK(s->block_count < ARRAY_LEN(s->blocks));
    return s->blocks[s->block_count++] = xcalloc(count, size);
}

static cyaml_schema_value_t schema_map(schema *s, const spec_table *t) {
    cyaml_schema_field_t *fields = schema_block(s, t->count + 1, sizeof *fields); /* + the end */
    for (uint32_t i = 0; i < t->count; i++) {
        const spec_key *k = &t->keys[i];
        cyaml_schema_value_t entry = k->table ? schema_map(s, k->table) : text_schema;
        cyaml_schema_field_t *f = &fields[i];
        f->key = k->name;
        f->data_offset = i * (uint32_t)sizeof(slot) + (uint32_t)offsetof(slot, value);
        f->count_offset = i * (uint32_t)sizeof(slot) + (uint32_t)offsetof(slot, count);
        f->count_size = sizeof(uint64_t);
        f->value = entry;
        if (k->type == SPEC_MAPS || k->type == SPEC_TEXTS || k->type == SPEC_NUMBERS) {
            cyaml_schema_value_t *held = schema_block(s, 1, sizeof *held);
            *held = entry;
            f->value = (cyaml_schema_value_t){.type = CYAML_SEQUENCE,
                                              .flags = CYAML_FLAG_POINTER,
                                              .data_size = sizeof(void *),
                                              .sequence = {.entry = held, .min = 0, .max = LIST_MAX}};
        }
        f->value.flags |= CYAML_FLAG_OPTIONAL;
    }
    cyaml_schema_value_t map = {
        .type = CYAML_MAPPING, .flags = CYAML_FLAG_POINTER, .data_size = t->count * (uint32_t)sizeof(slot)};
    map.mapping.fields = fields;
    return map;
}

static schema *schema_new(void) {
    schema *s = xcalloc(1, sizeof *s);
    s->root = schema_map(s, &spec_root);
    return s;
}

static void schema_free(schema *s) {
    for (uint32_t i = 0; i < s->block_count; i++) free(s->blocks[i]);
    free(s);
}

/* ---- refusals ---- */

/* "placements[1].prefill.count" */
static void add_path(buf *out, const yaml_step *inner) {
    if (!inner) return;
    add_path(out, inner->outer);
    if (inner->key)
        buf_addf(out, "%s%s", out->len ? "." : "", inner->key);
    else
        buf_addf(out, "[%u]", inner->index + 1);
}

typedef struct reading {
    const char *path;
    errbuf *eb;
} reading;

/* Puts "path:line:column: steps: " before the text that is there. */
static status refuse(const reading *r, const yaml_step *inner, bool of_key) {
    uint32_t line = 1, column = 1;
    const yaml_step *s = inner; /* the innermost one that is there */
    while (s && !yaml_place(r->path, s, of_key && s == inner, &line, &column)) s = s->outer;
    buf steps = {0};
    add_path(&steps, inner);
    status st = err_prefix(r->eb, ST_INVALID, "%s:%u:%u%s%s", r->path, line, column, steps.len ? ": " : "",
                           steps.len ? steps.data : "");
    buf_done(&steps);
    return st;
}

/* The known keys of the map in which an unknown one stood. */
static void add_known(buf *out, const yaml_step *inner) {
    const spec_table *t = &spec_root;
    const yaml_step *way[YAML_STEPS_MAX + 1];
    uint32_t n = 0;
    for (const yaml_step *s = inner; s; s = s->outer) way[n++] = s;
    while (n > 0 && t) {
        const yaml_step *s = way[--n];
        if (!s->key) continue;
        const spec_table *next = NULL;
        for (uint32_t i = 0; i < t->count; i++)
            if (strcmp(t->keys[i].name, s->key) == 0) next = t->keys[i].table;
        t = next;
    }
    for (uint32_t i = 0; t && i < t->count; i++) buf_addf(out, "%s%s", i ? ", " : "", t->keys[i].name);
}

static status explain(const reading *r, const yaml_refusal *why) {
    yaml_step steps[YAML_STEPS_MAX], unknown;
    for (uint32_t i = 0; i < why->steps; i++)
        steps[i] = (yaml_step){.key = why->keys[i][0] ? why->keys[i] : NULL,
                               .index = why->index[i] ? why->index[i] - 1 : 0,
                               .outer = i + 1 < why->steps ? &steps[i + 1] : NULL};
    const yaml_step *inner = why->steps ? &steps[0] : NULL;
    char name[64];
    if (sscanf(why->cause, "Unexpected key: %63[^\n]", name) == 1) {
        unknown = (yaml_step){.key = name, .outer = inner};
        buf known = {0};
        add_known(&known, inner);
        errf(r->eb, ST_INVALID, "unknown key; known here: %s", known.len ? known.data : "");
        buf_done(&known);
        return refuse(r, &unknown, true);
    }
    if (strstr(why->cause, "libyaml: ")) /* no document, so no place in it */
        return errf(r->eb, ST_INVALID, "%s:%u:%u: %s", r->path, MAX(why->line, 1u), MAX(why->column, 1u),
                    strstr(why->cause, "libyaml: ") + strlen("libyaml: "));
    char shape[64];
    errf(r->eb, ST_INVALID, "%s", yaml_refusal_shape(why, shape, sizeof shape, "[1, 2]", "is no experiment"));
    return refuse(r, inner, false);
}

/* ---- values ---- */

static status parse_number(const spec_key *k, const char *text, double *out, errbuf *eb) {
    char *rest = NULL;
    errno = 0;
    double v = strtod(text, &rest);
    bool plain = text[0] && strspn(text, "0123456789.+-eE") == strlen(text) && !*rest && isfinite(v);
    if (!plain) return errf(eb, ST_INVALID, "\"%s\" is no number", text);
    if ((k->whole || k->type == SPEC_COUNT) && v != floor(v))
        return errf(eb, ST_INVALID, "\"%s\" is no whole number", text);
    if (v < k->min || v > k->max)
        return errf(eb, ST_INVALID, "%s is out of range: want %g to %g", text, k->min, k->max);
    *out = v;
    return ST_OK;
}

static status assign_scalar(const spec_key *k, void *at, const char *text, errbuf *eb) {
    double number = 0;
    status st = ST_OK;
    switch (k->type) {
    case SPEC_TEXT:
        if (k->choices && !config_is_choice(k->choices, text))
            return errf(eb, ST_INVALID, "\"%s\" is unknown: want %s", text, k->choices);
        if (k->required && !text[0]) return errf(eb, ST_INVALID, "is empty: give a text");
        *(char **)at = xstrdup(text);
        return ST_OK;
    case SPEC_NUMBER_TEXT:
        st = parse_number(k, text, &number, eb);
        if (st == ST_OK) *(char **)at = xstrdup(text);
        return st;
    case SPEC_NUMBER:
        st = parse_number(k, text, &number, eb);
        if (st == ST_OK) *(double *)at = number;
        return st;
    case SPEC_COUNT:
        st = parse_number(k, text, &number, eb);
        if (st == ST_OK) *(uint32_t *)at = (uint32_t)number;
        return st;
    default:
        CHECK(k->type == SPEC_BOOL);
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            return errf(eb, ST_INVALID, "\"%s\" is no truth value: want true or false", text);
        *(bool *)at = text[0] == 't';
        return ST_OK;
    }
}

static status assign_map(const reading *r, const spec_table *t, const slot *slots, void *base,
                         const yaml_step *outer);

static status assign_texts(const spec_key *k, const slot *s, spec_texts *out) {
    (void)k;
    out->items = xcalloc((size_t)s->count + 1, sizeof *out->items);
    for (; out->count < s->count; out->count++)
        out->items[out->count] = xstrdup(((char **)s->value)[out->count]);
    return ST_OK;
}

static status assign_list(const reading *r, const spec_key *k, const slot *s, void *base,
                          const yaml_step *step) {
    void *at = (char *)base + k->offset;
    if (k->type == SPEC_TEXTS) return assign_texts(k, s, at);
    if (k->type == SPEC_NUMBERS) {
        spec_numbers *out = at;
        out->items = xcalloc((size_t)s->count + 1, sizeof *out->items);
        for (; out->count < s->count; out->count++) {
            const yaml_step entry = {.index = out->count, .outer = step};
            if (parse_number(k, ((char **)s->value)[out->count], &out->items[out->count], r->eb) != ST_OK)
                return refuse(r, &entry, false);
        }
        return ST_OK;
    }
    CHECK(k->type == SPEC_MAPS);
    uint32_t *count = (uint32_t *)((char *)base + k->count_offset);
    char *maps = xcalloc((size_t)s->count + 1, k->table->size);
    *(void **)at = maps;
    status st = ST_OK;
    while (st == ST_OK && *count < s->count) {
        const yaml_step entry = {.index = *count, .outer = step};
        ++*count; /* first, so that what a failure leaves is freed */
        st = assign_map(r, k->table, ((slot **)s->value)[*count - 1], maps + (*count - 1) * k->table->size,
                        &entry);
    }
    return st;
}

static status assign_key(const reading *r, const spec_key *k, const slot *s, void *base,
                         const yaml_step *outer) {
    const yaml_step step = {.key = k->name, .outer = outer};
    void *at = (char *)base + k->offset;
    bool list = k->type == SPEC_TEXTS || k->type == SPEC_NUMBERS || k->type == SPEC_MAPS;
    bool absent = !s || (!s->value && !(list && s->count));
    if (k->type == SPEC_MAP) return assign_map(r, k->table, absent ? NULL : s->value, at, &step);
    if (absent && k->required) {
        errf(r->eb, ST_INVALID, "is missing");
        return refuse(r, &step, false);
    }
    if (absent) {
        if (k->text) CHECK(assign_scalar(k, at, k->text, NULL) == ST_OK);
        return ST_OK;
    }
    if (list) return assign_list(r, k, s, base, &step);
    return assign_scalar(k, at, s->value, r->eb) == ST_OK ? ST_OK : refuse(r, &step, false);
}

/* slots NULL: the map is not there. */
static status assign_map(const reading *r, const spec_table *t, const slot *slots, void *base,
                         const yaml_step *outer) {
    if (slots && t->given) *(bool *)((char *)base + t->given) = true;
    status st = ST_OK;
    for (uint32_t i = 0; st == ST_OK && i < t->count; i++)
        st = assign_key(r, &t->keys[i], slots ? &slots[i] : NULL, base, outer);
    return st;
}

/* ---- the whole ---- */

static status load_slots(slot **out, schema *sc, const reading *r) {
    FILE *readable = fopen(r->path, "re"); /* libcyaml does not say why it cannot open a file */
    if (!readable)
        return errf(r->eb, ST_IO,
                    "%s: %s: give the path of an experiment, such as deploy/experiments/ratio-sweep.yaml",
                    r->path, strerror(errno));
    fclose(readable);
    yaml_refusal why = {0};
    cyaml_config_t cfg = yaml_refusal_config(&why);
    cyaml_data_t *data = NULL;
    cyaml_err_t err = cyaml_load_file(r->path, &cfg, &sc->root, &data, NULL);
    if (err != CYAML_OK) return explain(r, &why);
    *out = data; /* NULL: an empty file */
    return ST_OK;
}

status spec_load(spec **out, const char *path, errbuf *eb) {
    PRE(out);
    PRE(path);
    errbuf local = {0};
    const reading r = {.path = path, .eb = eb ? eb : &local};
    schema *sc = schema_new();
    slot *slots = NULL;
    status st = load_slots(&slots, sc, &r);
    if (st == ST_OK) {
        spec *s = xcalloc(1, sizeof *s);
        st = assign_map(&r, &spec_root, slots, s, NULL);
        if (st == ST_OK)
            *out = s;
        else
            spec_free(s);
    }
    yaml_refusal ignored = {0};
    cyaml_config_t cfg = yaml_refusal_config(&ignored);
    if (slots) cyaml_free(&cfg, &sc->root, slots, 0);
    schema_free(sc);
    return st;
}

void spec_free(spec *s) {
    if (!s) return;
    spec_map_done(&spec_root, s);
    free(s);
}
