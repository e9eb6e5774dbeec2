/* number - whole numbers between limits, digit by digit.
 *
 * Private to this folder. */
#ifndef BATON_GRAMMAR_NUMBER_H
#define BATON_GRAMMAR_NUMBER_H

#include "base/status.h"
#include "grammar/graph.h"

#include <jansson.h>

typedef struct number_limits {
    bool has_least, has_most;
    int64_t least, most; /* both belong to it */
} number_limits;

/* minimum, maximum, exclusiveMinimum, exclusiveMaximum of a schema. Fractions are rounded inwards.
 * ST_INVALID: a limit is no number, beyond 10^18, or there is nothing between. */
status number_limits_of(number_limits *out, const json_t *schema, errbuf *eb);
/* The whole numbers between, as JSON writes them. */
uint32_t number_integer(graph *g, const number_limits *l, uint32_t next);

#endif
