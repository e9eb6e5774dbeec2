/* quant - rows of activations as whole numbers, for the products with packed weights.
 *
 * Columns go in groups of 32, each with a scale of its own: x = scale * n, n of `bits` bits and a sign,
 * rounded to nearest even. n of 16 bits is two planes of bytes, n = 256 * high + low, which are multiplied
 * one after the other. Sums of whole numbers are exact in any order, so that only the order in which scales
 * are applied decides a result's bits, and that is ascending in all kernels (packed.c).
 *
 * A row:
 *   [cols / 32] groups: high [32], 16 bits only: low [32]
 *   QUANT_PAIRS only: [cols / 32] groups of [8 steps]{n0, n2, n1, n3} int16: for AVX2's products with bytes
 *   [cols / 32] quant_group */
#ifndef BATON_KERNELS_CPU_QUANT_H
#define BATON_KERNELS_CPU_QUANT_H

#include <stddef.h>
#include <stdint.h>

#define QUANT_GROUP 32u

typedef struct quant_group {
    float scale;
    float sum;        /* of the group's numbers times scale: meets the m of q4_1 */
    int32_t times[2]; /* -8 and -128 times the sum of the numbers: what the weights' zeros add */
    /* For weights whose scales are of 16, of numbers 0..15 and 16..31: */
    float half_sum[2];     /* as sum */
    int32_t half_times[2]; /* -4 times their sum */
} quant_group;

/* Quantised rows. */
typedef struct quant_rows {
    uint8_t *data; /* [rows] of `stride` bytes; 64-byte aligned */
    size_t stride;
    size_t pairs_at, groups_at; /* where in a row; pairs_at 0: none */
    uint32_t cols, planes;      /* planes: 1 or 2 */
} quant_rows;

#endif
