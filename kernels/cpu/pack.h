/* pack - weights of 2 to 8 bits in the order in which the products read them.
 *
 * A panel is 32 rows of a matrix; its record for 32 columns is
 *
 *   scales, then for s = 0..: [32 rows][4] bytes, then the high bits
 *
 * so that a register of bytes holds four columns of as many rows as it has lanes, no sum goes over lanes, and
 * one row of activations (a stream of records from memory) reads them like many (a tile from the cache).
 *
 *   nibbles: 4 steps; step s has columns 4s..4s+3 in the low halves, 16+4s.. in the high ones
 *   bytes:   8 steps; step s has columns 4s..4s+3, each plus 128, since the products want one side unsigned
 *   high, 1: [32 rows][4]; bit s of a byte is the fifth bit of a low half of step s, bit 4+s that of a high
 * one high, 2: 2 x [32 rows][4], for low and high halves; bits 2s and 2s+1 of a byte are of step s
 *
 * Scales of blocks of 32: [32] f16 d, and where there are least weights [32] f16 m. Of blocks of 256: these
 * stand once before 8 records (the head), and each record has [1 or 2][32] int8, and [1 or 2][32] least, of
 * all its columns or of 0..15 and 16..31. So the numbers are exactly those of the file (blocks.h):
 *
 *   w = d * scale * (q - zero), or d * scale * q + m, or d * scale * q - m * least
 *
 * Codes of 2 and 3 bits take 4. Rows beyond the matrix are zeros. */
#ifndef BATON_KERNELS_CPU_PACK_H
#define BATON_KERNELS_CPU_PACK_H

#include "kernels/blocks.h"

#define PACK_ROWS  32u /* of a panel */
#define PACK_GROUP 32u /* columns of a record */
#define PACK_SUPER 8u  /* records that share a head */
/* Number of this layout: of files that hold packed weights. */
#define PACK_LAYOUT 2u

#define PACK_SCALE_BYTES  (PACK_ROWS * 2u)              /* of d, and of m */
#define PACK_NIBBLE_BYTES (PACK_ROWS * PACK_GROUP / 2u) /* of a record's numbers */
#define PACK_BYTE_BYTES   (PACK_ROWS * PACK_GROUP)      /* likewise, a byte each */
#define PACK_STEP_BYTES   (PACK_ROWS * 4u)
#define PACK_ALIGN        64u

/* A packed matrix. data == NULL: the matrix is not packed. */
typedef struct packed {
    dtype type;
    uint32_t rows, cols;
    const uint8_t *data; /* [pack_panels] of pack_panel_bytes; 64-byte aligned */
} packed;

/* Whether a matrix of this type can be packed. */
static inline bool pack_takes(const tensor *t) {
    return t->data && dtype_block_weights(t->type) > 1;
}
static inline uint32_t pack_panels(uint32_t rows) {
    return (rows + PACK_ROWS - 1) / PACK_ROWS;
}

/* How many bits of a number are not in its nibble. */
BLOCK_INLINE uint32_t pack_high(dtype type) {
    return type == DT_Q6_K ? 2 : type == DT_Q5_0 || type == DT_Q5_1 || type == DT_Q5_K ? 1 : 0;
}
/* Scales of a record: one, or one for each half of its columns. */
BLOCK_INLINE uint32_t pack_scales(dtype type) {
    return type == DT_Q2_K || type == DT_Q3_K || type == DT_Q6_K ? 2 : 1;
}
/* What stands before 8 records. */
BLOCK_INLINE size_t pack_head_bytes(dtype type) {
    return block_is_super(type) ? (block_has_least(type) ? 2 : 1) * PACK_SCALE_BYTES : 0;
}
/* What stands before a record's numbers. */
BLOCK_INLINE size_t pack_scale_bytes(dtype type) {
    return (block_has_least(type) ? 2 : 1) *
           (block_is_super(type) ? pack_scales(type) * PACK_ROWS : PACK_SCALE_BYTES);
}
BLOCK_INLINE size_t pack_record_bytes(dtype type) {
    return pack_scale_bytes(type) + (type == DT_Q8_0 ? PACK_BYTE_BYTES : PACK_NIBBLE_BYTES) +
           pack_high(type) * PACK_STEP_BYTES;
}
/* Where in a panel record `group` lies. The head of its eight ends where the first of them begins. */
BLOCK_INLINE size_t pack_record_at(dtype type, uint32_t group) {
    return group * pack_record_bytes(type) + (group / PACK_SUPER + 1) * pack_head_bytes(type);
}
static inline size_t pack_panel_bytes(dtype type, uint32_t cols) {
    const uint32_t groups = cols / PACK_GROUP;
    return pack_record_bytes(type) * groups + pack_head_bytes(type) * (groups / PACK_SUPER);
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
