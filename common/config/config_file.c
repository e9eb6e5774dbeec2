/* The schema is built from config_keys for each load: a mapping of sections, each a mapping of optional keys.
 * A section is loaded into an array of slots {pointer, count}, one per key, so that NULL means "not in the
 * file".
 *
 * libcyaml tells the place of what it refuses, in log lines only, and for an unknown key the place of what
 * follows. What is refused later (a range, a combination) has no place at all. Both are looked up in the
 * document itself, as libyaml (which libcyaml sits on) gives it with its marks. */
#include "config/config_file.h"

#include "base/mem.h"
#include "config/yaml_place.h"
#include "config/yaml_refusal.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTIONS_MAX 12
#define LIST_MAX     1024

typedef struct slot {
    void *value; /* char * or char **; of libcyaml */
    uint64_t count;
} slot;

typedef struct schema {
    cyaml_schema_value_t root, entry;
    cyaml_schema_field_t sections[SECTIONS_MAX + 1]; /* + the end */
    cyaml_schema_field_t *fields[SECTIONS_MAX];      /* of each section */
    uint32_t section_count;
} schema;

struct config_file {
    char *path;
    schema *schema;
    slot **sections; /* [section_count], NULL = not in the file; of libcyaml */
};

static void schema_free(schema *s) {
    if (!s) return;
    for (uint32_t i = 0; i < s->section_count; i++) free(s->fields[i]);
    free(s);
}

static uint32_t section_of(schema *s, const char *name) {
    uint32_t i = 0;
    while (i < s->section_count && strcmp(s->sections[i].key, name) != 0) i++;
    return i;
}

static schema *schema_new(void) {
    schema *s = xcalloc(1, sizeof *s);
    s->entry = (cyaml_schema_value_t){CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 0, CYAML_UNLIMITED)};
    for (uint32_t i = 0; i < config_key_count; i++) {
        const config_key *k = &config_keys[i];
        uint32_t at = section_of(s, k->section);
        if (at == s->section_count) {
            CHECK(s->section_count < SECTIONS_MAX);
            s->section_count++;
            s->fields[at] = xcalloc(config_key_count + 1, sizeof(cyaml_schema_field_t)); /* + the end */
            s->sections[at] = (cyaml_schema_field_t){
                .key = k->section,
                .data_offset = at * (uint32_t)sizeof(slot *),
                .value = {.type = CYAML_MAPPING, .flags = CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER}};
            s->sections[at].value.mapping.fields = s->fields[at];
            s->sections[at].value.data_size = config_key_count * (uint32_t)sizeof(slot);
        }
        uint32_t n = 0;
        while (s->fields[at][n].key) n++;
        cyaml_schema_field_t *f = &s->fields[at][n];
        f->key = k->name;
        f->data_offset = n * (uint32_t)sizeof(slot) + (uint32_t)offsetof(slot, value);
        f->count_offset = n * (uint32_t)sizeof(slot) + (uint32_t)offsetof(slot, count);
        f->count_size = sizeof(uint64_t);
        f->value = s->entry;
        f->value.flags |= CYAML_FLAG_OPTIONAL;
        if (k->type == KEY_LIST) {
            f->value.type = CYAML_SEQUENCE;
            f->value.sequence.entry = &s->entry;
            f->value.sequence.min = 0;
            f->value.sequence.max = LIST_MAX;
        }
    }
    s->root = (cyaml_schema_value_t){.type = CYAML_MAPPING,
                                     .flags = CYAML_FLAG_POINTER,
                                     .data_size = SECTIONS_MAX * sizeof(slot *),
                                     .mapping = {.fields = s->sections}};
    return s;
}

/* Where section.name stands in the file, or `name` itself when section is NULL: its key, or its value. */
static bool locate(const char *path, const char *section, const char *name, bool key, uint32_t *line,
                   uint32_t *column) {
    const yaml_step outer = {.key = section}, step = {.key = name, .outer = section ? &outer : NULL};
    return yaml_place(path, &step, key, line, column);
}

