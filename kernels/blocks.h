/* blocks - the block formats of tensor.h taken apart, 32 weights (a group) at a time: for all who read or
 * repack them.
 *
 *   w[k] = d * scale * (q[k] - zero)              types without a least weight
 *   w[k] = d * scale * q[k] + m                   q4_1, q5_1: scale 1
 *   w[k] = d * scale * q[k] - m * least           q2_k, q4_k, q5_k
 *
 * scale and least are whole numbers, each for 16 of the group's weights, and d and m halves of the block (of
 * 32 weights or of 256). d * scale * (q - zero) is exact in fp32 for all types (11 + 7 + 6 bits at most), so
 * that it does not matter who multiplies first, or whether an add is fused. */
#ifndef BATON_KERNELS_BLOCKS_H
#define BATON_KERNELS_BLOCKS_H

#include "base/tensor.h"
#include "kernels/half.h"

#define BLOCK_GROUP 32u
/* Inlined everywhere, so that the switches go where the type is constant. */
#define BLOCK_INLINE static inline __attribute__((always_inline))

/* What q of IQ4_NL means. */
static const int8_t block_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                            1,    13,   25,  38,  53,  69,  89,  113};

/* A group of a block. */
typedef struct block_group {
    int8_t q[BLOCK_GROUP]; /* codes of 2 to 6 bits, not yet less zero; of q8_0 the numbers, of iq4_nl codes */
    int8_t scale[2];       /* of weights 0..15 and 16..31; types without: 1 */
    uint8_t least[2];      /* likewise */
    uint16_t d, m;         /* halves; m 0 where there is none */
} block_group;

BLOCK_INLINE int32_t block_zero(dtype type) {
    return type == DT_Q6_K ? 32 : type == DT_Q5_0 ? 16 : type == DT_Q4_0 ? 8 : type == DT_Q3_K ? 4 : 0;
}
/* Whether the block is one of 256 weights. */
BLOCK_INLINE bool block_is_super(dtype type) {
    return type >= DT_Q2_K && type <= DT_Q6_K;
}
/* Whether there is an m. */
BLOCK_INLINE bool block_has_least(dtype type) {
    return type == DT_Q4_1 || type == DT_Q5_1 || type == DT_Q2_K || type == DT_Q4_K || type == DT_Q5_K;
}

/* Its bytes: dtype_block_bytes as a constant. */
BLOCK_INLINE size_t block_size_of(dtype type) {
    switch (type) {
    case DT_Q4_0:
    case DT_IQ4_NL:
        return 18;
    case DT_Q4_1:
        return 20;
    case DT_Q5_0:
        return 22;
    case DT_Q5_1:
        return 24;
    case DT_Q8_0:
        return 34;
    case DT_Q2_K:
        return 84;
    case DT_Q3_K:
        return 110;
    case DT_Q4_K:
        return 144;
    case DT_Q5_K:
        return 176;
    case DT_Q6_K:
        return 210;
    case DT_F32:
        return 4;
    case DT_F16:
    case DT_BF16:
        return 2;
    }
    __builtin_unreachable();
}

BLOCK_INLINE void block_nibbles(const uint8_t *from, int8_t q[BLOCK_GROUP]) {
    for (uint32_t k = 0; k < 16; k++) {
        q[k] = (int8_t)(from[k] & 15);
        q[k + 16] = (int8_t)(from[k] >> 4);
    }
}

/* q |= 16 where the bit of `bits` (little endian) is set */
BLOCK_INLINE void block_fifth(const uint8_t *bits, int8_t q[BLOCK_GROUP]) {
    for (uint32_t k = 0; k < BLOCK_GROUP; k++) q[k] = (int8_t)(q[k] | (bits[k / 8] >> k % 8 & 1) << 4);
}

/* q += (from[k] >> shift & mask) << left */
BLOCK_INLINE void block_bits(const uint8_t *from, uint32_t shift, uint32_t mask, uint32_t left,
                             int8_t q[BLOCK_GROUP]) {
    for (uint32_t k = 0; k < BLOCK_GROUP; k++) q[k] = (int8_t)(q[k] + ((from[k] >> shift & mask) << left));
}

/* Scale and least of Q4_K and Q5_K: 12 bytes, of which the last four hold the low halves of groups 4..7, and
 * the top bits of the others their high ones. */
BLOCK_INLINE void block_scales_4(const uint8_t *s, uint32_t g, block_group *out) {
    uint32_t j = g % 4;
    uint32_t scale = g < 4 ? s[j] & 63 : (s[8 + j] & 15) | (s[j] >> 2 & 48);
    uint32_t least = g < 4 ? s[4 + j] & 63 : (s[8 + j] >> 4) | (s[4 + j] >> 2 & 48);
    out->scale[0] = out->scale[1] = (int8_t)scale;
    out->least[0] = out->least[1] = (uint8_t)least;
}

