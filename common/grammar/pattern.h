/* pattern - regular expressions as nodes: the part of ECMA-262's syntax that describes a regular language.
 *
 * Characters, escapes (\d \w \s and their opposites, \t \n \r \f \v \0 \xHH \uHHHH \u{H} \cX), classes, ".",
 * groups ( ) (?: ) (?<name> ), |, * + ? {n} {n,} {n,m} (lazy ones mean the same), ^ and $ at the ends of
 * alternatives. Looking around, back-references, word boundaries, properties \p and flags are refused by
 * name.
 *
 * Private to this folder. */
#ifndef BATON_GRAMMAR_PATTERN_H
#define BATON_GRAMMAR_PATTERN_H

#include "base/status.h"
#include "grammar/chars.h"

#define PATTERN_REPEAT_MAX 4096u

/* search: what is not tied by ^ and $ may have anything around it, as in JSON Schema; else the whole text has
 * to match. ST_INVALID: it is no expression; ST_UNSUPPORTED: one that is not supported. */
status pattern_node(graph *g, const char *text, size_t len, bool search, writing w, uint32_t next,
                    uint32_t *out, errbuf *eb);

#endif
