/* decode_plan - which keys of which generated row are one unit of work of decode attention. Pure.
 *
 * The keys of a row are cut into splits, which different blocks of the GPU attend to at the same time; the
 * last one to finish adds them up. Two rules say how long a split is:
 *
 * - deterministic: always split_tokens, which depends on the longest context only. A row at position p then
 *   has the same splits in every batch, so its sums are taken in the same order: its bits depend on its own
 *   sequence alone.
 * - default: so long that all splits of the step together keep the GPU busy about twice over
 *   (Flash-Decoding, Dao et al. 2023). One long row is cut finely, many rows are not cut at all. */
#ifndef BATON_KERNELS_CUDA_DECODE_PLAN_H
#define BATON_KERNELS_CUDA_DECODE_PLAN_H

#include "kernels/cuda/launch.h"

typedef struct decode_plan {
    bool deterministic;
    uint32_t split_tokens; /* deterministic: keys of a split, a multiple of DECODE_TILE_KEYS */
    uint32_t fill;         /* default: items that keep the device busy */
} decode_plan;

decode_plan decode_plan_make(bool deterministic, uint32_t max_context, uint32_t sm_count, uint32_t kv_heads);

/* Keys of a split in a step whose generated rows see `keys` keys altogether, at least 1. */
uint32_t decode_plan_split(const decode_plan *p, uint64_t keys);

/* How many items a row of `keys` keys has, and what they are. */
uint32_t decode_plan_row_items(uint32_t keys, uint32_t split);
uint32_t decode_plan_row(uint32_t row, uint32_t keys, uint32_t split, decode_item *out);

/* No step of at most `rows` rows of different sequences has more items, if all their keys fit into
 * page_tokens tokens of KV memory and one row has at most max_context. */
uint32_t decode_plan_items_max(const decode_plan *p, uint32_t rows, uint64_t page_tokens,
                               uint32_t max_context);

/* The longest run of items from `begin` on that has at most `cap` of them and ends where a row ends; at least
 * one row, which the caller knows to fit. */
uint32_t decode_plan_range(const decode_item *items, uint32_t begin, uint32_t count, uint32_t cap);

#endif
