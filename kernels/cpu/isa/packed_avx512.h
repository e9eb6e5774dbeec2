/* packed_avx512 - the tiles of packed.h with VNNI: vpdpbusd adds four products of bytes per lane, a lane
 * being a weight row. Two registers are a step of a panel. */
#include <immintrin.h>

/* The sum so far, in its register: one row after the other is added, else all their products are kept. */
#define KEEP(sum) __asm__("" : "+v"(sum))

INLINE __m512i four_numbers(const uint8_t *p) {
    int32_t word;
    memcpy(&word, p, sizeof word);
    return _mm512_set1_epi32(word);
}

INLINE __m512 halves(const uint8_t *p) {
    return _mm512_cvtph_ps(_mm256_load_si256((const void *)p));
}

/* sums += scale * d * whole (+ m * sum) */
INLINE void add_group(uint32_t rows, bool min, const uint8_t *record, const tile_rows *x, uint32_t g,
                      __m512i whole[][2], __m512 sums[][2]) {
    __m512 d0 = halves(record), d1 = halves(record + 32);
    UNROLL for (uint32_t t = 0; t < rows; t++) {
        const quant_group *meta = group_at(x, t, g);
        __m512 scale = _mm512_set1_ps(meta->scale);
        sums[t][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole[t][0]), _mm512_mul_ps(d0, scale), sums[t][0]);
        sums[t][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole[t][1]), _mm512_mul_ps(d1, scale), sums[t][1]);
        KEEP(sums[t][0]);
        KEEP(sums[t][1]);
    }
    if (!min) return;
    __m512 m0 = halves(record + PACK_SCALE_BYTES), m1 = halves(record + PACK_SCALE_BYTES + 32);
    UNROLL for (uint32_t t = 0; t < rows; t++) {
        const quant_group *meta = group_at(x, t, g);
        __m512 sum = _mm512_set1_ps(meta->sum);
        sums[t][0] = _mm512_fmadd_ps(m0, sum, sums[t][0]);
        sums[t][1] = _mm512_fmadd_ps(m1, sum, sums[t][1]);
    }
}

INLINE __m512i zeros_part(const tile_weights *w, const tile_rows *x, uint32_t t, uint32_t g) {
    return _mm512_set1_epi32(group_at(x, t, g)->times[w->zero]);
}

INLINE void store_sums(uint32_t rows, __m512 sums[][2], float *out) {
    UNROLL for (uint32_t t = 0; t < rows; t++) {
        _mm512_storeu_ps(out + t * PACK_ROWS, sums[t][0]);
        _mm512_storeu_ps(out + t * PACK_ROWS + 16, sums[t][1]);
    }
}

INLINE void tile_bytes(uint32_t rows, uint32_t planes, bool min, const tile_weights *w, const tile_rows *x,
                       float *out) {
    const size_t head = (min ? 2 : 1) * PACK_SCALE_BYTES, step = head + PACK_BYTE_BYTES;
    const size_t stride = x->rows->stride;
    const uint8_t *record = w->record;
    __m512 sums[PACKED_TILE_MAX][2];
    UNROLL for (uint32_t t = 0; t < rows; t++) sums[t][0] = sums[t][1] = _mm512_setzero_ps();
    for (uint32_t g = 0; g < w->groups; g++, record += step) {
        const uint8_t *q = record + head, *n = x->row + (size_t)g * QUANT_GROUP * planes;
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
        UNROLL for (uint32_t t = 0; !min && t < rows; t++) {
            __m512i part = zeros_part(w, x, t, g);
            whole[t][0] = _mm512_add_epi32(whole[t][0], part);
            whole[t][1] = _mm512_add_epi32(whole[t][1], part);
            KEEP(whole[t][0]);
            KEEP(whole[t][1]);
        }
        add_group(rows, min, record, x, g, whole, sums);
    }
    store_sums(rows, sums, out);
}

INLINE void tile_nibbles(uint32_t rows, uint32_t planes, bool min, const tile_weights *w, const tile_rows *x,
                         float *out) {
    const size_t head = (min ? 2 : 1) * PACK_SCALE_BYTES, step = head + PACK_NIBBLE_BYTES;
    const size_t stride = x->rows->stride;
    const uint8_t *record = w->record;
    const __m512i mask = _mm512_set1_epi8(15);
    __m512 sums[PACKED_TILE_MAX][2];
    UNROLL for (uint32_t t = 0; t < rows; t++) sums[t][0] = sums[t][1] = _mm512_setzero_ps();
    for (uint32_t g = 0; g < w->groups; g++, record += step) {
        const uint8_t *q = record + head, *n = x->row + (size_t)g * QUANT_GROUP * planes;
        ask_ahead(w, g);
        __m512i plane[2][PACKED_TILE_MAX][2];
        UNROLL for (uint32_t p = 0; p < planes; p++) {
            UNROLL for (uint32_t t = 0; t < rows; t++) {
                bool last = p + 1 == planes;
                plane[p][t][0] = plane[p][t][1] =
                    last && !min ? zeros_part(w, x, t, g) : _mm512_setzero_si512();
            }
        }
        UNROLL for (uint32_t s = 0; s < 4; s++) {
            __m512i w0 = _mm512_load_si512(q + s * PACK_STEP_BYTES);
            __m512i w1 = _mm512_load_si512(q + s * PACK_STEP_BYTES + 64);
            __m512i low0 = _mm512_and_si512(w0, mask), low1 = _mm512_and_si512(w1, mask);
            __m512i high0 = _mm512_and_si512(_mm512_srli_epi16(w0, 4), mask);
            __m512i high1 = _mm512_and_si512(_mm512_srli_epi16(w1, 4), mask);
            UNROLL for (uint32_t t = 0; t < rows; t++) {
                UNROLL for (uint32_t p = 0; p < planes; p++) {
                    const uint8_t *at = n + t * stride + p * QUANT_GROUP + s * 4;
                    __m512i b = four_numbers(at), c = four_numbers(at + 16);
                    plane[p][t][0] = _mm512_dpbusd_epi32(plane[p][t][0], low0, b);
                    plane[p][t][1] = _mm512_dpbusd_epi32(plane[p][t][1], low1, b);
                    plane[p][t][0] = _mm512_dpbusd_epi32(plane[p][t][0], high0, c);
                    plane[p][t][1] = _mm512_dpbusd_epi32(plane[p][t][1], high1, c);
                }
            }
        }
        UNROLL for (uint32_t t = 0; planes == 2 && t < rows; t++) {
            UNROLL for (uint32_t h = 0; h < 2; h++) plane[0][t][h] =
                _mm512_add_epi32(_mm512_slli_epi32(plane[0][t][h], 8), plane[1][t][h]);
        }
        add_group(rows, min, record, x, g, plane[0], sums);
    }
    store_sums(rows, sums, out);
}
