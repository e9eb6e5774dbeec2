/* tensor - the storage types of weights and KV, and a view of a weight matrix.
 *
 * Numbers equal GGUF's ggml_type, so that a file's type needs no translation. Block layouts (little endian):
 *   Q4_0   18 bytes, 32 weights: f16 d, 16 bytes of nibbles; w = d * (q - 8)
 *   Q4_1   20 bytes, 32 weights: f16 d, f16 m, 16 bytes of nibbles; w = d * q + m
 *   Q5_0   22 bytes, 32 weights: f16 d, 32 high bits, 16 bytes of nibbles; w = d * (q - 16)
 *   Q5_1   24 bytes, 32 weights: f16 d, f16 m, 32 high bits, 16 bytes of nibbles; w = d * q + m
 *   Q8_0   34 bytes, 32 weights: f16 d, 32 int8; w = d * q
 *   IQ4_NL 18 bytes, 32 weights: f16 d, 16 bytes of nibbles; w = d * table[q]
 * In a nibble block weight j (0..15) is the low nibble of byte j and weight j + 16 the high one.
 *
 * Super-blocks of 256 weights have whole-number scales per 16 or 32 of them (kernels/blocks.h says where):
 *   Q2_K  84 bytes: 16 x (4 bits sc, 4 bits m), 64 bytes of 2-bit q, f16 d, f16 e; w = d * sc * q - e * m
 *   Q3_K 110 bytes: 32 bytes of high bits, 64 bytes of 2 bits, 16 x 6 bits sc, f16 d;
 *     w = d * (sc - 32) * (q - 4)
 *   Q4_K 144 bytes: f16 d, f16 e, 8 x (6 bits sc, 6 bits m), 128 bytes of nibbles; w = d * sc * q - e * m
 *   Q5_K 176 bytes: f16 d, f16 e, 8 x (6 bits sc, 6 bits m), 32 bytes of high bits, 128 of nibbles; likewise
 *   Q6_K 210 bytes: 128 bytes of nibbles, 64 of high 2 bits, 16 x int8 sc, f16 d; w = d * sc * (q - 32) */
#ifndef BATON_BASE_TENSOR_H
#define BATON_BASE_TENSOR_H

#include "base/mix.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum dtype {
    DT_F32 = 0,
    DT_F16 = 1,
    DT_Q4_0 = 2,
    DT_Q4_1 = 3,
    DT_Q5_0 = 6,
    DT_Q5_1 = 7,
    DT_Q8_0 = 8,
    DT_Q2_K = 10,
    DT_Q3_K = 11,
    DT_Q4_K = 12,
    DT_Q5_K = 13,
    DT_Q6_K = 14,
    DT_IQ4_NL = 20,
    DT_BF16 = 30,
} dtype;

/* "q4_1"; NULL for a number that is not a dtype. Borrowed: static. */
const char *dtype_name(uint32_t type);
bool dtype_known(uint32_t type);
/* Types by the names that files and people use, for messages. */
#define DTYPE_TEXT_BYTES 192
typedef struct dtype_text {
    char text[DTYPE_TEXT_BYTES];
} dtype_text;
/* "IQ2_XS": any type of GGUF, whether it is a dtype or not; "77": a number that means none. */
dtype_text dtype_said(uint32_t type);
/* "F32, F16, Q4_0, ..., BF16": all that are dtypes. */
dtype_text dtype_all(void);
/* 1, 32 or 256 */
uint32_t dtype_block_weights(dtype type);
/* Bytes of one block */
uint32_t dtype_block_bytes(dtype type);
/* weight_count is a multiple of the block */
size_t dtype_row_bytes(dtype type, uint32_t weight_count);

/* A weight matrix [rows, cols] (or a vector: rows = 1), row by row. Borrowed: valid while its model file is
 * open. */
typedef struct tensor {
    dtype type;
    uint32_t rows;    /* output features */
    uint32_t cols;    /* input features, contiguous */
    const void *data; /* [rows, cols] in blocks of `type`; at least 2-byte aligned, no more is promised. NULL:
                         the weights are random: weight i of the row-major matrix is
                         random_weight(random_seed, i) * random_scale, and type is DT_BF16 */
    uint64_t random_seed;
    float random_scale; /* a power of two */
} tensor;

/* An odd whole number in -255..255, so that times a power of two it is exact in bf16 and f16. splitmix64 of
 * the index; eight weights share one call. */
static inline int32_t random_weight(uint64_t seed, uint64_t i) {
    uint64_t eight = mix64(seed + (i / 8 + 1) * MIX64_STEP);
    return 2 * (int32_t)(eight >> (i % 8 * 8) & 255) - 255;
}

#endif
