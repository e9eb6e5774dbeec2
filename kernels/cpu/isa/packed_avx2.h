/* packed_avx2 - the tiles of packed.h without VNNI. A register is a step of 8 rows of a panel, so each group
 * is done in four quarters, and sums between groups lie in `out`, which the cache holds.
 *
 * Nibbles: vpmaddubsw adds two products in 16 bits; eight of them stay within +-30720, so a plane of a group
 * is widened once. Bytes would overflow there: even and odd ones are widened and multiplied with numbers of
 * 16 bits (quant.h, pairs), exactly, in 32. */
#include <immintrin.h>

INLINE __m256i four_bytes(const uint8_t *p) {
    int32_t word;
    memcpy(&word, p, sizeof word);
    return _mm256_set1_epi32(word);
}

/* A pointer that the compiler knows nothing about: what is read through it in one quarter is not kept for the
 * next in registers that there are none of. */
INLINE const uint8_t *anew(const uint8_t *p) {
    __asm__ volatile("" : "+r"(p)::"memory");
    return p;
}

/* The sum so far, in its register: else the compiler adds in an order of its own, for which it keeps more
 * products than there are registers. */
#define KEEP(sum) __asm__("" : "+x"(sum))

/* The scales of 8 rows: d, or d times the whole number of the half. */
INLINE __m256 scales_of(dtype type, const uint8_t *halves, const uint8_t *bytes, uint32_t quarter) {
    __m256 d = _mm256_cvtph_ps(_mm_load_si128((const void *)(halves + quarter * 16)));
    if (!block_is_super(type)) return d;
    __m128i whole = _mm_loadl_epi64((const void *)(bytes + quarter * 8)); /* below 64 where it has no sign */
    return _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(whole)));
}

/* Where group `g` of the panel lies. */
typedef struct group_place {
    const uint8_t *halves, *record;
} group_place;

/* out += scale * d * (whole + zeros) (+ m * sum) for quarter `quarter` of the panel */
INLINE void add_quarter(dtype type, const group_place *at, const quant_group *meta, uint32_t quarter,
                        uint32_t half, __m256i whole, float *out) {
    const uint8_t *bytes = at->record + half * PACK_ROWS;
    if (!block_has_least(type)) {
        __m256i zeros = _mm256_set1_epi32(zeros_of(type, meta, half));
        if (zeros_shift(type)) zeros = _mm256_slli_epi32(zeros, (int)zeros_shift(type));
        whole = _mm256_add_epi32(whole, zeros);
    }
    __m256 scale = _mm256_mul_ps(scales_of(type, at->halves, bytes, quarter), _mm256_set1_ps(meta->scale));
    __m256 sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), scale, _mm256_loadu_ps(out));
    if (block_has_least(type)) {
        const uint8_t *least = bytes + pack_scales(type) * PACK_ROWS;
        __m256 m = scales_of(type, at->halves + PACK_SCALE_BYTES, least, quarter);
        const __m256 of_x = _mm256_set1_ps(sum_of(type, meta, half));
        sum = block_is_super(type) ? _mm256_fnmadd_ps(m, of_x, sum) : _mm256_fmadd_ps(m, of_x, sum);
    }
    _mm256_storeu_ps(out, sum);
}

/* Step s of 8 of numbers that take a byte. */
INLINE __m256i step_bytes(dtype type, const uint8_t *q, uint32_t s) {
    if (type == DT_Q8_0) return _mm256_load_si256((const void *)(q + s * PACK_STEP_BYTES));
    const __m128i values = _mm_loadu_si128((const void *)block_iq4_values);
    const __m256i table = _mm256_broadcastsi128_si256(_mm_xor_si128(values, _mm_set1_epi8(-128)));
    __m256i v = _mm256_load_si256((const void *)(q + s % 4 * PACK_STEP_BYTES));
    if (s >= 4) v = _mm256_srli_epi16(v, 4);
    return _mm256_shuffle_epi8(table, _mm256_and_si256(v, _mm256_set1_epi8(15)));
}

