/* dist_configs - the placements that DistServe's search tries (simdistserve/benchmarks/search_configs.py).
 *
 *   Algorithm 1   fast links between nodes: tp x pp of prefill and of decode, all GPUs alike
 *   Algorithm 2   slow ones: the layers are cut into segments, whose prefill and decode stages share a node,
 *                 so that KV moves within it; both phases have the same cut
 *   vLLM          tp x pp of workers that do both
 *
 * One prefill and one decode instance each: a cluster is that, many times over. Pure. */
#ifndef BATON_PLANNER_DIST_CONFIGS_H
#define BATON_PLANNER_DIST_CONFIGS_H

#include "planner/distserve/dist_model.h"

typedef enum dist_algorithm { DIST_HIGH_AFFINITY = 1, DIST_LOW_AFFINITY = 2, DIST_VLLM = 3 } dist_algorithm;

typedef struct dist_config {
    bool colocated;                  /* decode_* are 0 */
    uint32_t cross;                  /* segments */
    uint32_t prefill_tp, prefill_pp; /* pp: of one segment */
    uint32_t decode_tp, decode_pp;
} dist_config;

#define DIST_GPUS_MAX 1024u /* of a cluster */

/* In its order. Caller frees *out with free. PRE: nodes, per_node >= 1, their product <= DIST_GPUS_MAX */
void dist_configs_list(dist_config **out, uint32_t *count, const dist_model *m, dist_algorithm algorithm,
                       uint32_t nodes, uint32_t per_node);
uint32_t dist_config_gpus(const dist_config *c);
/* "P tp2 pp1, D tp1 pp1", "2 segments of ...", "tp2 pp1". Returns out. */
const char *dist_config_text(const dist_config *c, char *out, size_t size);

#endif
