#include "bench/report/yaml_tree.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#define DEPTH_MAX 32

static json_t *scalar(const yaml_node_t *n) {
    json_t *v = json_stringn((const char *)n->data.scalar.value, n->data.scalar.length);
    return v ? v : json_string("");
}

/* NULL: too deep, or a key that is no text. */
static json_t *tree(yaml_document_t *doc, int id, int depth) {
    yaml_node_t *n = yaml_document_get_node(doc, id);
    if (!n || depth > DEPTH_MAX) return NULL;
    if (n->type == YAML_SCALAR_NODE) return scalar(n);
    if (n->type == YAML_SEQUENCE_NODE) {
        json_t *list = json_array();
        for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
            if (json_array_append_new(list, tree(doc, *i, depth + 1)) != 0) return json_decref(list), NULL;
        }
        return list;
    }
    json_t *map = json_object();
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
        yaml_node_t *key = yaml_document_get_node(doc, p->key);
        const char *name = key && key->type == YAML_SCALAR_NODE ? (const char *)key->data.scalar.value : NULL;
        if (!name || json_object_set_new(map, name, tree(doc, p->value, depth + 1)) != 0)
            return json_decref(map), NULL;
    }
    return map;
}

status yaml_tree_read(json_t **out, const char *path, errbuf *eb) {
    PRE(out);
    PRE(path);
    FILE *f = fopen(path, "re");
    if (!f) return errf(eb, ST_IO, "%s: %s", path, strerror(errno));
    yaml_parser_t parser;
    yaml_document_t doc;
    CHECK(yaml_parser_initialize(&parser));
    yaml_parser_set_input_file(&parser, f);
    status st = ST_OK;
    if (!yaml_parser_load(&parser, &doc)) {
        st = errf(eb, ST_INVALID, "%s:%zu: %s", path, parser.problem_mark.line + 1,
                  parser.problem ? parser.problem : "no YAML");
    } else {
        yaml_node_t *root = yaml_document_get_root_node(&doc);
        json_t *t = root ? tree(&doc, 1, 0) : json_object();
        yaml_document_delete(&doc);
        if (t)
            *out = t;
        else
            st = errf(eb, ST_INVALID, "%s: nested too deeply, or a key is no text", path);
    }
    yaml_parser_delete(&parser);
    fclose(f);
    return st;
}