/* q8_0 and iq4_nl */
INLINE void tile_bytes(dtype type, uint32_t rows, const tile_weights *w, const tile_rows *x, float *out) {
    const __m256i even = _mm256_set1_epi16(0xff);
    const size_t stride = x->rows->stride;
    const uint8_t *record = w->panel;
    memset(out, 0, rows * PACK_ROWS * sizeof *out);
    for (uint32_t g = 0; g < w->groups; g++, record += pack_record_bytes(type)) {
        /* Whole numbers of 8 or 16 bits alike */
        const uint8_t *pairs = x->row + x->rows->pairs_at + (size_t)g * QUANT_GROUP * 2;
        ask_ahead(w, g);
        for (uint32_t quarter = 0; quarter < 4; quarter++) {
            const uint8_t *q = record + PACK_SCALE_BYTES + quarter * 32, *here = anew(pairs);
            __m256i whole[PACKED_TILE_MAX];
            UNROLL for (uint32_t t = 0; t < rows; t++) whole[t] = _mm256_setzero_si256();
            UNROLL for (uint32_t s = 0; s < 8; s++) {
                __m256i v = step_bytes(type, q, s);
                __m256i w02 = _mm256_and_si256(v, even), w13 = _mm256_srli_epi16(v, 8);
                UNROLL for (uint32_t t = 0; t < rows; t++) {
                    const uint8_t *n = here + t * stride + s * 8;
                    whole[t] = _mm256_add_epi32(whole[t], _mm256_madd_epi16(w02, four_bytes(n)));
                    KEEP(whole[t]);
                    whole[t] = _mm256_add_epi32(whole[t], _mm256_madd_epi16(w13, four_bytes(n + 4)));
                    KEEP(whole[t]);
                }
            }
            const group_place at = {record, record};
            UNROLL for (uint32_t t = 0; t < rows; t++) add_quarter(
                type, &at, group_at(x, t, g), quarter, 0, whole[t], out + t * PACK_ROWS + quarter * 8);
        }
    }
}

/* Quarter `quarter` of nibbles with one scale (q4_0, q4_1, q4_k): low and high halves at once. */
INLINE void nibbles_quarter(dtype type, uint32_t rows, uint32_t planes, const group_place *place,
                            uint32_t quarter, const tile_rows *x, uint32_t g, const uint8_t *n, float *out) {
    const __m256i mask = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    const uint8_t *q = place->record + pack_scale_bytes(type) + quarter * 32;
    const size_t stride = x->rows->stride;
    __m256i pairs[2][PACKED_TILE_MAX];
    UNROLL for (uint32_t p = 0; p < planes; p++) {
        UNROLL for (uint32_t t = 0; t < rows; t++) pairs[p][t] = _mm256_setzero_si256();
    }
    UNROLL for (uint32_t s = 0; s < 4; s++) {
        __m256i v = _mm256_load_si256((const void *)(q + s * PACK_STEP_BYTES));
        __m256i low = _mm256_and_si256(v, mask);
        __m256i high = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
        UNROLL for (uint32_t t = 0; t < rows; t++) {
            UNROLL for (uint32_t p = 0; p < planes; p++) {
                const uint8_t *at = n + t * stride + p * QUANT_GROUP + s * 4;
                __m256i *sum = &pairs[p][t];
                *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(low, four_bytes(at)));
                KEEP(*sum);
                *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(high, four_bytes(at + 16)));
                KEEP(*sum);
            }
        }
    }
    UNROLL for (uint32_t t = 0; t < rows; t++) {
        __m256i whole = _mm256_madd_epi16(pairs[0][t], ones);
        if (planes == 2)
            whole = _mm256_add_epi32(_mm256_slli_epi32(whole, 8), _mm256_madd_epi16(pairs[1][t], ones));
        add_quarter(type, place, group_at(x, t, g), quarter, 0, whole, out + t * PACK_ROWS + quarter * 8);
    }
}

/* Codes of up to 6 bits, of low or of high halves of step s */
INLINE __m256i step_codes(dtype type, const uint8_t *q, uint32_t s, uint32_t upper) {
    __m256i v = _mm256_load_si256((const void *)(q + s * PACK_STEP_BYTES));
    __m256i code = _mm256_and_si256(upper ? _mm256_srli_epi16(v, 4) : v, _mm256_set1_epi8(15));
    if (pack_high(type) == 0) return code;
    const uint8_t *at = q + PACK_NIBBLE_BYTES + (pack_high(type) == 2 ? upper * PACK_STEP_BYTES : 0);
    const int32_t shift = high_shift(type, s, upper);
    __m256i high = _mm256_load_si256((const void *)at);
    high = shift < 0 ? _mm256_srli_epi16(high, -shift) : _mm256_slli_epi16(high, shift);
    return _mm256_or_si256(code, _mm256_and_si256(high, _mm256_set1_epi8(pack_high(type) == 2 ? 48 : 16)));
}

