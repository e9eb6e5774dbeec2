/* spec - from the text of a spec (grammar.h) to a graph. Private to this folder. */
#ifndef BATON_GRAMMAR_SPEC_H
#define BATON_GRAMMAR_SPEC_H

#include "base/status.h"
#include "grammar/graph.h"

#define GRAMMAR_SPEC_MAX (256u * 1024u) /* bytes */

/* The rule that every graph begins with json_rules.h for; *begin is the first node of the answer, whose end
 * is a return. The graph is pruned. Caller frees with graph_done. ST_INVALID, ST_UNSUPPORTED. */
status spec_graph(graph *out, uint32_t *begin, const char *text, size_t len, errbuf *eb);

#endif
