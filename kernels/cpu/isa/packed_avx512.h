/* packed_avx512 - the tiles of packed.h with VNNI: vpdpbusd adds four products of bytes per lane, a lane
 * being a weight row. Two registers are a step of a panel. */
#include <immintrin.h>

/* The sum so far, in its register: one row after the other is added, else all their products are kept. */
#define KEEP(sum) __asm__("" : "+v"(sum))

/* A pointer that the compiler knows nothing about: what is read through it for one half of a group is not
 * kept in registers for the other. */
INLINE const uint8_t *anew(const uint8_t *p) {
    __asm__ volatile("" : "+r"(p)::"memory");
    return p;
}

INLINE __m512i four_numbers(const uint8_t *p) {
    int32_t word;
    memcpy(&word, p, sizeof word);
    return _mm512_set1_epi32(word);
}

INLINE __m512 halves(const uint8_t *p) {
    return _mm512_cvtph_ps(_mm256_load_si256((const void *)p));
}

/* The scales of 16 rows: d, or d times the whole number of the half. */
INLINE __m512 scales_of(dtype type, const uint8_t *halves_of, const uint8_t *bytes, uint32_t side) {
    __m512 d = halves(halves_of + side * 32);
    if (!block_is_super(type)) return d;
    __m128i whole = _mm_load_si128((const void *)(bytes + side * 16)); /* below 64 where it has no sign */
    return _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(whole)));
}

/* sums += scale * d * whole (+ m * sum) */
INLINE void add_group(dtype type, uint32_t rows, const uint8_t *head, const uint8_t *record,
                      const tile_rows *x, uint32_t g, uint32_t half, __m512i whole[][2], __m512 sums[][2]) {
    const uint8_t *bytes = record + half * PACK_ROWS;
    __m512 d0 = scales_of(type, head, bytes, 0), d1 = scales_of(type, head, bytes, 1);
    UNROLL for (uint32_t t = 0; t < rows; t++) {
        const quant_group *meta = group_at(x, t, g);
        __m512 scale = _mm512_set1_ps(meta->scale);
        sums[t][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole[t][0]), _mm512_mul_ps(d0, scale), sums[t][0]);
        sums[t][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole[t][1]), _mm512_mul_ps(d1, scale), sums[t][1]);
        KEEP(sums[t][0]);
        KEEP(sums[t][1]);
    }
    if (!block_has_least(type)) return;
    head += PACK_SCALE_BYTES;
    bytes += pack_scales(type) * PACK_ROWS;
    __m512 m0 = scales_of(type, head, bytes, 0), m1 = scales_of(type, head, bytes, 1);
    UNROLL for (uint32_t t = 0; t < rows; t++) {
        __m512 sum = _mm512_set1_ps(sum_of(type, group_at(x, t, g), half));
        if (block_is_super(type)) {
            sums[t][0] = _mm512_fnmadd_ps(m0, sum, sums[t][0]);
            sums[t][1] = _mm512_fnmadd_ps(m1, sum, sums[t][1]);
        } else {
            sums[t][0] = _mm512_fmadd_ps(m0, sum, sums[t][0]);
            sums[t][1] = _mm512_fmadd_ps(m1, sum, sums[t][1]);
        }
        KEEP(sums[t][0]);
        KEEP(sums[t][1]);
    }
}

INLINE __m512i zeros_part(dtype type, const tile_rows *x, uint32_t t, uint32_t g, uint32_t half) {
    __m512i zeros = _mm512_set1_epi32(zeros_of(type, group_at(x, t, g), half));
    return zeros_shift(type) ? _mm512_slli_epi32(zeros, zeros_shift(type)) : zeros;
}

INLINE void store_sums(uint32_t rows, __m512 sums[][2], float *out) {
    UNROLL for (uint32_t t = 0; t < rows; t++) {
        _mm512_storeu_ps(out + t * PACK_ROWS, sums[t][0]);
        _mm512_storeu_ps(out + t * PACK_ROWS + 16, sums[t][1]);
    }
}

