#include "config/yaml_place.h"

#include "base/status.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

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

/* Recursion is as deep as the file's tables are. */
static yaml_node_t *find(yaml_document_t *doc, const yaml_step *inner, bool of_key) {
    if (!inner) return yaml_document_get_root_node(doc);
    const yaml_node_t *in = find(doc, inner->outer, false);
    if (!in) return NULL;
    if (inner->key) {
        const yaml_node_pair_t *p = pair_of(doc, in, inner->key);
        return p ? yaml_document_get_node(doc, of_key ? p->key : p->value) : NULL;
    }
    if (in->type != YAML_SEQUENCE_NODE) return NULL;
    const yaml_node_item_t *item = in->data.sequence.items.start + inner->index;
    return item < in->data.sequence.items.top ? yaml_document_get_node(doc, *item) : NULL;
}

bool yaml_place(const char *path, const yaml_step *inner, bool of_key, uint32_t *line, uint32_t *column) {
    PRE(path);
    PRE(line);
    PRE(column);
    FILE *file = fopen(path, "re");
    if (!file) return false;
    yaml_parser_t parser;
    yaml_document_t doc;
    CHECK(yaml_parser_initialize(&parser));
    yaml_parser_set_input_file(&parser, file);
    bool found = false;
    if (yaml_parser_load(&parser, &doc)) {
        const yaml_node_t *node = find(&doc, inner, of_key);
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
