/* kv_write - one head's key and value of one token into a page. */
#ifndef BATON_KERNELS_CPU_ISA_KV_WRITE_H
#define BATON_KERNELS_CPU_ISA_KV_WRITE_H

#include "kernels/cpu/isa/isa.h"

/* SIMD_WIDTH numbers, or `count` of them, as the halves that they round to. */
INLINE void round_to_halves(const float *from, uint32_t count, uint16_t halves[SIMD_WIDTH]) {
    vf_store_half(halves, count == SIMD_WIDTH ? vf_load(from) : vf_load_part(from, count));
}

INLINE void write_head(const kv_layout *l, void *kv, uint32_t page, uint32_t layer, uint32_t head,
                       uint32_t slot, const float *k, const float *v) {
    uint8_t *keys = (uint8_t *)kv + kv_tile_offset(l, page, layer, 0, head);
    uint8_t *values = (uint8_t *)kv + kv_tile_offset(l, page, layer, 1, head) +
                      (size_t)slot * l->head_dim * kv_elem_bytes(l);
    if (l->type == DT_F32) {
        float *to = (float *)(void *)keys;
        for (size_t i = 0; i < l->head_dim; i++) to[cpu_key_at(slot, i)] = k[i];
        memcpy(values, v, l->head_dim * sizeof *v);
        return;
    }
    uint16_t *to = (uint16_t *)(void *)keys, halves[SIMD_WIDTH];
    for (uint32_t i = 0; i < l->head_dim; i += SIMD_WIDTH) {
        uint32_t count = MIN(SIMD_WIDTH, l->head_dim - i);
        round_to_halves(k + i, count, halves);
        for (uint32_t n = 0; n < count; n++) to[cpu_key_at(slot, i + n)] = halves[n];
        round_to_halves(v + i, count, halves);
        memcpy(values + (size_t)i * 2, halves, count * sizeof *halves);
    }
}

#endif
