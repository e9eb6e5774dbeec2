#include "checkpoint/quantize.h"

#include "base/half.h"
#include "base/mem.h"
#include "base/status.h"

#include <math.h>
#include <string.h>

#define BLOCK 32u

bool quantize_knows(uint32_t type) {
    return type == DT_F32 || type == DT_F16 || type == DT_BF16 || type == DT_Q8_0 || type == DT_Q4_0;
}

/* roundf of |v| < 2^22: halves go away from 0. The number below 1/2 is added so that none below a half
 * reaches the next one; a form that compilers make into vector instructions. */
static inline int32_t round_away(float v) {
    return (int32_t)(v + copysignf(0x1.fffffep-2f, v));
}

/* One over the scale; 0 where that is no number (a block of zeros, or of nearly nothing) */
static inline float inverse(float d) {
    float id = d != 0 ? 1 / d : 0;
    return isfinite(id) ? id : 0;
}

static bool put_scale(uint8_t *to, float d) {
    uint16_t half = half_of_f32(d);
    memcpy(to, &half, sizeof half);
    return (half & 0x7c00) != 0x7c00;
}

/* The largest magnitude. As bits it is compared in whole numbers, so that the loop is one of vectors; what is
 * not finite is larger than all numbers. */
static inline float largest(const float *x) {
    int32_t most = 0;
    for (uint32_t i = 0; i < BLOCK; i++) {
        int32_t bits = (int32_t)(f32_bits(x[i]) & 0x7fffffff);
        most = MAX(most, bits);
    }
    return f32_of_bits((uint32_t)most);
}

static bool q8_0_block(const float *x, uint8_t *to) {
    float most = largest(x), d = most / 127;
    if (!isfinite(most) || !put_scale(to, d)) return false;
    float id = inverse(d);
    for (uint32_t i = 0; i < BLOCK; i++) to[2 + i] = (uint8_t)round_away(x[i] * id);
    return true;
}

/* The scale's sign is that of the first number of the largest magnitude, which becomes 0 of 0..15. */
static bool q4_0_block(const float *x, uint8_t *to) {
    float most = largest(x);
    if (!isfinite(most)) return false;
    uint32_t first = 0;
    while (fabsf(x[first]) != most) first++;
    float d = x[first] / -8;
    if (!put_scale(to, d)) return false;
    float id = inverse(d);
    int32_t q[BLOCK];
    for (uint32_t i = 0; i < BLOCK; i++) {
        int32_t n = (int32_t)(x[i] * id + 8.5f);
        q[i] = MIN(n, 15);
    }
    for (uint32_t i = 0; i < BLOCK / 2; i++) to[2 + i] = (uint8_t)(q[i] | q[i + BLOCK / 2] << 4);
    return true;
}

static bool blocks(const float *x, uint32_t count, uint8_t *to, size_t bytes,
                   bool (*block)(const float *x, uint8_t *to)) {
    for (uint32_t i = 0; i < count; i += BLOCK, to += bytes)
        if (!block(x + i, to)) return false;
    return true;
}

/* An infinity stays one; a number does not become one. */
static bool halves_of(const float *x, uint32_t count, uint16_t *to) {
    bool fits = true;
    for (uint32_t i = 0; i < count; i++) {
        to[i] = half_of_f32(x[i]);
        fits &= (to[i] & 0x7fff) != 0x7c00 || isinf(x[i]);
    }
    return fits;
}

bool quantize_row(dtype type, const float *x, uint32_t count, void *to) {
    PRE(quantize_knows(type));
    PRE(count % dtype_block_weights(type) == 0);
    uint16_t *halves = to;
    switch (type) {
    case DT_F32:
        memcpy(to, x, count * sizeof *x);
        return true;
    case DT_F16:
        return halves_of(x, count, to);
    case DT_BF16:
        for (uint32_t i = 0; i < count; i++) halves[i] = bf16_of_f32(x[i]);
        return true;
    case DT_Q8_0:
        return blocks(x, count, to, 34, q8_0_block);
    case DT_Q4_0:
        return blocks(x, count, to, 18, q4_0_block);
    default:
        check_failed("check", "a type that is written", __FILE__, __LINE__, __func__);
    }
}

void dequantize_row(dtype type, const void *from, uint32_t count, float *x) {
    PRE(type == DT_F32 || type == DT_F16 || type == DT_BF16);
    const uint8_t *at = from;
    if (type == DT_F32) {
        memcpy(x, from, count * sizeof *x);
        return;
    }
    for (uint32_t i = 0; i < count; i++, at += 2) {
        uint16_t h;
        memcpy(&h, at, sizeof h);
        x[i] = type == DT_F16 ? f32_of_half(h) : f32_of_bf16(h);
    }
}
