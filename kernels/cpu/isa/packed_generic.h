/* packed_generic - the tiles of packed.h in plain C, which says most clearly what they compute. */

/* The numbers of a group */
INLINE void numbers(const uint8_t *n, uint32_t planes, int32_t out[QUANT_GROUP]) {
    const int8_t *high = (const int8_t *)n, *low = high + QUANT_GROUP;
    for (uint32_t k = 0; k < QUANT_GROUP; k++) out[k] = planes == 2 ? high[k] * 256 + low[k] : high[k];
}

/* whole[r] += the products of a step's four columns */
INLINE void add_step(const uint8_t *codes, const int32_t *n, int32_t whole[PACK_ROWS]) {
    for (uint32_t r = 0; r < PACK_ROWS; r++)
        for (uint32_t i = 0; i < 4; i++) whole[r] += codes[r * 4 + i] * n[i];
}

/* The codes of step s of low or high halves, less nothing. */
INLINE void step_codes(dtype type, const uint8_t *q, uint32_t s, uint32_t upper,
                       uint8_t out[PACK_STEP_BYTES]) {
    const uint8_t *high = q + PACK_NIBBLE_BYTES + (pack_high(type) == 2 ? upper * PACK_STEP_BYTES : 0);
    const int32_t shift = high_shift(type, s, upper);
    for (uint32_t i = 0; i < PACK_STEP_BYTES; i++) {
        uint32_t code = q[s * PACK_STEP_BYTES + i] >> upper * 4 & 15;
        if (pack_high(type) > 0)
            code |= (shift < 0 ? high[i] >> -shift : high[i] << shift) & (pack_high(type) == 2 ? 48 : 16);
        out[i] = (uint8_t)(type == DT_IQ4_NL ? block_iq4_values[code] + 128 : (int32_t)code);
    }
}

/* out += what half `half` of the group's columns (all, where they share a scale) adds */
INLINE void tile_half(dtype type, const uint8_t *halves, const uint8_t *record, const quant_group *meta,
                      uint32_t half, const int32_t *n, float *out) {
    const uint8_t *q = record + pack_scale_bytes(type);
    const uint32_t begin = pack_scales(type) == 2 ? half * 4 : 0,
                   end = pack_scales(type) == 2 ? begin + 4 : 8;
    int32_t whole[PACK_ROWS];
    for (uint32_t r = 0; r < PACK_ROWS; r++)
        whole[r] = block_has_least(type) ? 0 : zeros_of(type, meta, half) * (1 << zeros_shift(type));
    for (uint32_t s = begin; s < end; s++) {
        uint8_t codes[PACK_STEP_BYTES];
        if (type == DT_Q8_0)
            memcpy(codes, q + s * PACK_STEP_BYTES, sizeof codes);
        else
            step_codes(type, q, s % 4, s / 4, codes);
        add_step(codes, n + s * 4, whole);
    }
    const uint8_t *scale = record + half * PACK_ROWS, *least = scale + pack_scales(type) * PACK_ROWS;
    for (uint32_t r = 0; r < PACK_ROWS; r++) {
        float d = f32_of_half_at(halves + r * 2);
        if (block_is_super(type)) d *= (float)(int8_t)scale[r];
        out[r] = (float)whole[r] * (d * meta->scale) + out[r];
        if (!block_has_least(type)) continue;
        float m = f32_of_half_at(halves + PACK_SCALE_BYTES + r * 2);
        if (block_is_super(type)) m *= -(float)least[r];
        out[r] = m * sum_of(type, meta, half) + out[r];
    }
}

INLINE void tile(dtype type, uint32_t rows, uint32_t planes, const tile_weights *w, const tile_rows *x,
                 float *out) {
    memset(out, 0, rows * PACK_ROWS * sizeof *out);
    for (uint32_t t = 0; t < rows; t++) {
        for (uint32_t g = 0; g < w->groups; g++) {
            int32_t n[QUANT_GROUP];
            numbers(x->row + t * x->rows->stride + (size_t)g * QUANT_GROUP * planes, planes, n);
            for (uint32_t half = 0; half < pack_scales(type); half++)
                tile_half(type, halves_at(type, w->panel, g), w->panel + pack_record_at(type, g),
                          group_at(x, t, g), half, n, out + t * PACK_ROWS);
        }
    }
}
