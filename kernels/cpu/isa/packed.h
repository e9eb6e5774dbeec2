/* packed - the inner kernels of products with packed weights (pack.h, quant.h), one set per instruction set.
 *
 * A tile is one panel of weights against T rows of activations; out[t][n] = sum over the groups, ascending,
 * of scale(x, t, g) * d(n, g) * whole(t, n, g)   and, where weights have an m,   m(n, g) * sum(x, t, g) each
 * added with one rounding (the generic set rounds the products as well). `whole` is exact. So a tile's
 * height, the kind of record and the number of threads do not change a bit. */
#ifndef BATON_KERNELS_CPU_ISA_PACKED_H
#define BATON_KERNELS_CPU_ISA_PACKED_H

#include "kernels/cpu/isa/isa.h"
#include "kernels/cpu/pack.h"

/* How a tile finds its weights. */
typedef struct tile_weights {
    const uint8_t *panel;
    uint32_t groups;
    /* Memory that will be read next: this much of it is asked for while a group is computed. */
    const uint8_t *ahead;
    uint32_t ahead_bytes; /* a multiple of 64; 0: nothing */
} tile_weights;

/* Activations of the tile's first row; the next ones follow at rows->stride. */
typedef struct tile_rows {
    const uint8_t *row;
    const quant_rows *rows;
} tile_rows;

/* What is beside the numbers of group g of the tile's row t. */
INLINE const quant_group *group_at(const tile_rows *x, uint32_t t, uint32_t g) {
    return (const void *)(x->row + t * x->rows->stride + x->rows->groups_at + g * sizeof(quant_group));
}

INLINE void ask_ahead(const tile_weights *w, uint32_t g) {
    const uint8_t *from = w->ahead + (size_t)g * w->ahead_bytes;
    for (uint32_t i = 0; i < w->ahead_bytes; i += 64) __builtin_prefetch(from + i, 0, 3);
}

/* out: [T][PACK_ROWS] */
typedef void packed_tile(const tile_weights *w, const tile_rows *x, float *out);

/* Rows of the highest tile: with one plane, and with two, whose accumulators fill the registers earlier. */
#define PACKED_TILE_MAX  6u
#define PACKED_TILE_MAX2 4u

/* By type, planes - 1 and T - 1. */
extern packed_tile *const ISA(packed_tiles)[DT_IQ4_NL + 1][2][PACKED_TILE_MAX];

/* The head of record `group` of super-blocks; of others the record itself has the halves. */
INLINE const uint8_t *halves_at(dtype type, const uint8_t *panel, uint32_t group) {
    if (!block_is_super(type)) return panel + pack_record_at(type, group);
    return panel + group / PACK_SUPER * (pack_head_bytes(type) + PACK_SUPER * pack_record_bytes(type));
}

/* What the weights' zero adds to the whole numbers of a group, or of half `half` of it: this, shifted left.
 */
INLINE int32_t zeros_of(dtype type, const quant_group *x, uint32_t half) {
    if (pack_scales(type) == 2) return x->half_times[half]; /* q3_k, q6_k */
    return x->times[type == DT_Q8_0 || type == DT_IQ4_NL];
}
INLINE uint32_t zeros_shift(dtype type) {
    return type == DT_Q6_K ? 3 : type == DT_Q5_0 ? 1 : 0;
}

/* The sum that meets the least weight. */
INLINE float sum_of(dtype type, const quant_group *x, uint32_t half) {
    return pack_scales(type) == 2 ? x->half_sum[half] : x->sum;
}

/* How far left (right where negative) the bits of the high plane go for step s to be at 4 and 5. */
INLINE int32_t high_shift(dtype type, uint32_t s, uint32_t upper) {
    return 4 - (int32_t)(pack_high(type) == 2 ? 2 * s : s + 4 * upper);
}

#endif
