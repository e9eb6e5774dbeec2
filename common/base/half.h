/* half - f16 and bf16 to f32 and back, one number at a time, in integer arithmetic: for ref, for the scales
 * of blocks, and for machines without conversion instructions. Bit for bit what F16C does (round to nearest
 * even, a NaN becomes quiet and keeps the top of its payload), so that KV pages have the same bytes whoever
 * wrote them. */
#ifndef BATON_BASE_HALF_H
#define BATON_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t f32_bits(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float f32_of_bits(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline float f32_of_half(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t rest = (uint32_t)(h & 0x7fff) << 13;
    if (h & 0x7c00) {
        if ((h & 0x7c00) != 0x7c00) return f32_of_bits(sign | (rest + (112u << 23)));
        uint32_t quiet = (h & 0x3ff) ? 0x400000 : 0;
        return f32_of_bits(sign | rest | 0x7f800000 | quiet);
    }
    /* Subnormal or zero: the fraction counts units of 2^-24, and the product is exact. */
    float magnitude = (float)(h & 0x3ff) * 0x1p-24f;
    return f32_of_bits(f32_bits(magnitude) | sign);
}

static inline uint16_t half_of_f32(float x) {
    uint32_t u = f32_bits(x);
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    u &= 0x7fffffff;
    if (u > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (u >> 13 & 0x1ff));
    if (u >= 0x477ff000) return sign | 0x7c00; /* rounds to 65536 or more: infinity */
    if (u < 0x38800000) {
        /* Below 2^-14: adding 0.5 leaves units of 2^-24 in the low bits of the sum, rounded by the adder. */
        return (uint16_t)(sign | (f32_bits(f32_of_bits(u) + 0.5f) - 0x3f000000));
    }
    u += 0xfff + (u >> 13 & 1); /* to nearest even */
    return (uint16_t)(sign | ((u - (112u << 23)) >> 13));
}

static inline float f32_of_bf16(uint16_t b) {
    return f32_of_bits((uint32_t)b << 16);
}

static inline uint16_t bf16_of_f32(float x) {
    uint32_t u = f32_bits(x);
    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40); /* a NaN stays one */
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static inline float f32_of_bf16_at(const void *p) {
    uint16_t b;
    memcpy(&b, p, sizeof b);
    return f32_of_bf16(b);
}

static inline float f32_of_half_at(const void *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return f32_of_half(h);
}

#endif
