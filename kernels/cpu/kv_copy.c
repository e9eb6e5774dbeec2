/* kv_copy - segments of a hand-off between pages and the wire, with their checksum.
 *
 * The layers of a full page are one run in both; of the last, partial page only the valid rows of each tile
 * travel. Each run is summed right after it was copied, while it is in the cache. Nothing of the device is
 * used: the transfer thread calls this while ops run. */
#include "kernels/cpu/cpu.h"

#include <string.h>

typedef struct kv_run {
    const op_kv_copy *op;
    bool to_wire;
    size_t wire_bytes; /* copied so far */
    uint64_t sum;
} kv_run;

static void copy_run(kv_run *r, uint8_t *page, size_t bytes) {
    uint8_t *wire = (uint8_t *)r->op->wire + r->wire_bytes;
    if (r->to_wire)
        memcpy(wire, page, bytes);
    else
        memcpy(page, wire, bytes);
    DEBUG_ASSERT(r->wire_bytes % 8 == 0);
    r->sum = kv_checksum_part(r->sum, r->wire_bytes / 8, wire, bytes);
    r->wire_bytes += bytes;
}

static void copy_segment(const op_kv_copy *a, bool to_wire) {
    const kv_layout *l = a->layout;
    kv_run run = {.op = a, .to_wire = to_wire, .sum = a->seed};
    size_t row_bytes = (size_t)l->head_dim * kv_elem_bytes(l);
    uint32_t tiles = 2 * l->kv_heads; /* of one layer of a page */
    PRE(a->token_begin % KV_PAGE_TOKENS == 0);
    PRE(a->layer_begin <= a->layer_end);
    PRE(a->layer_end <= l->layers);
    PRE(row_bytes % 8 == 0); /* so that every run starts at a word of the checksum */
    for (uint32_t done = 0; done < a->token_count; done += KV_PAGE_TOKENS) {
        uint32_t rows = a->token_count - done < KV_PAGE_TOKENS ? a->token_count - done : KV_PAGE_TOKENS;
        uint32_t page = a->pages[(a->token_begin + done) / KV_PAGE_TOKENS];
        for (uint32_t layer = a->layer_begin; layer < a->layer_end; layer++) {
            uint8_t *first = (uint8_t *)a->kv + kv_tile_offset(l, page, layer, 0, 0);
            if (rows == KV_PAGE_TOKENS) {
                copy_run(&run, first, tiles * kv_tile_bytes(l));
                continue;
            }
            for (uint32_t t = 0; t < tiles; t++)
                copy_run(&run, first + t * kv_tile_bytes(l), rows * row_bytes);
        }
    }
    CHECK(run.wire_bytes == kv_segment_bytes(l, a->token_count, a->layer_end - a->layer_begin));
    *a->checksum = run.sum;
}

status cpu_kv_gather(device *d, const op_kv_copy *a) {
    PRE(d);
    copy_segment(a, true);
    return ST_OK;
}

status cpu_kv_scatter(device *d, const op_kv_copy *a) {
    PRE(d);
    copy_segment(a, false);
    return ST_OK;
}
