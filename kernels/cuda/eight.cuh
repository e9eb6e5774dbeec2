/* eight - eight neighbouring numbers of a row, whatever their type: 16 bytes of bf16 or f16, 32 of f32. In
 * registers they are fp32. Addresses are multiples of 16 bytes. */
#ifndef BATON_KERNELS_CUDA_EIGHT_CUH
#define BATON_KERNELS_CUDA_EIGHT_CUH

#include "kernels/cuda/device.cuh"

template <class T> __device__ __forceinline__ void load_eight(const T *p, float v[8]) {
    vec16 pairs = load16(p);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        v[2 * i] = low_of<T>(pairs.w[i]);
        v[2 * i + 1] = high_of<T>(pairs.w[i]);
    }
}
template <> __device__ __forceinline__ void load_eight<float>(const float *p, float v[8]) {
    vec16 low = load16(p), high = load16(p + 4);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        v[i] = float_of_bits(low.w[i]);
        v[4 + i] = float_of_bits(high.w[i]);
    }
}

/* Round to nearest even. */
template <class T> __device__ __forceinline__ void store_eight(T *p, const float v[8]) {
    vec16 pairs;
#pragma unroll
    for (int i = 0; i < 4; i++) pairs.w[i] = pack2(v[2 * i], v[2 * i + 1], T());
    store16(p, pairs);
}
template <> __device__ __forceinline__ void store_eight<float>(float *p, const float v[8]) {
    vec16 low, high;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        low.w[i] = bits_of(v[i]);
        high.w[i] = bits_of(v[4 + i]);
    }
    store16(p, low);
    store16(p + 4, high);
}

#endif
