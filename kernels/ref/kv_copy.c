/* kv_copy - segments of a hand-off, tile by tile in wire order. */
#include "kernels/ref/ref.h"

#include <string.h>

static void copy_rows(const op_kv_copy *a, bool to_wire) {
    const kv_layout *l = a->layout;
    size_t row_bytes = (size_t)l->head_dim * kv_elem_bytes(l);
    uint8_t *wire = a->wire;
    const kv_piece *p = &a->piece;
    uint32_t end = p->token_begin + p->token_count;
    PRE(p->token_begin % KV_PAGE_TOKENS == 0);
    for (uint32_t begin = p->token_begin; begin < end; begin += KV_PAGE_TOKENS) {
        uint32_t rows = end - begin < KV_PAGE_TOKENS ? end - begin : KV_PAGE_TOKENS;
        uint32_t page = a->pages[begin / KV_PAGE_TOKENS];
        for (uint32_t layer = p->layer_begin; layer < p->layer_end; layer++) {
            for (uint32_t is_v = 0; is_v < 2; is_v++) {
                for (uint32_t head = p->head_begin; head < p->head_end; head++) {
                    uint8_t *tile = (uint8_t *)a->kv + kv_tile_offset(l, page, layer, is_v, head);
                    memcpy(to_wire ? wire : tile, to_wire ? tile : wire, rows * row_bytes);
                    wire += rows * row_bytes;
                }
            }
        }
    }
    *a->checksum = kv_checksum(a->seed, a->wire, kv_piece_bytes(l, p));
}

status ref_kv_gather(device *d, const op_kv_copy *a) {
    PRE(d);
    copy_rows(a, true);
    return ST_OK;
}

status ref_kv_scatter(device *d, const op_kv_copy *a) {
    PRE(d);
    copy_rows(a, false);
    return ST_OK;
}