/* The n-th mapping field that libcyaml named, from the innermost; "" = there is none. */
static const char *field_of(const yaml_refusal *r, uint32_t n) {
    for (uint32_t i = 0; i < r->steps; i++)
        if (r->keys[i][0] && n-- == 0) return r->keys[i];
    return "";
}

static status explain(const char *path, const yaml_refusal *r, errbuf *eb) {
    uint32_t line = MAX(r->line, 1u), column = MAX(r->column, 1u);
    const char *inner = field_of(r, 0), *outer = field_of(r, 1);
    char name[64], shape[64];
    if (sscanf(r->cause, "Unexpected key: %63s", name) == 1) {
        locate(path, inner[0] ? inner : NULL, name, true, &line, &column);
        const char *like = config_key_like(inner, name);
        return errf(eb, ST_INVALID, "%s:%u:%u: %s%s%s: unknown key%s%s%s", path, line, column, inner,
                    inner[0] ? "." : "", name, like ? ": did you mean " : "", like ? like : "",
                    like ? "?" : "");
    }
    return errf(eb, ST_INVALID, "%s:%u:%u: %s%s%s%s%s", path, line, column, outer, outer[0] ? "." : "", inner,
                inner[0] ? ": " : "",
                yaml_refusal_shape(r, shape, sizeof shape, "[nodeA, nodeB]", "is no configuration"));
}

status config_file_open(config_file **out, const char *path, errbuf *eb) {
    PRE(out);
    PRE(path);
    FILE *readable = fopen(path, "re"); /* libcyaml does not say why it cannot open a file */
    if (!readable)
        return errf(eb, ST_IO, "%s: %s: give the path of a configuration, such as deploy/config/local.yaml",
                    path, strerror(errno));
    fclose(readable);

    yaml_refusal r = {0};
    cyaml_config_t cfg = yaml_refusal_config(&r);
    config_file *f = xcalloc(1, sizeof *f);
    f->path = xstrdup(path);
    f->schema = schema_new();
    cyaml_data_t *data = NULL;
    cyaml_err_t err = cyaml_load_file(path, &cfg, &f->schema->root, &data, NULL);
    if (err != CYAML_OK) {
        status st = explain(path, &r, eb);
        config_file_close(f);
        return st;
    }
    f->sections = data;
    *out = f;
    return ST_OK;
}

void config_file_close(config_file *f) {
    if (!f) return;
    yaml_refusal r = {0};
    cyaml_config_t cfg = yaml_refusal_config(&r);
    if (f->sections) cyaml_free(&cfg, &f->schema->root, f->sections, 0);
    schema_free(f->schema);
    free(f->path);
    free(f);
}

static const slot *find(const config_file *f, const config_key *k) {
    uint32_t at = section_of(f->schema, k->section), n = 0;
    if (!f->sections || !f->sections[at]) return NULL;
    while (strcmp(f->schema->fields[at][n].key, k->name) != 0) n++;
    return f->sections[at][n].value ? &f->sections[at][n] : NULL;
}

const char *config_file_text(const config_file *f, const config_key *k) {
    PRE(k->type != KEY_LIST);
    const slot *s = find(f, k);
    return s ? s->value : NULL;
}

const char *const *config_file_list(const config_file *f, const config_key *k, uint32_t *count) {
    PRE(k->type == KEY_LIST);
    const slot *s = find(f, k);
    *count = s ? (uint32_t)s->count : 0;
    return s ? (const char *const *)s->value : NULL;
}

bool config_file_has(const config_file *f, const config_key *k) {
    return find(f, k) != NULL;
}

bool config_file_locate(const config_file *f, const config_key *k, uint32_t *line, uint32_t *column) {
    return config_file_has(f, k) && locate(f->path, k->section, k->name, false, line, column);
}
