#include "planner/distserve/dist_configs.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

/* A number's divisors, ascending, up to a limit. */
typedef struct divisors {
    uint32_t values[96], count;
} divisors;

static divisors divisors_of(uint32_t n, uint32_t limit) {
    divisors d = {.count = 0};
    for (uint32_t i = 1; i <= n && i <= limit && d.count < ARRAY_LEN(d.values); i++)
        if (n % i == 0) d.values[d.count++] = i;
    return d;
}

uint32_t dist_config_gpus(const dist_config *c) {
    PRE(c);
    return c->cross * (c->prefill_tp * c->prefill_pp + c->decode_tp * c->decode_pp);
}

static void add(dist_config **list, uint32_t *count, const dist_config *c) {
    *list = xrealloc(*list, *count + 1u, sizeof **list);
    (*list)[(*count)++] = *c;
}

static void list_vllm(dist_config **list, uint32_t *count, const divisors *tps, const divisors *pps,
                      uint32_t gpus) {
    for (uint32_t t = 0; t < tps->count; t++)
        for (uint32_t p = 0; p < pps->count; p++) {
            dist_config c = {true, 1, tps->values[t], pps->values[p], 0, 0};
            if (dist_config_gpus(&c) <= gpus) add(list, count, &c);
        }
}

typedef struct bounds {
    const dist_model *model;
    uint32_t gpus, segment; /* GPUs of all, and of one segment at most */
} bounds;

static bool allowed(const dist_config *c, const bounds *b) {
    uint32_t segment = dist_config_gpus(c) / c->cross;
    return segment <= b->segment && dist_config_gpus(c) <= b->gpus &&
           b->model->layers % (c->cross * c->prefill_pp) == 0 &&
           b->model->layers % (c->cross * c->decode_pp) == 0;
}

void dist_configs_list(dist_config **out, uint32_t *count, const dist_model *m, dist_algorithm algorithm,
                       uint32_t nodes, uint32_t per_node) {
    PRE(out);
    PRE(count);
    PRE(m);
    PRE(nodes > 0);
    PRE(per_node > 0);
    PRE((uint64_t)nodes * per_node <= DIST_GPUS_MAX);
    bool low = algorithm == DIST_LOW_AFFINITY;
    bounds b = {m, nodes * per_node, low ? per_node : nodes * per_node};
    divisors tps = divisors_of(m->heads, b.segment), pps = divisors_of(m->layers, b.segment);
    divisors crosses = divisors_of(m->layers, low ? nodes : 1);
    *out = NULL;
    *count = 0;
    if (algorithm == DIST_VLLM) {
        list_vllm(out, count, &tps, &pps, b.gpus);
        return;
    }
    uint32_t sides = tps.count * pps.count;
    for (uint32_t i = 0; i < crosses.count; i++)
        for (uint32_t p = 0; p < sides; p++)
            for (uint32_t d = 0; d < sides; d++) {
                dist_config c = {false,
                                 crosses.values[i],
                                 tps.values[p / pps.count],
                                 pps.values[p % pps.count],
                                 tps.values[d / pps.count],
                                 pps.values[d % pps.count]};
                if (allowed(&c, &b)) add(out, count, &c);
            }
}

const char *dist_config_text(const dist_config *c, char *out, size_t size) {
    PRE(c);
    PRE(out);
    if (c->colocated) {
        snprintf(out, size, "tp%u pp%u", c->prefill_tp, c->prefill_pp);
        return out;
    }
    int n = c->cross > 1 ? snprintf(out, size, "%u x ", c->cross) : 0;
    if (n >= 0 && (size_t)n < size)
        snprintf(out + n, size - (size_t)n, "P tp%u pp%u, D tp%u pp%u", c->prefill_tp, c->prefill_pp,
                 c->decode_tp, c->decode_pp);
    return out;
}
