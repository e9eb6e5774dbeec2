/* kv_copy - segments of a hand-off between pages and the wire, with their checksum.
 *
 * Tiles of values are runs of bytes in both; of the last, partial page only the valid rows of each tile
 * travel. Tiles of keys lie transposed in pages (attend.h) and are turned in a buffer that the cache holds. A
 * run is copied and summed in one pass. Nothing of the device but its instruction set is used: the transfer
 * thread calls this while ops run, and touches no element of a row that does not travel. */
#include "base/mem.h"
#include "kernels/cpu/attend.h"
#include "kernels/cpu/cpu.h"

#include <string.h>

#define TURN_BYTES ((size_t)16384) /* a tile of 256 dims in fp32 */

typedef struct kv_run {
    const op_kv_copy *op;
    host_copy_words *copy;
    bool to_wire;
    size_t wire_bytes; /* copied so far */
    uint64_t sum;
} kv_run;

static void copy_run(kv_run *r, uint8_t *page, size_t bytes) {
    uint8_t *wire = (uint8_t *)r->op->wire + r->wire_bytes;
    DEBUG_ASSERT(r->wire_bytes % 8 == 0);
    DEBUG_ASSERT(bytes % 8 == 0);
    r->sum += r->copy(r->to_wire ? wire : page, r->to_wire ? page : wire, bytes / 8, r->wire_bytes / 8);
    r->wire_bytes += bytes;
}

/* ---- keys ---- */

typedef uint16_t h8 __attribute__((vector_size(16)));
typedef uint32_t w4 __attribute__((vector_size(16)));
typedef uint64_t d2 __attribute__((vector_size(16)));

/* Rows to columns, 8 x 8 halves, by interleaving 16, 32 and 64 bits. Strides in halves. */
static void transpose_8x8(const uint16_t *from, size_t from_stride, uint16_t *to, size_t to_stride) {
    h8 r[8];
    w4 s[8];
    d2 t[8];
    for (size_t i = 0; i < 8; i++) memcpy(&r[i], from + i * from_stride, sizeof r[i]);
    for (size_t i = 0; i < 4; i++) {
        s[2 * i] = (w4)__builtin_shufflevector(r[2 * i], r[2 * i + 1], 0, 8, 1, 9, 2, 10, 3, 11);
        s[2 * i + 1] = (w4)__builtin_shufflevector(r[2 * i], r[2 * i + 1], 4, 12, 5, 13, 6, 14, 7, 15);
    }
    for (size_t i = 0; i < 2; i++) {
        for (size_t half = 0; half < 2; half++) {
            w4 a = s[4 * i + half], b = s[4 * i + 2 + half];
            t[4 * i + 2 * half] = (d2)__builtin_shufflevector(a, b, 0, 4, 1, 5);
            t[4 * i + 2 * half + 1] = (d2)__builtin_shufflevector(a, b, 2, 6, 3, 7);
        }
    }
    for (size_t i = 0; i < 4; i++) {
        d2 even = __builtin_shufflevector(t[i], t[i + 4], 0, 2),
           odd = __builtin_shufflevector(t[i], t[i + 4], 1, 3);
        memcpy(to + 2 * i * to_stride, &even, sizeof even);
        memcpy(to + (2 * i + 1) * to_stride, &odd, sizeof odd);
    }
}

/* to[col][row] = from[row][col] of halves. Strides in halves. */
static void transpose_halves(const uint16_t *from, size_t from_stride, uint32_t rows, uint32_t cols,
                             uint16_t *to, size_t to_stride) {
    uint32_t whole_rows = rows / 8 * 8, whole_cols = cols / 8 * 8;
    for (uint32_t r = 0; r < whole_rows; r += 8)
        for (uint32_t c = 0; c < whole_cols; c += 8)
            transpose_8x8(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t c = r < whole_rows ? whole_cols : 0; c < cols; c++)
            to[c * to_stride + r] = from[r * from_stride + c];
}

static void transpose_floats(const float *from, size_t from_stride, uint32_t rows, uint32_t cols, float *to,
                             size_t to_stride) {
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < cols; c++) to[c * to_stride + r] = from[r * from_stride + c];
}

