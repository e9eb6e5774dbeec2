/* The schema is built from config_keys for each load: a mapping of sections, each a mapping of optional keys.
 * A section is loaded into an array of slots {pointer, count}, one per key, so that NULL means "not in the
 * file".
 *
 * libcyaml tells the place of what it refuses, in log lines only, and for an unknown key the place of what
 * follows. What is refused later (a range, a combination) has no place at all. Both are looked up in the
 * document itself, as libyaml (which libcyaml sits on) gives it with its marks. */
#include "config/config_file.h"

#include "base/mem.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define SECTIONS_MAX 8
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

/* What libcyaml said while it refused a file. */
typedef struct refusal {
    char cause[128]; /* its first line */
    char inner[64];  /* innermost field that it names, or "" */
    char outer[64];  /* the section around it, or "" */
    uint32_t line, column;
} refusal;

static void on_log(cyaml_log_t level, void *ctx, const char *fmt, va_list args) {
    (void)level;
    refusal *r = ctx;
    char text[256];
    vsnprintf(text, sizeof text, fmt, args);
    text[strcspn(text, "\n")] = 0;
    const char *place = strstr(text, "(line: ");
    if (!place) {
        const char *cause = strncmp(text, "Load: ", 6) == 0 ? text + 6 : text;
        if (!r->cause[0]) snprintf(r->cause, sizeof r->cause, "%.*s", (int)sizeof r->cause - 1, cause);
        return;
    }
    if (!r->line) sscanf(place, "(line: %u, column: %u)", &r->line, &r->column);
    char field[64];
    if (sscanf(text, "  in mapping field '%63[^']'", field) != 1) return;
    if (!r->inner[0])
        memcpy(r->inner, field, sizeof field);
    else
        memcpy(r->outer, field, sizeof field);
}

static cyaml_config_t settings(refusal *r) {
    return (cyaml_config_t){
        .log_fn = on_log, .log_ctx = r, .mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR};
}

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

/* The pair of a mapping whose key is name, or NULL. */
static const yaml_node_pair_t *pair_of(yaml_document_t *doc, const yaml_node_t *map, const char *name) {
    if (!map || map->type != YAML_MAPPING_NODE) return NULL;
    const yaml_node_pair_t *p = map->data.mapping.pairs.start, *end = map->data.mapping.pairs.top;
    for (; p < end; p++) {
        const yaml_node_t *key = yaml_document_get_node(doc, p->key);
        if (key && key->type == YAML_SCALAR_NODE && strcmp((const char *)key->data.scalar.value, name) == 0)
            return p;
    }
    return NULL;
}

static const yaml_node_pair_t *find_pair(yaml_document_t *doc, const char *section, const char *name) {
    const yaml_node_t *map = yaml_document_get_root_node(doc);
    if (!section) return pair_of(doc, map, name);
    const yaml_node_pair_t *in = pair_of(doc, map, section);
    return in ? pair_of(doc, yaml_document_get_node(doc, in->value), name) : NULL;
}

/* Where section.name stands in the file, or the section `name` when section is NULL: its key, or its value.
 */
static bool locate(const char *path, const char *section, const char *name, bool key, uint32_t *line,
                   uint32_t *column) {
    FILE *file = fopen(path, "re");
    if (!file) return false;
    yaml_parser_t parser;
    yaml_document_t doc;
    CHECK(yaml_parser_initialize(&parser));
    yaml_parser_set_input_file(&parser, file);
    bool found = false;
    if (yaml_parser_load(&parser, &doc)) {
        const yaml_node_pair_t *p = find_pair(&doc, section, name);
        const yaml_node_t *node = p ? yaml_document_get_node(&doc, key ? p->key : p->value) : NULL;
        found = node != NULL;
        if (found) {
            *line = (uint32_t)node->start_mark.line + 1;
            *column = (uint32_t)node->start_mark.column + 1;
        }
        yaml_document_delete(&doc);
    }
    yaml_parser_delete(&parser);
    fclose(file);
    return found;
}

/* libcyaml's words for a value of the wrong shape, in ours. */
static const char *shape_text(const char *cause) {
    if (strncmp(cause, "Expecting STRING", 16) == 0) return "want one value here, not a list or a mapping";
    if (strncmp(cause, "Expecting SEQUENCE", 18) == 0) return "want a list here, such as [nodeA, nodeB]";
    if (strncmp(cause, "Expecting MAPPING", 17) == 0) return "want keys with values here";
    return cause[0] ? cause : "is no configuration";
}

static status explain(const char *path, const refusal *r, errbuf *eb) {
    uint32_t line = MAX(r->line, 1u), column = MAX(r->column, 1u);
    char name[64];
    if (sscanf(r->cause, "Unexpected key: %63s", name) == 1) {
        locate(path, r->inner[0] ? r->inner : NULL, name, true, &line, &column);
        const char *like = config_key_like(r->inner, name);
        return errf(eb, ST_INVALID, "%s:%u:%u: %s%s%s: unknown key%s%s%s", path, line, column, r->inner,
                    r->inner[0] ? "." : "", name, like ? ": did you mean " : "", like ? like : "",
                    like ? "?" : "");
    }
    return errf(eb, ST_INVALID, "%s:%u:%u: %s%s%s%s%s", path, line, column, r->outer, r->outer[0] ? "." : "",
                r->inner, r->inner[0] ? ": " : "", shape_text(r->cause));
}

status config_file_open(config_file **out, const char *path, errbuf *eb) {
    PRE(out);
    PRE(path);
    FILE *readable = fopen(path, "re"); /* libcyaml does not say why it cannot open a file */
    if (!readable)
        return errf(eb, ST_IO, "%s: %s: give the path of a configuration, such as deploy/config/local.yaml",
                    path, strerror(errno));
    fclose(readable);

    refusal r = {0};
    cyaml_config_t cfg = settings(&r);
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
    refusal r = {0};
    cyaml_config_t cfg = settings(&r);
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
