/* weights - quantised weights as vectors of floats, 32 at a time.
 *
 * Every use of a weight goes through weights_group, so its value does not depend on who asks. d * q is exact
 * in fp32 for all block types (blocks.h), hence all instruction sets and ref agree on the
 * values as well. */
#ifndef BATON_KERNELS_CPU_ISA_WEIGHTS_H
#define BATON_KERNELS_CPU_ISA_WEIGHTS_H

#include "kernels/blocks.h"
#include "kernels/cpu/isa/isa.h"

#define GROUP 32u /* weights */

INLINE bool weights_plain(dtype type) {
    return type == DT_F32 || type == DT_F16 || type == DT_BF16;
}

/* Bytes of 32 plain numbers. */
INLINE size_t weights_plain_bytes(dtype type) {
    return type == DT_F32 ? 128 : 64;
}

/* Where group g of a row begins: 32 plain numbers, or the block that has it. */
INLINE const uint8_t *weights_at(dtype type, const uint8_t *row, size_t g) {
    if (weights_plain(type)) return row + g * weights_plain_bytes(type);
    return row + (block_is_super(type) ? g / 8 : g) * block_size_of(type);
}

/* Group g of a block of one of the types that are taken apart by blocks.h: scale * number (+ least). */
INLINE void weights_block(dtype type, const uint8_t *block, uint32_t g, vf w[QV]) {
    block_group b;
    block_read(type, block, g, &b);
    for (uint32_t k = 0; k < GROUP; k++) b.q[k] = (int8_t)block_number(type, b.q[k]);
    vf_load_int8(b.q, w);
    UNROLL for (uint32_t i = 0; i < QV; i++) {
        const uint32_t half = i * SIMD_WIDTH / 16;
        vf scale = vf_set1(block_scale_of(type, &b, half));
        if (block_has_least(type))
            w[i] = vf_fma(scale, w[i], vf_set1(block_least_of(type, &b, half)));
        else
            w[i] = scale * w[i];
    }
}

/* With a constant `type` the switch is gone after inlining. */
INLINE void weights_group(dtype type, const uint8_t *row, size_t g, vf w[QV]) {
    const uint8_t *p = weights_at(type, row, g);
    vf scale, add;
    switch (type) {
    case DT_F32:
        UNROLL for (uint32_t i = 0; i < QV; i++) w[i] =
            vf_load((const float *)(const void *)p + i * SIMD_WIDTH);
        return;
    case DT_F16:
        UNROLL for (uint32_t i = 0; i < QV; i++) w[i] = vf_load_half(p + i * SIMD_WIDTH * 2);
        return;
    case DT_BF16:
        UNROLL for (uint32_t i = 0; i < QV; i++) w[i] = vf_load_bf16(p + i * SIMD_WIDTH * 2);
        return;
    case DT_Q8_0:
        scale = vf_set1_half(p);
        vf_load_int8(p + 2, w);
        UNROLL for (uint32_t i = 0; i < QV; i++) w[i] = scale * w[i];
        return;
    case DT_Q4_0: /* d * q - 8 d = d * (q - 8), exactly, save for the sign of a zero */
        scale = vf_set1_half(p);
        add = scale * vf_set1(-8.0f);
        vf_load_nibbles(p + 2, w);
        UNROLL for (uint32_t i = 0; i < QV; i++) w[i] = vf_fma(scale, w[i], add);
        return;
    case DT_Q4_1:
        scale = vf_set1_half(p);
        add = vf_set1_half(p + 2);
        vf_load_nibbles(p + 4, w);
        UNROLL for (uint32_t i = 0; i < QV; i++) w[i] = vf_fma(scale, w[i], add);
        return;
    case DT_Q5_0:
    case DT_Q5_1:
    case DT_IQ4_NL:
        weights_block(type, p, 0, w);
        return;
    case DT_Q2_K:
    case DT_Q3_K:
    case DT_Q4_K:
    case DT_Q5_K:
    case DT_Q6_K:
        weights_block(type, p, g % 8, w);
        return;
    }
    __builtin_unreachable();
}

/* The last group of a row of plain numbers whose length is no multiple of 32, padded with zeros. [128 bytes]
 */
INLINE void weights_tail(const uint8_t *p, size_t bytes, uint8_t padded[128]) {
    memset(padded, 0, 128);
    memcpy(padded, p, bytes);
}

/* A row of `count` weights as floats, padded with zeros to whole groups. */
INLINE void weights_row(dtype type, const uint8_t *row, uint32_t count, float *out) {
    uint32_t whole = count / GROUP, rest = count % GROUP;
    vf w[QV];
    for (uint32_t g = 0; g < whole; g++) {
        weights_group(type, row, g, w);
        UNROLL for (uint32_t i = 0; i < QV; i++) vf_store(out + g * GROUP + i * SIMD_WIDTH, w[i]);
    }
    if (rest && weights_plain(type)) {
        uint8_t padded[128];
        weights_tail(weights_at(type, row, whole), weights_plain_bytes(type) / GROUP * rest, padded);
        weights_group(type, padded, 0, w);
        UNROLL for (uint32_t i = 0; i < QV; i++) vf_store(out + whole * GROUP + i * SIMD_WIDTH, w[i]);
    }
}

/* Runs `call` with the constant TYPE equal to `type`, so that each type gets code of its own. */
#define WEIGHTS_FOR_TYPE(type, call)                                                                         \
    switch (type) {                                                                                          \
        WEIGHTS_CASE_(DT_F32, call)                                                                          \
        WEIGHTS_CASE_(DT_F16, call)                                                                          \
        WEIGHTS_CASE_(DT_BF16, call)                                                                         \
        WEIGHTS_CASE_(DT_Q8_0, call)                                                                         \
        WEIGHTS_CASE_(DT_Q4_0, call)                                                                         \
        WEIGHTS_CASE_(DT_Q4_1, call)                                                                         \
        WEIGHTS_CASE_(DT_Q5_0, call)                                                                         \
        WEIGHTS_CASE_(DT_Q5_1, call)                                                                         \
        WEIGHTS_CASE_(DT_IQ4_NL, call)                                                                       \
        WEIGHTS_CASE_(DT_Q2_K, call)                                                                         \
        WEIGHTS_CASE_(DT_Q3_K, call)                                                                         \
        WEIGHTS_CASE_(DT_Q4_K, call)                                                                         \
        WEIGHTS_CASE_(DT_Q5_K, call)                                                                         \
        WEIGHTS_CASE_(DT_Q6_K, call)                                                                         \
    }
#define WEIGHTS_CASE_(constant, call)                                                                        \
    case constant: {                                                                                         \
        const dtype TYPE = constant;                                                                         \
        call;                                                                                                \
        break;                                                                                               \
    }

#endif