/* Quarter `quarter` of the columns of half `half` (all, where they share a scale), a plane of x after the
 * other. Sums of 16 bits are widened before they overflow: 31 * 128 * 2 fits four times, 63 * 128 * 2 twice.
 */
INLINE void wide_quarter(dtype type, uint32_t rows, uint32_t planes, const group_place *place,
                         uint32_t quarter, uint32_t half, const tile_rows *x, uint32_t g, const uint8_t *n,
                         float *out) {
    const __m256i ones = _mm256_set1_epi16(1);
    const uint8_t *q = place->record + pack_scale_bytes(type) + quarter * 32;
    const size_t stride = x->rows->stride;
    const bool both = pack_scales(type) == 1;
    const uint32_t begin = both ? 0 : half * 4, end = both ? 8 : begin + 4,
                   run = pack_high(type) == 2 ? 2 : 4;
    __m256i whole[PACKED_TILE_MAX], pairs[PACKED_TILE_MAX];
    UNROLL for (uint32_t t = 0; t < rows; t++) whole[t] = _mm256_setzero_si256();
    UNROLL for (uint32_t p = 0; p < planes; p++) {
        UNROLL for (uint32_t t = 0; p > 0 && t < rows; t++) whole[t] = _mm256_slli_epi32(whole[t], 8);
        q = anew(q); /* the codes are unpacked again */
        UNROLL for (uint32_t s = begin; s < end; s++) {
            __m256i code = step_codes(type, q, s % 4, s / 4);
            KEEP(code);
            UNROLL for (uint32_t t = 0; t < rows; t++) {
                const uint8_t *at = n + t * stride + p * QUANT_GROUP + s * 4;
                __m256i two = _mm256_maddubs_epi16(code, four_bytes(at));
                pairs[t] = s % run == 0 ? two : _mm256_add_epi16(pairs[t], two);
                KEEP(pairs[t]);
                if (s % run + 1 < run) continue;
                whole[t] = _mm256_add_epi32(whole[t], _mm256_madd_epi16(pairs[t], ones));
                KEEP(whole[t]);
            }
        }
    }
    UNROLL for (uint32_t t = 0; t < rows; t++) add_quarter(type, place, group_at(x, t, g), quarter, half,
                                                           whole[t], out + t * PACK_ROWS + quarter * 8);
}

INLINE void tile_nibbles(dtype type, uint32_t rows, uint32_t planes, const tile_weights *w,
                         const tile_rows *x, float *out) {
    const uint8_t *record = w->panel, *halves = record;
    memset(out, 0, rows * PACK_ROWS * sizeof *out);
    for (uint32_t g = 0; g < w->groups; g++, record += pack_record_bytes(type)) {
        if (!block_is_super(type)) {
            halves = record;
        } else if (g % PACK_SUPER == 0) {
            halves = record;
            record += pack_head_bytes(type);
        }
        ask_ahead(w, g);
        for (uint32_t quarter = 0; quarter < 4; quarter++) {
            UNROLL for (uint32_t half = 0; half < pack_scales(type); half++) {
                const group_place at = {halves, anew(record)};
                const tile_rows here = {.row = anew(x->row), .rows = x->rows};
                const uint8_t *n = here.row + (size_t)g * QUANT_GROUP * planes;
                if (pack_high(type) == 0 && pack_scales(type) == 1)
                    nibbles_quarter(type, rows, planes, &at, quarter, &here, g, n, out);
                else
                    wide_quarter(type, rows, planes, &at, quarter, half, &here, g, n, out);
            }
        }
    }
}

INLINE void tile(dtype type, uint32_t rows, uint32_t planes, const tile_weights *w, const tile_rows *x,
                 float *out) {
    if (type == DT_Q8_0 || type == DT_IQ4_NL)
        tile_bytes(type, rows, w, x, out);
    else
        tile_nibbles(type, rows, planes, w, x, out);
}
