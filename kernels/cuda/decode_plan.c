#include "kernels/cuda/decode_plan.h"

#include "base/mem.h"
#include "base/status.h"

/* Splits of less are all start-up, and a row of 32 splits of this size has a context of 16 ki tokens. */
#define SPLIT_TOKENS_MIN 512u
/* Default mode: the last block of a row merges its splits one after another, by estimate at the cost of so
 * many keys.
 */
#define SPLIT_FAST_MIN 256u
#define SPLITS_TARGET  32u

static uint32_t whole_tiles(uint64_t keys) {
    return (uint32_t)((keys + DECODE_TILE_KEYS - 1) / DECODE_TILE_KEYS * DECODE_TILE_KEYS);
}

decode_plan decode_plan_make(bool deterministic, uint32_t max_context, uint32_t sm_count, uint32_t kv_heads) {
    PRE(max_context > 0);
    PRE(sm_count > 0);
    PRE(kv_heads > 0);
    uint32_t even = whole_tiles((max_context + SPLITS_TARGET - 1) / SPLITS_TARGET);
    return (decode_plan){.deterministic = deterministic,
                         .split_tokens = MAX(even, SPLIT_TOKENS_MIN),
                         .fill = (2 * sm_count + kv_heads - 1) / kv_heads};
}

uint32_t decode_plan_split(const decode_plan *p, uint64_t keys) {
    PRE(keys > 0);
    if (p->deterministic) return p->split_tokens;
    return MAX(whole_tiles((keys + p->fill - 1) / p->fill), SPLIT_FAST_MIN);
}

uint32_t decode_plan_row_items(uint32_t keys, uint32_t split) {
    return (keys + split - 1) / split;
}

uint32_t decode_plan_row(uint32_t row, uint32_t keys, uint32_t split, decode_item *out) {
    PRE(keys > 0);
    PRE(split % DECODE_TILE_KEYS == 0);
    uint32_t splits = decode_plan_row_items(keys, split);
    CHECK(splits <= UINT16_MAX);
    for (uint32_t i = 0; i < splits; i++)
        out[i] = (decode_item){.row = row,
                               .begin = i * split,
                               .end = MIN((i + 1) * split, keys),
                               .split = (uint16_t)i,
                               .splits = (uint16_t)splits};
    return splits;
}

/* A row of n keys has at most n / split + 1 items. Summed over the rows that is keys / split + rows.
 * Deterministic: keys are at most page_tokens. Default: split >= keys / fill, so keys / split <= fill. */
uint32_t decode_plan_items_max(const decode_plan *p, uint32_t rows, uint64_t page_tokens,
                               uint32_t max_context) {
    uint64_t one_row = p->deterministic ? decode_plan_row_items(max_context, p->split_tokens) : p->fill + 1;
    uint64_t all_rows = (p->deterministic ? page_tokens / p->split_tokens : p->fill) + rows;
    uint64_t most = MAX(one_row, all_rows);
    CHECK(most <= UINT32_MAX);
    return (uint32_t)most;
}

uint32_t decode_plan_range(const decode_item *items, uint32_t begin, uint32_t count, uint32_t cap) {
    PRE(begin < count);
    uint32_t end = MIN(count - begin, cap) + begin;
    if (end < count) end -= items[end].split; /* back to the first item of the row that would be cut */
    CHECK(end > begin);
    return end - begin;
}
