/* kv_copy - segments of a hand-off between pages and the wire, with their checksum.
 *
 * The layers of a full page are one run in both; of the last, partial page only the valid rows of each tile
 * travel. A run is copied and summed in one pass. Nothing of the device but its instruction set is used: the
 * transfer thread calls this while ops run. */
#include "base/mem.h"
#include "kernels/cpu/cpu.h"

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

/* The tiles [head_begin, head_end) of K or of V of one layer of a page are one run as far as they are full.
 */
static void copy_heads(kv_run *r, uint8_t *first, uint32_t heads, uint32_t rows) {
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
    kv_run run = {.op = a, .copy = d->host.kernels->copy_words, .to_wire = to_wire, .sum = a->seed};
    uint32_t heads = p->head_end - p->head_begin;
    for (uint32_t done = 0; done < p->token_count; done += KV_PAGE_TOKENS) {
        uint32_t rows = MIN(p->token_count - done, KV_PAGE_TOKENS);
        uint32_t page = a->pages[(p->token_begin + done) / KV_PAGE_TOKENS];
        for (uint32_t layer = p->layer_begin; layer < p->layer_end; layer++) {
            uint8_t *keys = (uint8_t *)a->kv + kv_tile_offset(l, page, layer, 0, p->head_begin);
            if (heads == l->kv_heads) { /* values follow their keys */
                copy_heads(&run, keys, 2 * heads, rows);
                continue;
            }
            copy_heads(&run, keys, heads, rows);
            copy_heads(&run, (uint8_t *)a->kv + kv_tile_offset(l, page, layer, 1, p->head_begin), heads,
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