/* Scale i of 16 of Q3_K: 8 bytes of nibbles, first the low ones, then 4 bytes of top bits, four each. */
BLOCK_INLINE int8_t block_scale_3(const uint8_t *s, uint32_t i) {
    uint32_t low = i < 8 ? s[i] & 15 : s[i - 8] >> 4;
    return (int8_t)((int32_t)(low | (s[8 + i % 4] >> (i / 4 * 2) & 3) << 4) - 32);
}

BLOCK_INLINE void block_halves(const uint8_t *d, const uint8_t *m, block_group *out) {
    memcpy(&out->d, d, sizeof out->d);
    if (m) memcpy(&out->m, m, sizeof out->m);
}

/* Group `g` of a block of 32 (0) or 256 (0..7) weights; `type` has blocks. */
BLOCK_INLINE void block_read(dtype type, const uint8_t *b, uint32_t g, block_group *out) {
    *out = (block_group){.scale = {1, 1}, .least = {1, 1}};
    switch (type) {
    case DT_Q8_0:
        block_halves(b, NULL, out);
        memcpy(out->q, b + 2, BLOCK_GROUP);
        return;
    case DT_Q4_0:
    case DT_IQ4_NL:
        block_halves(b, NULL, out);
        block_nibbles(b + 2, out->q);
        return;
    case DT_Q4_1:
        block_halves(b, b + 2, out);
        block_nibbles(b + 4, out->q);
        return;
    case DT_Q5_0:
        block_halves(b, NULL, out);
        block_nibbles(b + 6, out->q);
        block_fifth(b + 2, out->q);
        return;
    case DT_Q5_1:
        block_halves(b, b + 2, out);
        block_nibbles(b + 8, out->q);
        block_fifth(b + 4, out->q);
        return;
    case DT_Q2_K:
        block_halves(b + 80, b + 82, out);
        block_bits(b + 16 + g / 4 * 32, g % 4 * 2, 3, 0, out->q);
        for (uint32_t h = 0; h < 2; h++) {
            out->scale[h] = (int8_t)(b[g * 2 + h] & 15);
            out->least[h] = b[g * 2 + h] >> 4;
        }
        return;
    case DT_Q3_K:
        block_halves(b + 108, NULL, out);
        block_bits(b + 32 + g / 4 * 32, g % 4 * 2, 3, 0, out->q);
        block_bits(b, g, 1, 2, out->q);
        for (uint32_t h = 0; h < 2; h++) out->scale[h] = block_scale_3(b + 96, g * 2 + h);
        return;
    case DT_Q4_K:
        block_halves(b, b + 2, out);
        block_scales_4(b + 4, g, out);
        block_bits(b + 16 + g / 2 * 32, g % 2 * 4, 15, 0, out->q);
        return;
    case DT_Q5_K:
        block_halves(b, b + 2, out);
        block_scales_4(b + 4, g, out);
        block_bits(b + 48 + g / 2 * 32, g % 2 * 4, 15, 0, out->q);
        block_bits(b + 16, g, 1, 4, out->q);
        return;
    case DT_Q6_K:
        block_halves(b + 208, NULL, out);
        block_bits(b + g / 4 * 64 + g % 2 * 32, g % 4 / 2 * 4, 15, 0, out->q);
        block_bits(b + 128 + g / 4 * 32, g % 4 * 2, 3, 4, out->q);
        memcpy(out->scale, b + 192 + (size_t)g * 2, sizeof out->scale);
        return;
    case DT_F32:
    case DT_F16:
    case DT_BF16:
        return;
    }
}

/* What multiplies q[k] - zero in half h of the group. */
BLOCK_INLINE float block_scale_of(dtype type, const block_group *b, uint32_t h) {
    float d = f32_of_half(b->d);
    return block_is_super(type) ? d * (float)b->scale[h] : d;
}
/* What is added then; only of types that have a least weight. */
BLOCK_INLINE float block_least_of(dtype type, const block_group *b, uint32_t h) {
    float m = f32_of_half(b->m);
    return block_is_super(type) ? -(m * (float)b->least[h]) : m;
}
BLOCK_INLINE int32_t block_number(dtype type, int8_t q) {
    return type == DT_IQ4_NL ? block_iq4_values[q] : q - block_zero(type);
}

/* The group as floats */
BLOCK_INLINE void block_group_floats(dtype type, const block_group *b, float out[BLOCK_GROUP]) {
    for (uint32_t h = 0; h < 2; h++) {
        float d = block_scale_of(type, b, h), m = block_has_least(type) ? block_least_of(type, b, h) : 0;
        for (uint32_t k = h * 16; k < h * 16 + 16; k++) {
            out[k] = d * (float)block_number(type, b->q[k]);
            if (block_has_least(type)) out[k] += m;
        }
    }
}

/* Group `g` of the block as floats */
BLOCK_INLINE void block_floats(dtype type, const uint8_t *block, uint32_t g, float out[BLOCK_GROUP]) {
    block_group b;
    block_read(type, block, g, &b);
    block_group_floats(type, &b, out);
}

#endif
