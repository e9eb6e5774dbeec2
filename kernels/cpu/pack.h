/* pack - weights of 4 and 8 bits in the order in which the products read them.
 *
 * A panel is 32 rows of a matrix; its record for 32 columns (a block of the file's types) is
 *
 *   [32] f16 d, q4_1 only: [32] f16 m, then for s = 0..: [32 rows][4] bytes
 *
 * so that a register of bytes holds four columns of as many rows as it has lanes, no sum goes over lanes, and
 * one row of activations (a stream of records from memory) reads them like many (a tile from the cache).
 *
 *   nibbles: 4 steps; step s has columns 4s..4s+3 in the low halves, 16+4s.. in the high ones, as the file
 *   bytes:   8 steps; step s has columns 4s..4s+3, each plus 128, since the products want one side unsigned
 *
 * w = d * (q - zero) [+ m], zero = 8 for q4_0, 128 for q8_0, 0 for q4_1. Rows beyond the matrix are zeros. */
#ifndef BATON_KERNELS_CPU_PACK_H
#define BATON_KERNELS_CPU_PACK_H

#include "base/tensor.h"

#define PACK_ROWS  32u /* of a panel */
#define PACK_GROUP 32u /* columns of a record */
/* Number of this layout: of files that hold packed weights. */
#define PACK_LAYOUT 1u

#define PACK_SCALE_BYTES  (PACK_ROWS * 2u)              /* of d, and of m */
#define PACK_NIBBLE_BYTES (PACK_ROWS * PACK_GROUP / 2u) /* of a record's numbers */
#define PACK_BYTE_BYTES   (PACK_ROWS * PACK_GROUP)      /* likewise, a byte each */
#define PACK_STEP_BYTES   (PACK_ROWS * 4u)
#define PACK_ALIGN        64u

/* A packed matrix. data == NULL: the matrix is not packed. */
typedef struct packed {
    dtype type;
    uint32_t rows, cols;
    const uint8_t *data; /* [pack_panels][cols / PACK_GROUP] records; 64-byte aligned */
} packed;

/* Whether a matrix of this type can be packed. */
static inline bool pack_takes(const tensor *t) {
    return t->data && (t->type == DT_Q4_0 || t->type == DT_Q4_1 || t->type == DT_Q8_0);
}
static inline uint32_t pack_panels(uint32_t rows) {
    return (rows + PACK_ROWS - 1) / PACK_ROWS;
}
static inline size_t pack_record_bytes(dtype type) {
    size_t scales = type == DT_Q4_1 ? 2 * PACK_SCALE_BYTES : PACK_SCALE_BYTES;
    return scales + (type == DT_Q8_0 ? PACK_BYTE_BYTES : PACK_NIBBLE_BYTES);
}
static inline size_t pack_panel_bytes(dtype type, uint32_t cols) {
    return pack_record_bytes(type) * (cols / PACK_GROUP);
}
/* Bytes of the packed matrix */
static inline size_t pack_bytes(const tensor *t) {
    return pack_panel_bytes(t->type, t->cols) * pack_panels(t->rows);
}

/* Writes panel `panel` of `t` to its place in `to` [pack_bytes(t)]. */
void pack_panel(const tensor *t, uint32_t panel, void *to);
/* Row `row` of the matrix as floats, [cols]: exactly the numbers of the file. */
void pack_row(const packed *p, uint32_t row, float *out);

#endif
