/* quant - rows of floats to whole numbers (kernels/cpu/quant.h).
 *
 * Plain loops over 32 columns, which the compiler makes vectors of; each number is found with the same
 * roundings on every set: product with 1 / scale, then to the nearest whole number by adding 1.5 * 2^23.
 *
 * A group with an infinity or a NaN gets NaN as scale, so that nothing hides it; numbers whose largest is
 * below 1e-30 are taken as zeros: their products vanish in fp32 sums. */
#include "kernels/cpu/isa/packed.h"

#define TO_WHOLE 12582912.0f /* 1.5 * 2^23: what is added to it is rounded to a whole number */

INLINE uint32_t top_bits(const float *x) {
    uint32_t top = 0;
    for (uint32_t k = 0; k < QUANT_GROUP; k++) {
        uint32_t bits = f32_bits(x[k]) & 0x7fffffff;
        top = top > bits ? top : bits;
    }
    return top;
}

INLINE void quantise_group(const float *x, uint32_t planes, int8_t *high, int16_t *pairs, quant_group *out) {
    const float most = planes == 2 ? 127 * 256 + 127 : 127;
    uint32_t top = top_bits(x);
    float largest = f32_of_bits(top), inverse = 0;
    if (largest >= 1e-30f && top < 0x7f800000) inverse = most / largest;
    int32_t n[QUANT_GROUP], half[2] = {0};
    for (uint32_t k = 0; k < QUANT_GROUP; k++) {
        float shifted = (inverse != 0 ? x[k] * inverse : 0) + TO_WHOLE;
        n[k] = (int32_t)(f32_bits(shifted) - f32_bits(TO_WHOLE));
    }
    for (uint32_t k = 0; k < QUANT_GROUP / 2; k++) half[0] += n[k];
    for (uint32_t k = QUANT_GROUP / 2; k < QUANT_GROUP; k++) half[1] += n[k];
    const int32_t sum = half[0] + half[1];
    if (planes == 2) {
        int8_t *low = high + QUANT_GROUP;
        for (uint32_t k = 0; k < QUANT_GROUP; k++) {
            high[k] = (int8_t)((n[k] + 128) >> 8);
            low[k] = (int8_t)n[k];
        }
    } else {
        for (uint32_t k = 0; k < QUANT_GROUP; k++) high[k] = (int8_t)n[k];
    }
    for (uint32_t k = 0; pairs && k < QUANT_GROUP; k += 4) {
        pairs[k] = (int16_t)n[k];
        pairs[k + 1] = (int16_t)n[k + 2];
        pairs[k + 2] = (int16_t)n[k + 1];
        pairs[k + 3] = (int16_t)n[k + 3];
    }
    float scale = inverse != 0 ? largest / most : 0;
    if (top >= 0x7f800000) scale = f32_of_bits(0x7fc00000);
    *out = (quant_group){.scale = scale,
                         .sum = (float)sum * scale,
                         .times = {-8 * sum, -128 * sum},
                         .half_sum = {(float)half[0] * scale, (float)half[1] * scale},
                         .half_times = {-4 * half[0], -4 * half[1]}};
}

void ISA(cpu_quantise)(const quant_rows *to, uint32_t row, uint32_t begin, const float *x, uint32_t count) {
    uint8_t *at = to->data + row * to->stride;
    quant_group *groups = (quant_group *)(void *)(at + to->groups_at);
    for (uint32_t k = 0; k < count; k += QUANT_GROUP) {
        uint32_t g = (begin + k) / QUANT_GROUP;
        int8_t *high = (int8_t *)at + (size_t)g * QUANT_GROUP * to->planes;
        int16_t *pairs =
            to->pairs_at ? (int16_t *)(void *)(at + to->pairs_at) + (size_t)g * QUANT_GROUP : NULL;
        if (to->planes == 2)
            quantise_group(x + k, 2, high, pairs, &groups[g]);
        else
            quantise_group(x + k, 1, high, pairs, &groups[g]);
    }
}
