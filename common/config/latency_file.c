#include "config/latency_file.h"

#include "base/mem.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define NS_PER_MS_F 1e6

/* A file that is being read. */
typedef struct reading {
    const char *path;
    yaml_document_t doc;
    errbuf *eb;
} reading;

typedef struct slot {
    const char *phase, *key; /* "prefill", "beta_ms" */
    double *at;
    bool seen;
} slot;

static const char *text_of(const yaml_node_t *n) {
    return n && n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : "";
}

static status refuse(const reading *r, const yaml_node_t *n, const char *name, const char *what) {
    return errf(r->eb, ST_INVALID, "%s:%zu:%zu: %.60s: %s", r->path, n ? n->start_mark.line + 1 : 1,
                n ? n->start_mark.column + 1 : 1, name, what);
}

static status read_number(const reading *r, const yaml_node_t *n, slot *s) {
    const char *text = text_of(n);
    char name[64], *end = NULL;
    snprintf(name, sizeof name, "%s.%s", s->phase, s->key);
    if (s->seen) return refuse(r, n, name, "stands twice: delete one");
    /* strtod alone would also take 0x10, nan and inf. */
    bool plain = text[0] && strspn(text, "0123456789.eE+-") == strlen(text);
    double ms = plain ? strtod(text, &end) : 0;
    if (!plain || *end || !isfinite(ms) || ms < 0)
        return refuse(r, n, name, "want a number of milliseconds that is not negative, such as 0.102");
    *s->at = ms * NS_PER_MS_F;
    s->seen = true;
    return ST_OK;
}

static slot *find_slot(slot *slots, size_t count, const char *phase, const char *key) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(slots[i].phase, phase) == 0 && strcmp(slots[i].key, key) == 0) return &slots[i];
    return NULL;
}

static status read_phase(reading *r, const char *phase, const yaml_node_t *map, slot *slots, size_t count) {
    if (!map || map->type != YAML_MAPPING_NODE)
        return refuse(r, map, phase, "want the keys alpha_ms, beta_ms and gamma_ms here");
    const yaml_node_pair_t *p = map->data.mapping.pairs.start, *end = map->data.mapping.pairs.top;
    for (; p < end; p++) {
        const yaml_node_t *key = yaml_document_get_node(&r->doc, p->key);
        char name[64];
        slot *s = find_slot(slots, count, phase, text_of(key));
        snprintf(name, sizeof name, "%s.%.40s", phase, text_of(key));
        if (!s) return refuse(r, key, name, "unknown key: want alpha_ms, beta_ms or gamma_ms");
        status st = read_number(r, yaml_document_get_node(&r->doc, p->value), s);
        if (st != ST_OK) return st;
    }
    return ST_OK;
}

static status read_document(reading *r, latency_model *out) {
    latency_model m = {0};
    slot slots[] = {
        {"prefill", "alpha_ms", &m.prefill.alpha_ns, false},
        {"prefill", "beta_ms", &m.prefill.beta_ns, false},
        {"prefill", "gamma_ms", &m.prefill.gamma_ns, false},
        {"decode", "alpha_ms", &m.decode.alpha_ns, false},
        {"decode", "beta_ms", &m.decode.beta_ns, false},
        {"decode", "gamma_ms", &m.decode.gamma_ns, false},
    };
    const yaml_node_t *root = yaml_document_get_root_node(&r->doc);
    if (!root || root->type != YAML_MAPPING_NODE)
        return refuse(r, root, "latency model", "want the keys prefill and decode here");
    const yaml_node_pair_t *p = root->data.mapping.pairs.start, *end = root->data.mapping.pairs.top;
    for (; p < end; p++) {
        const yaml_node_t *key = yaml_document_get_node(&r->doc, p->key);
        const char *phase = text_of(key);
        if (strcmp(phase, "prefill") != 0 && strcmp(phase, "decode") != 0)
            return refuse(r, key, phase, "unknown key: want prefill or decode");
        status st = read_phase(r, phase, yaml_document_get_node(&r->doc, p->value), slots, ARRAY_LEN(slots));
        if (st != ST_OK) return st;
    }
    for (size_t i = 0; i < ARRAY_LEN(slots); i++) {
        if (slots[i].seen) continue;
        return errf(r->eb, ST_INVALID, "%s: %s.%s is missing: add it (0 for none)", r->path, slots[i].phase,
                    slots[i].key);
    }
    *out = m;
    return ST_OK;
}

static status read_file(const char *path, FILE *file, latency_model *out, errbuf *eb) {
    reading r = {.path = path, .eb = eb};
    yaml_parser_t parser;
    CHECK(yaml_parser_initialize(&parser));
    yaml_parser_set_input_file(&parser, file);
    status st;
    if (yaml_parser_load(&parser, &r.doc)) {
        st = read_document(&r, out);
        yaml_document_delete(&r.doc);
    } else {
        st = errf(eb, ST_INVALID, "%s:%zu:%zu: %s", path, parser.problem_mark.line + 1,
                  parser.problem_mark.column + 1, parser.problem ? parser.problem : "is no YAML");
    }
    yaml_parser_delete(&parser);
    return st;
}

status latency_file_find(const char *name, latency_model *out, errbuf *eb) {
    PRE(name);
    PRE(out);
    const latency_model *preset = latency_preset(name);
    if (preset) {
        *out = *preset;
        return ST_OK;
    }
    FILE *file = fopen(name, "re");
    if (!file)
        return errf(eb, ST_INVALID,
                    "\"%.80s\": no preset, and as a file: %s: want one of %s, or a file's path", name,
                    strerror(errno), latency_preset_names());
    status st = read_file(name, file, out, eb);
    fclose(file);
    return st;
}
