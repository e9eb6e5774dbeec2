/* simd_avx512 - the vector of simd.h in 512-bit registers. */
#include <immintrin.h>

#define SIMD_WIDTH 16
typedef __m512 vf;

INLINE vf vf_set1(float x) {
    return _mm512_set1_ps(x);
}
INLINE vf vf_load(const float *p) {
    return _mm512_loadu_ps(p);
}
INLINE void vf_store(float *p, vf v) {
    _mm512_storeu_ps(p, v);
}
INLINE vf vf_fma(vf a, vf b, vf c) {
    return _mm512_fmadd_ps(a, b, c);
}
/* Of min and max the second operand comes back when either is NaN. */
INLINE vf vf_max(vf a, vf b) {
    return _mm512_max_ps(a, b);
}
INLINE vf vf_min(vf a, vf b) {
    return _mm512_min_ps(a, b);
}
/* Lanes of y, 0 where a < b. */
INLINE vf vf_zero_if_less(vf a, vf b, vf y) {
    return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), _mm512_setzero_ps());
}
/* y * 2^n, n in the low bits of `shifted` (1.5 * 2^23 + n). */
INLINE vf vf_scale2(vf y, vf shifted) {
    __m512i power =
        _mm512_slli_epi32(_mm512_add_epi32(_mm512_castps_si512(shifted), _mm512_set1_epi32(127)), 23);
    return y * _mm512_castsi512_ps(power);
}

INLINE vf vf_load_half(const void *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}
INLINE void vf_store_half(void *p, vf v) {
    _mm256_storeu_si256(p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
INLINE vf vf_load_bf16(const void *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16));
}
/* One f16 in all lanes. */
INLINE vf vf_set1_half(const void *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return _mm512_set1_ps(_cvtsh_ss(h));
}

/* 16 bytes of nibbles to 32 floats: the low ones, then the high ones. */
INLINE void vf_load_nibbles(const void *p, vf out[2]) {
    __m128i bytes = _mm_loadu_si128(p), mask = _mm_set1_epi8(15);
    __m128i low = _mm_and_si128(bytes, mask), high = _mm_and_si128(_mm_srli_epi16(bytes, 4), mask);
    out[0] = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(low));
    out[1] = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(high));
}
INLINE void vf_load_int8(const void *p, vf out[2]) {
    out[0] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p)));
    out[1] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p + 1)));
}

INLINE __m256 half_of(__m512 v, int upper) {
    return upper ? _mm512_extractf32x8_ps(v, 1) : _mm512_castps512_ps256(v);
}
INLINE __m128 fold(__m512 v) {
    __m256 h = half_of(v, 0) + half_of(v, 1);
    return _mm256_castps256_ps128(h) + _mm256_extractf128_ps(h, 1);
}
/* Sums over the lanes of four vectors. */
INLINE void vf_sum4(float out[4], vf a, vf b, vf c, vf d) {
    __m128 s0 = fold(a), s1 = fold(b), s2 = fold(c), s3 = fold(d);
    __m128 ab = _mm_unpacklo_ps(s0, s1) + _mm_unpackhi_ps(s0, s1); /* a02 b02 a13 b13 */
    __m128 cd = _mm_unpacklo_ps(s2, s3) + _mm_unpackhi_ps(s2, s3);
    _mm_storeu_ps(out, _mm_movelh_ps(ab, cd) + _mm_movehl_ps(cd, ab));
}
INLINE float vf_top(vf v) {
    __m256 h = _mm256_max_ps(half_of(v, 0), half_of(v, 1));
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
}