/* q8_0, one plane after the other, as two would want the numbers of eight steps twice as long. */
INLINE void tile_bytes(uint32_t rows, uint32_t planes, const tile_weights *w, const tile_rows *x,
                       float *out) {
    const size_t step = pack_record_bytes(DT_Q8_0), stride = x->rows->stride;
    const uint8_t *record = w->panel;
    __m512 sums[PACKED_TILE_MAX][2];
    UNROLL for (uint32_t t = 0; t < rows; t++) sums[t][0] = sums[t][1] = _mm512_setzero_ps();
    for (uint32_t g = 0; g < w->groups; g++, record += step) {
        const uint8_t *q = record + PACK_SCALE_BYTES, *n = x->row + (size_t)g * QUANT_GROUP * planes;
        ask_ahead(w, g);
        __m512i whole[PACKED_TILE_MAX][2];
        UNROLL for (uint32_t t = 0; t < rows; t++) whole[t][0] = whole[t][1] = _mm512_setzero_si512();
        UNROLL for (uint32_t p = 0; p < planes; p++) {
            UNROLL for (uint32_t t = 0; p > 0 && t < rows; t++) {
                whole[t][0] = _mm512_slli_epi32(whole[t][0], 8);
                whole[t][1] = _mm512_slli_epi32(whole[t][1], 8);
                KEEP(whole[t][0]);
                KEEP(whole[t][1]);
            }
            UNROLL for (uint32_t s = 0; s < 8; s++) {
                __m512i w0 = _mm512_load_si512(q + s * PACK_STEP_BYTES);
                __m512i w1 = _mm512_load_si512(q + s * PACK_STEP_BYTES + 64);
                UNROLL for (uint32_t t = 0; t < rows; t++) {
                    __m512i b = four_numbers(n + t * stride + p * QUANT_GROUP + s * 4);
                    whole[t][0] = _mm512_dpbusd_epi32(whole[t][0], w0, b);
                    whole[t][1] = _mm512_dpbusd_epi32(whole[t][1], w1, b);
                }
            }
        }
        UNROLL for (uint32_t t = 0; t < rows; t++) {
            __m512i part = zeros_part(DT_Q8_0, x, t, g, 0);
            whole[t][0] = _mm512_add_epi32(whole[t][0], part);
            whole[t][1] = _mm512_add_epi32(whole[t][1], part);
            KEEP(whole[t][0]);
            KEEP(whole[t][1]);
        }
        add_group(DT_Q8_0, rows, record, record, x, g, 0, whole, sums);
    }
    store_sums(rows, sums, out);
}

/* Codes of one side of step s: those of low or of high halves, as unsigned bytes. */
INLINE __m512i step_codes(dtype type, const uint8_t *q, uint32_t s, uint32_t upper, uint32_t side) {
    const __m512i mask = _mm512_set1_epi8(15);
    __m512i v = _mm512_load_si512(q + s * PACK_STEP_BYTES + side * 64);
    __m512i code = _mm512_and_si512(upper ? _mm512_srli_epi16(v, 4) : v, mask);
    if (type == DT_IQ4_NL) {
        const __m128i values = _mm_loadu_si128((const void *)block_iq4_values);
        const __m512i table = _mm512_broadcast_i32x4(_mm_xor_si128(values, _mm_set1_epi8(-128)));
        return _mm512_shuffle_epi8(table, code);
    }
    if (pack_high(type) == 0) return code;
    const uint8_t *at = q + PACK_NIBBLE_BYTES + (pack_high(type) == 2 ? upper * PACK_STEP_BYTES : 0);
    const int32_t shift = high_shift(type, s, upper);
    __m512i high = _mm512_load_si512(at + side * 64);
    high = shift < 0 ? _mm512_srli_epi16(high, (uint32_t)-shift) : _mm512_slli_epi16(high, (uint32_t)shift);
    return _mm512_or_si512(code, _mm512_and_si512(high, _mm512_set1_epi8(pack_high(type) == 2 ? 48 : 16)));
}

