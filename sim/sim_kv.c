/* KV: a row holds a word per layer, made from the hash of all ids up to it, so that any other row is noticed.
 */
#include "sim/sim_world.h"

#include <stdlib.h>

const kv_layout sim_layout = {.type = DT_F32, .layers = SIM_LAYERS, .kv_heads = 1, .head_dim = 4};

uint64_t sim_kv_word(uint64_t prefix_hash, uint32_t layer) {
    return prefix_hash + 0x51ed270b27ull * (layer + 1);
}

uint64_t *sim_proc_kv_row(sim_proc *p, const uint32_t *pages, uint32_t pos) {
    size_t row = (size_t)pages[pos / KV_PAGE_TOKENS] * KV_PAGE_TOKENS + pos % KV_PAGE_TOKENS;
    return p->kv + row * SIM_LAYERS;
}

uint64_t *sim_prefix_hashes(const int32_t *ids, uint32_t count) {
    uint64_t *prefix = xcalloc(MAX(count, 1u), sizeof *prefix), h = KV_IDS_HASH_START;
    for (uint32_t i = 0; i < count; i++) prefix[i] = h = kv_ids_hash(h, &ids[i], 1);
    return prefix;
}

void sim_score(uint64_t prefix_hash, int32_t id, token_out *out) {
    PRE(out);
    uint64_t x = kv_mix(prefix_hash + (uint64_t)id);
    *out = (token_out){.logprob = -(float)(x % 4096), .rank = 1 + (uint32_t)(x >> 40), .top_count = 2};
    out->top[0] = (token_logprob){.id = id};
    out->top[1] = (token_logprob){.id = (int32_t)(x >> 34)};
}
