/* packed_generic - the tiles of packed.h in plain C, which says most clearly what they compute. */

/* The numbers of a group */
INLINE void numbers(const uint8_t *n, uint32_t planes, int32_t out[QUANT_GROUP]) {
    const int8_t *high = (const int8_t *)n, *low = high + QUANT_GROUP;
    for (uint32_t k = 0; k < QUANT_GROUP; k++) out[k] = planes == 2 ? high[k] * 256 + low[k] : high[k];
}

/* whole[r] += the products of a step's four columns */
INLINE void add_step(const uint8_t *q, uint32_t shift, uint8_t mask, const int32_t *n,
                     int32_t whole[PACK_ROWS]) {
    for (uint32_t r = 0; r < PACK_ROWS; r++)
        for (uint32_t i = 0; i < 4; i++) whole[r] += (q[r * 4 + i] >> shift & mask) * n[i];
}

INLINE void tile_group(bool nibbles, bool min, const tile_weights *w, const uint8_t *record,
                       const quant_group *meta, const int32_t *n, float *out) {
    const uint8_t *q = record + (min ? 2 : 1) * PACK_SCALE_BYTES;
    int32_t whole[PACK_ROWS];
    for (uint32_t r = 0; r < PACK_ROWS; r++) whole[r] = min ? 0 : meta->times[w->zero];
    for (uint32_t s = 0; s < 8; s++) {
        if (!nibbles)
            add_step(q + s * PACK_STEP_BYTES, 0, 255, n + s * 4, whole);
        else if (s < 4)
            add_step(q + s * PACK_STEP_BYTES, 0, 15, n + s * 4, whole);
        else
            add_step(q + (s - 4) * PACK_STEP_BYTES, 4, 15, n + s * 4, whole);
    }
    for (uint32_t r = 0; r < PACK_ROWS; r++) {
        float d = f32_of_half_at(record + r * 2);
        out[r] = (float)whole[r] * (d * meta->scale) + out[r];
        if (min) out[r] = f32_of_half_at(record + PACK_SCALE_BYTES + r * 2) * meta->sum + out[r];
    }
}

INLINE void tile_any(bool nibbles, uint32_t rows, uint32_t planes, bool min, const tile_weights *w,
                     const tile_rows *x, float *out) {
    const size_t step = (min ? 2 : 1) * PACK_SCALE_BYTES + (nibbles ? PACK_NIBBLE_BYTES : PACK_BYTE_BYTES);
    memset(out, 0, rows * PACK_ROWS * sizeof *out);
    for (uint32_t t = 0; t < rows; t++) {
        for (uint32_t g = 0; g < w->groups; g++) {
            int32_t n[QUANT_GROUP];
            numbers(x->row + t * x->rows->stride + (size_t)g * QUANT_GROUP * planes, planes, n);
            tile_group(nibbles, min, w, w->record + g * step, group_at(x, t, g), n, out + t * PACK_ROWS);
        }
    }
}

INLINE void tile_bytes(uint32_t rows, uint32_t planes, bool min, const tile_weights *w, const tile_rows *x,
                       float *out) {
    tile_any(false, rows, planes, min, w, x, out);
}

INLINE void tile_nibbles(uint32_t rows, uint32_t planes, bool min, const tile_weights *w, const tile_rows *x,
                         float *out) {
    tile_any(true, rows, planes, min, w, x, out);
}
