/* schema - JSON Schema as rules: the answers that obey it, written as a model writes JSON.
 *
 * What is understood: type (also a list), properties in the order of the schema, required,
 * additionalProperties (absent beside properties: none, as xgrammar and OpenAI's strict schemas have it),
 * items, prefixItems, minItems, maxItems, enum, const, anyOf, oneOf (as anyOf), allOf of one, $ref into the
 * schema itself (also recursive), minLength, maxLength, pattern, format (date, time, date-time, uuid, ipv4,
 * email; others say nothing, as the standard has it), minimum, maximum and their exclusive forms of integers,
 * nullable, true and false as schemas. Titles, descriptions and the like say nothing. Any other word is
 * refused by name: an answer that ignored it would look as if it obeyed.
 *
 * Private to this folder. */
#ifndef BATON_GRAMMAR_SCHEMA_H
#define BATON_GRAMMAR_SCHEMA_H

#include "base/status.h"
#include "grammar/json_rules.h"

#include <jansson.h>

/* A value that obeys `root`. ST_INVALID or ST_UNSUPPORTED; the text begins with the place in the schema. */
status schema_node(graph *g, const json_t *root, uint32_t next, uint32_t *out, errbuf *eb);

#endif
