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
    __asm__("" : "+r"(p));
    return p;
}

/* The sum so far, in its register: else the compiler adds in an order of its own, for which it keeps more
 * products than there are registers. */
#define KEEP(sum) __asm__("" : "+x"(sum))

/* out += scale * d * (whole + zeros) (+ m * sum) for quarter `quarter` of the panel */
INLINE void add_quarter(bool min, const tile_weights *w, const uint8_t *record, const quant_group *meta,
                        uint32_t quarter, __m256i whole, float *out) {
    const uint8_t *d = record + quarter * 16;
    if (!min) whole = _mm256_add_epi32(whole, _mm256_set1_epi32(meta->times[w->zero]));
    __m256 scale =
        _mm256_mul_ps(_mm256_cvtph_ps(_mm_load_si128((const void *)d)), _mm256_set1_ps(meta->scale));
    __m256 sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), scale, _mm256_loadu_ps(out));
    if (min) {
        __m256 m = _mm256_cvtph_ps(_mm_load_si128((const void *)(d + PACK_SCALE_BYTES)));
        sum = _mm256_fmadd_ps(m, _mm256_set1_ps(meta->sum), sum);
    }
    _mm256_storeu_ps(out, sum);
}

INLINE void tile_bytes(uint32_t rows, uint32_t planes, bool min, const tile_weights *w, const tile_rows *x,
                       float *out) {
    const size_t head = (min ? 2 : 1) * PACK_SCALE_BYTES, step = head + PACK_BYTE_BYTES;
    const __m256i even = _mm256_set1_epi16(0xff);
    const size_t stride = x->rows->stride;
    const uint8_t *record = w->record;
    (void)planes; /* the pairs are whole numbers of 8 or 16 bits alike */
    memset(out, 0, rows * PACK_ROWS * sizeof *out);
    for (uint32_t g = 0; g < w->groups; g++, record += step) {
        const uint8_t *pairs = x->row + x->rows->pairs_at + (size_t)g * QUANT_GROUP * 2;
        ask_ahead(w, g);
        for (uint32_t quarter = 0; quarter < 4; quarter++) {
            const uint8_t *q = record + head + quarter * 32, *here = anew(pairs);
            __m256i whole[PACKED_TILE_MAX];
            UNROLL for (uint32_t t = 0; t < rows; t++) whole[t] = _mm256_setzero_si256();
            UNROLL for (uint32_t s = 0; s < 8; s++) {
                __m256i v = _mm256_load_si256((const void *)(q + s * PACK_STEP_BYTES));
                __m256i w02 = _mm256_and_si256(v, even), w13 = _mm256_srli_epi16(v, 8);
                UNROLL for (uint32_t t = 0; t < rows; t++) {
                    const uint8_t *n = here + t * stride + s * 8;
                    whole[t] = _mm256_add_epi32(whole[t], _mm256_madd_epi16(w02, four_bytes(n)));
                    KEEP(whole[t]);
                    whole[t] = _mm256_add_epi32(whole[t], _mm256_madd_epi16(w13, four_bytes(n + 4)));
                    KEEP(whole[t]);
                }
            }
            UNROLL for (uint32_t t = 0; t < rows; t++) add_quarter(
                min, w, record, group_at(x, t, g), quarter, whole[t], out + t * PACK_ROWS + quarter * 8);
        }
    }
}

INLINE void tile_nibbles(uint32_t rows, uint32_t planes, bool min, const tile_weights *w, const tile_rows *x,
                         float *out) {
    const size_t head = (min ? 2 : 1) * PACK_SCALE_BYTES, step = head + PACK_NIBBLE_BYTES;
    const __m256i mask = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    const size_t stride = x->rows->stride;
    const uint8_t *record = w->record;
    memset(out, 0, rows * PACK_ROWS * sizeof *out);
    for (uint32_t g = 0; g < w->groups; g++, record += step) {
        const uint8_t *n = x->row + (size_t)g * QUANT_GROUP * planes;
        ask_ahead(w, g);
        for (uint32_t quarter = 0; quarter < 4; quarter++) {
            const uint8_t *q = record + head + quarter * 32, *here = anew(n);
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
                        const uint8_t *at = here + t * stride + p * QUANT_GROUP + s * 4;
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
                    whole =
                        _mm256_add_epi32(_mm256_slli_epi32(whole, 8), _mm256_madd_epi16(pairs[1][t], ones));
                add_quarter(min, w, record, group_at(x, t, g), quarter, whole,
                            out + t * PACK_ROWS + quarter * 8);
            }
        }
    }
}
