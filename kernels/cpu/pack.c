#include "kernels/cpu/pack.h"

#include "base/mem.h"
#include "base/status.h"
#include "kernels/half.h"

#include <string.h>

/* Block `from` of a row of the file into lane `lane` of a record that is zeroed. */
static void pack_block(dtype type, const uint8_t *from, uint32_t lane, uint8_t *record) {
    uint8_t *d = record + lane * 2, *q = record + PACK_SCALE_BYTES;
    memcpy(d, from, 2);
    from += 2;
    if (type == DT_Q4_1) {
        memcpy(d + PACK_SCALE_BYTES, from, 2);
        from += 2;
        q += PACK_SCALE_BYTES;
    }
    uint32_t steps = type == DT_Q8_0 ? 8 : 4;
    for (uint32_t s = 0; s < steps; s++) {
        uint32_t word;
        memcpy(&word, from + (size_t)s * 4, sizeof word);
        if (type == DT_Q8_0) word ^= 0x80808080u; /* + 128 */
        memcpy(q + (size_t)s * PACK_STEP_BYTES + lane * 4, &word, sizeof word);
    }
}

void pack_panel(const tensor *t, uint32_t panel, void *to) {
    PRE(pack_takes(t));
    PRE(panel < pack_panels(t->rows));
    PRE(to);
    size_t row_bytes = dtype_row_bytes(t->type, t->cols), block_bytes = dtype_block_bytes(t->type);
    size_t record_bytes = pack_record_bytes(t->type);
    uint32_t groups = t->cols / PACK_GROUP, begin = panel * PACK_ROWS, rows = MIN(t->rows - begin, PACK_ROWS);
    uint8_t *out = (uint8_t *)to + panel * pack_panel_bytes(t->type, t->cols);
    if (rows < PACK_ROWS) memset(out, 0, record_bytes * groups);
    for (uint32_t r = 0; r < rows; r++) {
        const uint8_t *from = (const uint8_t *)t->data + (begin + r) * row_bytes;
        for (uint32_t g = 0; g < groups; g++)
            pack_block(t->type, from + g * block_bytes, r, out + g * record_bytes);
    }
}

void pack_row(const packed *p, uint32_t row, float *out) {
    PRE(p);
    PRE(p->data);
    PRE(row < p->rows);
    PRE(out);
    size_t record_bytes = pack_record_bytes(p->type);
    uint32_t lane = row % PACK_ROWS;
    const uint8_t *record = p->data + row / PACK_ROWS * pack_panel_bytes(p->type, p->cols);
    for (uint32_t g = 0; g < p->cols / PACK_GROUP; g++, record += record_bytes, out += PACK_GROUP) {
        const uint8_t *q = record + (p->type == DT_Q4_1 ? 2 : 1) * PACK_SCALE_BYTES + lane * 4;
        float d = f32_of_half_at(record + lane * 2), m = 0;
        if (p->type == DT_Q4_1) m = f32_of_half_at(record + PACK_SCALE_BYTES + lane * 2);
        int32_t zero = p->type == DT_Q4_0 ? 8 : p->type == DT_Q8_0 ? 128 : 0;
        for (uint32_t k = 0; k < PACK_GROUP; k++) {
            uint32_t step = p->type == DT_Q8_0 ? k / 4 : k % 16 / 4;
            uint8_t byte = q[(size_t)step * PACK_STEP_BYTES + k % 4];
            int32_t number = p->type == DT_Q8_0 ? byte : k < 16 ? byte & 15 : byte >> 4;
            out[k] = d * (float)(number - zero) + m;
        }
    }
}
