/* json_rules - JSON itself (RFC 8259) as rules.
 *
 * White space: at most one blank, or a new line and up to 20 blanks, where JSON allows it: a model cannot be
 * caught in it. Strings are UTF-8 without control characters and without halves of surrogate pairs. Private
 * to this folder. */
#ifndef BATON_GRAMMAR_JSON_RULES_H
#define BATON_GRAMMAR_JSON_RULES_H

#include "grammar/graph.h"

/* The rules that every grammar begins with; their nodes are the first ones and always the same. */
typedef enum json_rule {
    RULE_SPACE,
    RULE_CHAR, /* of a string, escapes included */
    RULE_STRING,
    RULE_INTEGER,
    RULE_NUMBER,
    RULE_OBJECT,
    RULE_ARRAY,
    RULE_VALUE,
    RULE_COUNT
} json_rule;

/* To be called on an empty graph. */
void json_rules(graph *g);

#endif
