/* dist_model - the models that DistServe's simulator knows, and how many tokens of KV fit an instance.
 *
 * Its table (simdistserve/estimators/profile_data/max_num_tokens.csv) is what its formula
 * (profilers/profile_memory.py) gives on an A100 with 81,053.375 MiB: 95 % of the memory, less 1 %, less the
 * weights, in blocks of 16 tokens. All 76 rows of it come out. The weights of a stage are counted with
 * embeddings on each. Pure. */
#ifndef BATON_PLANNER_DIST_MODEL_H
#define BATON_PLANNER_DIST_MODEL_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct dist_model {
    const char *name; /* "facebook/opt-13b" */
    uint32_t layers, heads, hidden;
} dist_model;

/* By that name or "opt_13b". ST_INVALID lists them. Borrowed: static. */
status dist_model_find(const dist_model **out, const char *name, errbuf *eb);
/* Tokens of KV of one instance; 0: it does not fit, or the table has no such row (tp and pp to 8, pp divides
 * the layers, tp the heads). */
uint64_t dist_model_tokens(const dist_model *m, uint32_t tp, uint32_t pp);
/* Bytes of KV of one token in the whole model, two bytes per number. */
uint64_t dist_model_kv_bytes(const dist_model *m);

#endif
