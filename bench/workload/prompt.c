#include "bench/workload/prompt.h"

#include "bench/workload/draw.h"

#include "base/mem.h"
#include "base/status.h"

static uint64_t size_of(prompt_range range) {
    PRE(range.id_min <= range.id_max);
    return (uint64_t)((int64_t)range.id_max - range.id_min) + 1;
}

/* Digits in base `base` that any number of `bits` bits needs. */
static uint32_t digits_of(uint64_t base, unsigned bits) {
    uint32_t n = 0;
    uint64_t most = bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
    for (; most; most /= base) n++;
    return n;
}

uint32_t prompt_unique_tokens(prompt_range range) {
    uint64_t base = size_of(range);
    return base < 2 ? UINT32_MAX : digits_of(base, 32) + digits_of(base, 64);
}

/* Writes `digits` digits of x, shifted by what `shift` draws, or fewer if there is no room; returns how many.
 */
static uint32_t spell(int32_t *ids, uint32_t room, prompt_range range, uint64_t x, uint32_t digits,
                      draw *shift) {
    uint64_t base = size_of(range);
    uint32_t n = MIN(room, digits);
    for (uint32_t i = 0; i < n; i++, x /= base)
        ids[i] = (int32_t)(range.id_min + (int64_t)((x % base + draw_below(shift, base)) % base));
    return n;
}

static void fill_rest(int32_t *ids, uint32_t count, prompt_range range, draw d) {
    uint64_t base = size_of(range);
    for (uint32_t i = 0; i < count; i++) ids[i] = (int32_t)(range.id_min + (int64_t)draw_below(&d, base));
}

void prompt_fill(int32_t *ids, uint32_t count, prompt_range range, uint64_t seed, uint32_t index) {
    PRE(ids || !count);
    uint64_t base = size_of(range);
    uint32_t n = 0;
    if (base >= 2) {
        draw by_seed = draw_begin(seed, 0, DRAW_OFFSET), constant = draw_begin(0, 1, DRAW_OFFSET);
        n = spell(ids, count, range, index, digits_of(base, 32), &by_seed);
        n += spell(ids + n, count - n, range, seed, digits_of(base, 64), &constant);
    }
    fill_rest(ids + n, count - n, range, draw_begin(seed, index, DRAW_PROMPT));
}

void prompt_fill_block(int32_t *ids, uint32_t count, prompt_range range, uint64_t seed, uint64_t hash) {
    PRE(ids || !count);
    uint64_t base = size_of(range);
    uint32_t n = 0;
    if (base >= 2) {
        draw by_seed = draw_begin(seed, 2, DRAW_OFFSET);
        n = spell(ids, count, range, hash, digits_of(base, 64), &by_seed);
    }
    fill_rest(ids + n, count - n, range, draw_begin(seed, hash, DRAW_BLOCK));
}
