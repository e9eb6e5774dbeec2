/* simd_generic - the vector of simd.h in the compiler's own vectors, of any width. The tests compile it at
 * width 16 as well, to run the tilings of AVX-512 on machines without it. */
#ifndef SIMD_GENERIC_WIDTH
#define SIMD_GENERIC_WIDTH 8
#endif
#define SIMD_WIDTH SIMD_GENERIC_WIDTH

typedef float vf __attribute__((vector_size(4 * SIMD_WIDTH)));
typedef int32_t vi __attribute__((vector_size(4 * SIMD_WIDTH)));
typedef uint32_t vu __attribute__((vector_size(4 * SIMD_WIDTH)));
typedef uint16_t vu16 __attribute__((vector_size(2 * SIMD_WIDTH)));
typedef uint8_t vu8 __attribute__((vector_size(SIMD_WIDTH)));
typedef int8_t vs8 __attribute__((vector_size(SIMD_WIDTH)));

INLINE vf vf_set1(float x) {
    return x - (vf){0};
}
INLINE vf vf_load(const float *p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}
INLINE void vf_store(float *p, vf v) {
    memcpy(p, &v, sizeof v);
}
INLINE vf vf_fma(vf a, vf b, vf c) {
    return a * b + c;
}
INLINE vf vf_pick(vi mask, vf yes, vf no) {
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}
/* Of min and max the second operand comes back when either is NaN. */
INLINE vf vf_max(vf a, vf b) {
    return vf_pick(a > b, a, b);
}
INLINE vf vf_min(vf a, vf b) {
    return vf_pick(a < b, a, b);
}
/* Lanes of y, 0 where a < b. */
INLINE vf vf_zero_if_less(vf a, vf b, vf y) {
    return (vf)(~(a < b) & (vi)y);
}
/* y * 2^n, n in the low bits of `shifted` (1.5 * 2^23 + n). */
INLINE vf vf_scale2(vf y, vf shifted) {
    return y * (vf)(((vu)shifted + 127u) << 23);
}

INLINE vf vf_load_half(const void *p) {
    vu16 h;
    memcpy(&h, p, sizeof h);
    vu u = __builtin_convertvector(h, vu), magnitude = u & 0x7fff, sign = (u & 0x8000) << 16;
    vf small = __builtin_convertvector((vi)magnitude, vf) * 0x1p-24f;
    vu normal = (magnitude << 13) + (112u << 23);
    /* Infinity and NaN: the exponent becomes all ones, and a NaN quiet. */
    normal += (vu)(magnitude >= 0x7c00) & (112u << 23);
    normal |= (vu)(magnitude > 0x7c00) & 0x400000u;
    return (vf)((vu)vf_pick(magnitude < 0x400, small, (vf)normal) | sign);
}
INLINE void vf_store_half(void *p, vf v) {
    uint16_t lanes[SIMD_WIDTH];
    for (int i = 0; i < SIMD_WIDTH; i++) lanes[i] = half_of_f32(v[i]);
    memcpy(p, lanes, sizeof lanes);
}
INLINE vf vf_load_bf16(const void *p) {
    vu16 h;
    memcpy(&h, p, sizeof h);
    return (vf)(__builtin_convertvector(h, vu) << 16);
}
/* One f16 in all lanes. */
INLINE vf vf_set1_half(const void *p) {
    return vf_set1(f32_of_half_at(p));
}

/* 16 bytes of nibbles to 32 floats: the low ones, then the high ones. */
INLINE void vf_load_nibbles(const void *p, vf out[32 / SIMD_WIDTH]) {
    for (int i = 0; i < 16 / SIMD_WIDTH; i++) {
        vu8 bytes;
        memcpy(&bytes, (const char *)p + i * SIMD_WIDTH, sizeof bytes);
        vi wide = __builtin_convertvector(bytes, vi);
        out[i] = __builtin_convertvector(wide & 15, vf);
        out[i + 16 / SIMD_WIDTH] = __builtin_convertvector(wide >> 4, vf);
    }
}
INLINE void vf_load_int8(const void *p, vf out[32 / SIMD_WIDTH]) {
    for (int i = 0; i < 32 / SIMD_WIDTH; i++) {
        vs8 bytes;
        memcpy(&bytes, (const char *)p + i * SIMD_WIDTH, sizeof bytes);
        out[i] = __builtin_convertvector(__builtin_convertvector(bytes, vi), vf);
    }
}

INLINE float vf_sum_lanes(vf v) {
    float lanes[SIMD_WIDTH];
    vf_store(lanes, v);
    for (int half = SIMD_WIDTH / 2; half >= 1; half /= 2)
        for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
    return lanes[0];
}
/* Sums over the lanes of four vectors. */
INLINE void vf_sum4(float out[4], vf a, vf b, vf c, vf d) {
    out[0] = vf_sum_lanes(a);
    out[1] = vf_sum_lanes(b);
    out[2] = vf_sum_lanes(c);
    out[3] = vf_sum_lanes(d);
}
INLINE float vf_top(vf v) {
    float top = v[0];
    for (int i = 1; i < SIMD_WIDTH; i++) top = top > v[i] ? top : v[i];
    return top;
}