/* What the columns of half `half` of group g (all, where they share a scale) add. */
INLINE void add_half(dtype type, uint32_t rows, uint32_t planes, const uint8_t *head, const uint8_t *record,
                     const tile_rows *x, uint32_t g, uint32_t half, __m512 sums[][2]) {
    const uint8_t *q = record + pack_scale_bytes(type), *n = x->row + (size_t)g * QUANT_GROUP * planes;
    const size_t stride = x->rows->stride;
    const bool both = pack_scales(type) == 1;
    __m512i plane[2][PACKED_TILE_MAX][2];
    UNROLL for (uint32_t p = 0; p < planes; p++) {
        UNROLL for (uint32_t t = 0; t < rows; t++) {
            bool zeros = p + 1 == planes && !block_has_least(type);
            plane[p][t][0] = plane[p][t][1] =
                zeros ? zeros_part(type, x, t, g, half) : _mm512_setzero_si512();
        }
    }
    UNROLL for (uint32_t s = 0; s < 4; s++) {
        const uint32_t first = both ? 0 : half;
        __m512i w0 = step_codes(type, q, s, first, 0), w1 = step_codes(type, q, s, first, 1), v0, v1;
        if (both) {
            v0 = step_codes(type, q, s, 1, 0);
            v1 = step_codes(type, q, s, 1, 1);
            KEEP(v0);
            KEEP(v1);
        }
        KEEP(w0);
        KEEP(w1);
        UNROLL for (uint32_t t = 0; t < rows; t++) {
            UNROLL for (uint32_t p = 0; p < planes; p++) {
                const uint8_t *at = n + t * stride + p * QUANT_GROUP + s * 4 + first * 16;
                __m512i b = four_numbers(at);
                plane[p][t][0] = _mm512_dpbusd_epi32(plane[p][t][0], w0, b);
                plane[p][t][1] = _mm512_dpbusd_epi32(plane[p][t][1], w1, b);
                if (!both) continue;
                b = four_numbers(at + 16);
                plane[p][t][0] = _mm512_dpbusd_epi32(plane[p][t][0], v0, b);
                plane[p][t][1] = _mm512_dpbusd_epi32(plane[p][t][1], v1, b);
            }
        }
    }
    UNROLL for (uint32_t t = 0; planes == 2 && t < rows; t++) {
        UNROLL for (uint32_t h = 0; h < 2; h++) plane[0][t][h] =
            _mm512_add_epi32(_mm512_slli_epi32(plane[0][t][h], 8), plane[1][t][h]);
    }
    add_group(type, rows, head, record, x, g, half, plane[0], sums);
}

INLINE void tile_nibbles(dtype type, uint32_t rows, uint32_t planes, const tile_weights *w,
                         const tile_rows *x, float *out) {
    const size_t step = pack_record_bytes(type);
    const uint8_t *record = w->panel, *head = record;
    __m512 sums[PACKED_TILE_MAX][2];
    UNROLL for (uint32_t t = 0; t < rows; t++) sums[t][0] = sums[t][1] = _mm512_setzero_ps();
    for (uint32_t g = 0; g < w->groups; g++, record += step) {
        if (!block_is_super(type)) {
            head = record;
        } else if (g % PACK_SUPER == 0) {
            head = record;
            record += pack_head_bytes(type);
        }
        ask_ahead(w, g);
        UNROLL for (uint32_t half = 0; half < pack_scales(type); half++) {
            const tile_rows here = {.row = anew(x->row), .rows = x->rows};
            add_half(type, rows, planes, anew(head), anew(record), &here, g, half, sums);
        }
    }
    store_sums(rows, sums, out);
}

INLINE void tile(dtype type, uint32_t rows, uint32_t planes, const tile_weights *w, const tile_rows *x,
                 float *out) {
    if (type == DT_Q8_0)
        tile_bytes(rows, planes, w, x, out);
    else
        tile_nibbles(type, rows, planes, w, x, out);
}