/* Slots [begin, begin + rows) of a tile of keys, between [head_dim][16] and rows. */
static void turn_keys(const kv_layout *l, uint8_t *tile, uint32_t begin, uint32_t rows, void *turned,
                      bool to_rows) {
    const size_t dims = l->head_dim, slots = KV_PAGE_TOKENS;
    if (l->type == DT_F32) {
        float *keys = (float *)(void *)tile + begin;
        if (to_rows)
            transpose_floats(keys, slots, l->head_dim, rows, turned, dims);
        else
            transpose_floats(turned, dims, rows, l->head_dim, keys, slots);
        return;
    }
    uint16_t *keys = (uint16_t *)(void *)tile + begin;
    if (to_rows)
        transpose_halves(keys, slots, l->head_dim, rows, turned, dims);
    else
        transpose_halves(turned, dims, rows, l->head_dim, keys, slots);
}

static void copy_keys(kv_run *r, uint8_t *tile, uint32_t rows) {
    const kv_layout *l = r->op->layout;
    size_t row_bytes = (size_t)l->head_dim * kv_elem_bytes(l);
    uint32_t most = (uint32_t)(TURN_BYTES / row_bytes), count;
    uint64_t turned[TURN_BYTES / sizeof(uint64_t)];
    for (uint32_t begin = 0; begin < rows; begin += count) {
        count = MIN(rows - begin, most);
        if (r->to_wire) turn_keys(l, tile, begin, count, turned, true);
        copy_run(r, (uint8_t *)turned, count * row_bytes);
        if (!r->to_wire) turn_keys(l, tile, begin, count, turned, false);
    }
}

/* ---- segments ---- */

/* The tiles of values are one run as far as they are full. */
static void copy_values(kv_run *r, uint8_t *first, uint32_t heads, uint32_t rows) {
    const kv_layout *l = r->op->layout;
    size_t row_bytes = (size_t)l->head_dim * kv_elem_bytes(l);
    if (rows == KV_PAGE_TOKENS) {
        copy_run(r, first, heads * kv_tile_bytes(l));
        return;
    }
    for (uint32_t h = 0; h < heads; h++) copy_run(r, first + h * kv_tile_bytes(l), rows * row_bytes);
}

static void copy_segment(const device *d, const op_kv_copy *a, bool to_wire) {
    const kv_layout *l = a->layout;
    const kv_piece *p = &a->piece;
    PRE(p->token_begin % KV_PAGE_TOKENS == 0);
    PRE(p->layer_begin <= p->layer_end);
    PRE(p->layer_end <= l->layers);
    PRE(p->head_begin < p->head_end);
    PRE(p->head_end <= l->kv_heads);
    PRE((size_t)l->head_dim * kv_elem_bytes(l) % 8 == 0); /* every run starts at a word of the checksum */
    PRE((size_t)l->head_dim * kv_elem_bytes(l) <= TURN_BYTES);
    kv_run run = {.op = a, .copy = d->host.kernels->copy_words, .to_wire = to_wire, .sum = a->seed};
    uint32_t heads = p->head_end - p->head_begin;
    for (uint32_t done = 0; done < p->token_count; done += KV_PAGE_TOKENS) {
        uint32_t rows = MIN(p->token_count - done, KV_PAGE_TOKENS);
        uint32_t page = a->pages[(p->token_begin + done) / KV_PAGE_TOKENS];
        for (uint32_t layer = p->layer_begin; layer < p->layer_end; layer++) {
            uint8_t *keys = (uint8_t *)a->kv + kv_tile_offset(l, page, layer, 0, p->head_begin);
            for (uint32_t h = 0; h < heads; h++) copy_keys(&run, keys + h * kv_tile_bytes(l), rows);
            copy_values(&run, (uint8_t *)a->kv + kv_tile_offset(l, page, layer, 1, p->head_begin), heads,
                        rows);
        }
    }
    CHECK(run.wire_bytes == kv_piece_bytes(l, p));
    *a->checksum = run.sum;
}

status cpu_kv_gather(device *d, const op_kv_copy *a) {
    PRE(d);
    copy_segment(d, a, true);
    return ST_OK;
}

status cpu_kv_scatter(device *d, const op_kv_copy *a) {
    PRE(d);
    copy_segment(d, a, false);
    return ST_OK;
}
