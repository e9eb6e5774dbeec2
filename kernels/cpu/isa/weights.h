/* weights - quantised weights as vectors of floats, 32 at a time.
 *
 * Every use of a weight goes through weights_group, so its value does not depend on who asks. d * q is exact
 * in fp32 for all block types (11 bits times at most 8), hence all instruction sets and ref agree on the
 * values as well. */
#ifndef BATON_KERNELS_CPU_ISA_WEIGHTS_H
#define BATON_KERNELS_CPU_ISA_WEIGHTS_H

#include "kernels/cpu/isa/isa.h"

#define GROUP 32u /* weights */

/* Bytes of a group: a block, or 32 plain numbers. */
INLINE size_t weights_group_bytes(dtype type) {
    switch (type) {
    case DT_F32:
        return 128;
    case DT_F16:
    case DT_BF16:
        return 64;
    case DT_Q8_0:
        return 34;
    case DT_Q4_0:
        return 18;
    case DT_Q4_1:
        return 20;
    }
    __builtin_unreachable();
}

/* With a constant `type` the switch is gone after inlining. */
INLINE void weights_group(dtype type, const uint8_t *p, vf w[QV]) {
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
    size_t step = weights_group_bytes(type);
    uint32_t whole = count / GROUP, rest = count % GROUP;
    vf w[QV];
    for (uint32_t g = 0; g < whole; g++) {
        weights_group(type, row + g * step, w);
        UNROLL for (uint32_t i = 0; i < QV; i++) vf_store(out + g * GROUP + i * SIMD_WIDTH, w[i]);
    }
    if (rest) {
        uint8_t padded[128];
        weights_tail(row + whole * step, step / GROUP * rest, padded);
        weights_group(type, padded, w);
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
    }
#define WEIGHTS_CASE_(constant, call)                                                                        \
    case constant: {                                                                                         \
        const dtype TYPE = constant;                                                                         \
        call;                                                                                                \
        break;                                                                                               \
    }

#endif
