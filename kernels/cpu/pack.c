#include "kernels/cpu/pack.h"

#include "base/mem.h"
#include "base/status.h"

#include <string.h>

/* Where lane `lane` of record `group` has what. */
typedef struct place {
    uint8_t *d, *m;         /* halves */
    uint8_t *scale, *least; /* of super-blocks: the first; the second follows PACK_ROWS later */
    uint8_t *q;             /* four bytes of each step */
    uint8_t *high;
} place;

static place place_of(dtype type, uint8_t *panel, uint32_t group, uint32_t lane) {
    uint8_t *record = panel + pack_record_at(type, group), *halves = record;
    if (block_is_super(type))
        halves = record - group % PACK_SUPER * pack_record_bytes(type) - pack_head_bytes(type);
    uint8_t *q = record + pack_scale_bytes(type) + lane * 4;
    return (place){
        .d = halves + lane * 2,
        .m = halves + PACK_SCALE_BYTES + lane * 2,
        .scale = record + lane,
        .least = record + pack_scales(type) * PACK_ROWS + lane,
        .q = q,
        .high = q + PACK_NIBBLE_BYTES,
    };
}

static void put_scales(dtype type, const block_group *b, const place *to) {
    memcpy(to->d, &b->d, sizeof b->d);
    if (block_has_least(type)) memcpy(to->m, &b->m, sizeof b->m);
    for (uint32_t h = 0; block_is_super(type) && h < pack_scales(type); h++) {
        memcpy(to->scale + (size_t)h * PACK_ROWS, &b->scale[h], 1);
        if (block_has_least(type)) to->least[h * PACK_ROWS] = b->least[h];
    }
}

static void put_bytes(const block_group *b, const place *to) {
    for (uint32_t s = 0; s < 8; s++) {
        uint32_t word;
        memcpy(&word, b->q + (size_t)s * 4, sizeof word);
        word ^= 0x80808080u; /* + 128 */
        memcpy(to->q + (size_t)s * PACK_STEP_BYTES, &word, sizeof word);
    }
}

/* Four codes at a time: a word of them. */
static void put_nibbles(dtype type, const block_group *b, const place *to) {
    uint32_t high[2] = {0}, bits = pack_high(type);
    for (uint32_t s = 0; s < 4; s++) {
        uint32_t low_half, high_half;
        memcpy(&low_half, b->q + (size_t)s * 4, sizeof low_half);
        memcpy(&high_half, b->q + 16 + (size_t)s * 4, sizeof high_half);
        uint32_t word = (low_half & 0x0f0f0f0fu) | (high_half & 0x0f0f0f0fu) << 4;
        memcpy(to->q + (size_t)s * PACK_STEP_BYTES, &word, sizeof word);
        low_half = low_half >> 4 & 0x03030303u;
        high_half = high_half >> 4 & 0x03030303u;
        high[0] |= bits == 2 ? low_half << 2 * s : low_half << s | high_half << (4 + s);
        high[1] |= high_half << 2 * s;
    }
    for (uint32_t i = 0; i < bits; i++) memcpy(to->high + (size_t)i * PACK_STEP_BYTES, &high[i], 4);
}

void pack_panel(const tensor *t, uint32_t panel, void *to) {
    PRE(pack_takes(t));
    PRE(panel < pack_panels(t->rows));
    PRE(to);
    const size_t row_bytes = dtype_row_bytes(t->type, t->cols),
                 panel_bytes = pack_panel_bytes(t->type, t->cols);
    const uint32_t groups = t->cols / PACK_GROUP, of_block = dtype_block_weights(t->type) / PACK_GROUP;
    const uint32_t begin = panel * PACK_ROWS, rows = MIN(t->rows - begin, PACK_ROWS);
    uint8_t *out = (uint8_t *)to + panel * panel_bytes;
    if (rows < PACK_ROWS) memset(out, 0, panel_bytes);
    for (uint32_t r = 0; r < rows; r++) {
        const uint8_t *from = (const uint8_t *)t->data + (begin + r) * row_bytes;
        for (uint32_t g = 0; g < groups; g++) {
            block_group b;
            block_read(t->type, from + g / of_block * block_size_of(t->type), g % of_block, &b);
            place at = place_of(t->type, out, g, r);
            put_scales(t->type, &b, &at);
            if (t->type == DT_Q8_0)
                put_bytes(&b, &at);
            else
                put_nibbles(t->type, &b, &at);
        }
    }
}

static void take_group(dtype type, const place *from, block_group *out) {
    *out = (block_group){.scale = {1, 1}, .least = {1, 1}};
    memcpy(&out->d, from->d, sizeof out->d);
    if (block_has_least(type)) memcpy(&out->m, from->m, sizeof out->m);
    for (uint32_t h = 0; block_is_super(type) && h < 2; h++) {
        size_t at = (size_t)(h % pack_scales(type)) * PACK_ROWS;
        memcpy(&out->scale[h], from->scale + at, 1);
        if (block_has_least(type)) out->least[h] = from->least[at];
    }
    for (uint32_t k = 0; k < PACK_GROUP; k++) {
        if (type == DT_Q8_0) {
            out->q[k] = (int8_t)(from->q[k / 4 * PACK_STEP_BYTES + k % 4] - 128);
            continue;
        }
        uint32_t s = k % 16 / 4, upper = k / 16;
        uint32_t q = from->q[s * PACK_STEP_BYTES + k % 4] >> upper * 4 & 15;
        if (pack_high(type) == 1) q |= (from->high[k % 4] >> (upper * 4 + s) & 1u) << 4;
        if (pack_high(type) == 2) q |= (from->high[upper * PACK_STEP_BYTES + k % 4] >> 2 * s & 3u) << 4;
        out->q[k] = (int8_t)q;
    }
}

void pack_row(const packed *p, uint32_t row, float *out) {
    PRE(p);
    PRE(p->data);
    PRE(row < p->rows);
    PRE(out);
    /* Only read */
    uint8_t *panel = (uint8_t *)p->data + row / PACK_ROWS * pack_panel_bytes(p->type, p->cols);
    for (uint32_t g = 0; g < p->cols / PACK_GROUP; g++) {
        block_group b;
        place from = place_of(p->type, panel, g, row % PACK_ROWS);
        take_group(p->type, &from, &b);
        block_group_floats(p->type, &b, out + (size_t)g * PACK_GROUP);
    }
}
