/* kv_layout - where one token's keys and values lie in page memory and on the wire, and a segment's
 * checksum. Pure.
 *
 * Page memory is one block of page_count * page_bytes. A page holds KV_PAGE_TOKENS positions of all layers:
 *   [layer][K, V][kv_head][KV_PAGE_TOKENS][head_dim] of `type` (f16, bf16 or f32)
 * so that all layers of a page are contiguous, and a layer group of a page is one run. */
#ifndef BATON_KV_KV_LAYOUT_H
#define BATON_KV_KV_LAYOUT_H

#include "base/tensor.h"
#include "proto/kv_wire.h"

#define KV_PAGE_TOKENS 16u

typedef struct kv_layout {
    dtype type; /* DT_F16, DT_BF16 or DT_F32 */
    uint32_t layers, kv_heads, head_dim;
} kv_layout;

static inline uint32_t kv_elem_bytes(const kv_layout *l) {
    return l->type == DT_F32 ? 4u : 2u;
}
/* Bytes of one head's rows of one page, of K or of V. */
static inline size_t kv_tile_bytes(const kv_layout *l) {
    return (size_t)KV_PAGE_TOKENS * l->head_dim * kv_elem_bytes(l);
}
/* Bytes of one token in one layer, K and V. */
static inline size_t kv_token_layer_bytes(const kv_layout *l) {
    return (size_t)2 * l->kv_heads * l->head_dim * kv_elem_bytes(l);
}
static inline size_t kv_token_bytes(const kv_layout *l) {
    return kv_token_layer_bytes(l) * l->layers;
}
static inline size_t kv_page_bytes(const kv_layout *l) {
    return kv_token_bytes(l) * KV_PAGE_TOKENS;
}
static inline uint32_t kv_pages_for(uint32_t token_count) {
    return (token_count + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
}
/* Byte offset of tile (page, layer, 0 = K | 1 = V, head) in page memory. */
static inline size_t kv_tile_offset(const kv_layout *l, uint32_t page, uint32_t layer, uint32_t is_v,
                                    uint32_t head) {
    return (((size_t)page * l->layers + layer) * 2 + is_v) * l->kv_heads * kv_tile_bytes(l) +
           head * kv_tile_bytes(l);
}
/* Rows [begin, begin + count) x layers [layer_begin, layer_end) of all heads. */
static inline kv_piece kv_piece_of(const kv_layout *l, uint32_t token_begin, uint32_t token_count,
                                   uint32_t layer_begin, uint32_t layer_end) {
    return (kv_piece){.token_begin = token_begin,
                      .token_count = token_count,
                      .layer_begin = layer_begin,
                      .layer_end = layer_end,
                      .head_begin = 0,
                      .head_end = l->kv_heads};
}
/* Bytes of a piece on the wire: exactly its keys and values, in the order page, layer, K then V, head, row,
 * dim. */
static inline size_t kv_piece_bytes(const kv_layout *l, const kv_piece *p) {
    return (size_t)2 * l->head_dim * kv_elem_bytes(l) * p->token_count * (p->layer_end - p->layer_begin) *
           (p->head_end - p->head_begin);
}
/* Pages up to the piece's last row: as many entries of the sequence's page table it needs. */
static inline uint32_t kv_piece_pages(const kv_piece *p) {
    return kv_pages_for(p->token_begin + p->token_count);
}
/* Bytes of all heads of so many rows and layers. */
static inline size_t kv_segment_bytes(const kv_layout *l, uint32_t token_count, uint32_t layer_count) {
    const kv_piece p = kv_piece_of(l, 0, token_count, 0, layer_count);
    return kv_piece_bytes(l, &p);
}

/* checksum = seed + sum over 64-bit little-endian words w_i of w_i * mix_weight(i) (base/mix.h), mod 2^64 (a
 * tail is padded with zeros). A weight is odd, so any one flipped bit changes the sum, and they look random,
 * so that foreign, swapped or shifted words do; what differs in few of the highest bits of words only may
 * not: the weights' differences are even. The sum can be taken in any order, hence in parallel, and with
 * instructions that every machine has many of. */
uint64_t kv_checksum(uint64_t seed, const void *bytes, size_t count);
/* Adds to `sum` the words of a part that starts at word `word_begin` of the whole. Only the last may have a
 * tail. */
uint64_t kv_checksum_part(uint64_t sum, uint64_t word_begin, const void *bytes, size_t count);
uint64_t kv_mix(uint64_t i);

#endif
