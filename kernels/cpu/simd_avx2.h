/* simd_avx2 - the vector of simd.h in 256-bit registers. */
#include <immintrin.h>

#define SIMD_WIDTH 8
typedef __m256 vf;

INLINE vf vf_set1(float x) {
    return _mm256_set1_ps(x);
}
INLINE vf vf_load(const float *p) {
    return _mm256_loadu_ps(p);
}
INLINE void vf_store(float *p, vf v) {
    _mm256_storeu_ps(p, v);
}
INLINE vf vf_fma(vf a, vf b, vf c) {
    return _mm256_fmadd_ps(a, b, c);
}
/* Of min and max the second operand comes back when either is NaN. */
INLINE vf vf_max(vf a, vf b) {
    return _mm256_max_ps(a, b);
}
INLINE vf vf_min(vf a, vf b) {
    return _mm256_min_ps(a, b);
}
/* Lanes of y, 0 where a < b. */
INLINE vf vf_zero_if_less(vf a, vf b, vf y) {
    return _mm256_andnot_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ), y);
}
/* y * 2^n, n in the low bits of `shifted` (1.5 * 2^23 + n). */
INLINE vf vf_scale2(vf y, vf shifted) {
    __m256i power =
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(127)), 23);
    return y * _mm256_castsi256_ps(power);
}

INLINE vf vf_load_half(const void *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(p));
}
INLINE void vf_store_half(void *p, vf v) {
    _mm_storeu_si128(p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
INLINE vf vf_load_bf16(const void *p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16));
}
/* One f16 in all lanes. */
INLINE vf vf_set1_half(const void *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return _mm256_cvtph_ps(_mm_set1_epi16((short)h));
}

/* 16 bytes of nibbles to 32 floats: the low ones, then the high ones. Both halves of a register hold all
 * bytes, so that one shuffle inside of halves widens 8 of them. */
INLINE void vf_load_nibbles(const void *p, vf out[4]) {
    const __m256i first = _mm256_setr_epi8(0, -1, -1, -1, 1, -1, -1, -1, 2, -1, -1, -1, 3, -1, -1, -1, /**/
                                           4, -1, -1, -1, 5, -1, -1, -1, 6, -1, -1, -1, 7, -1, -1, -1);
    const __m256i second = _mm256_setr_epi8(8, -1, -1, -1, 9, -1, -1, -1, 10, -1, -1, -1, 11, -1, -1, -1, /**/
                                            12, -1, -1, -1, 13, -1, -1, -1, 14, -1, -1, -1, 15, -1, -1, -1);
    __m256i bytes = _mm256_broadcastsi128_si256(_mm_loadu_si128(p)), mask = _mm256_set1_epi8(15);
    __m256i low = _mm256_and_si256(bytes, mask), high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), mask);
    out[0] = _mm256_cvtepi32_ps(_mm256_shuffle_epi8(low, first));
    out[1] = _mm256_cvtepi32_ps(_mm256_shuffle_epi8(low, second));
    out[2] = _mm256_cvtepi32_ps(_mm256_shuffle_epi8(high, first));
    out[3] = _mm256_cvtepi32_ps(_mm256_shuffle_epi8(high, second));
}
INLINE void vf_load_int8(const void *p, vf out[4]) {
    UNROLL for (int i = 0; i < 4; i++) {
        __m128i bytes = _mm_loadl_epi64((const __m128i *)((const char *)p + 8 * i));
        out[i] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
    }
}

INLINE __m128 fold(__m256 v) {
    return _mm256_castps256_ps128(v) + _mm256_extractf128_ps(v, 1);
}
/* Sums over the lanes of four vectors. */
INLINE void vf_sum4(float out[4], vf a, vf b, vf c, vf d) {
    __m128 s0 = fold(a), s1 = fold(b), s2 = fold(c), s3 = fold(d);
    __m128 ab = _mm_unpacklo_ps(s0, s1) + _mm_unpackhi_ps(s0, s1); /* a02 b02 a13 b13 */
    __m128 cd = _mm_unpacklo_ps(s2, s3) + _mm_unpackhi_ps(s2, s3);
    _mm_storeu_ps(out, _mm_movelh_ps(ab, cd) + _mm_movehl_ps(cd, ab));
}
INLINE float vf_top(vf v) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
}
