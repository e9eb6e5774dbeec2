/* random - fills a weight with the numbers that base/tensor.h defines for models without a checkpoint, where
 * they are needed: nothing is made on the host or copied.
 *
 * Element i of a matrix is random_weight(seed, i) * scale. One splitmix64 (Steele, Lea, Flood: Fast
 * splittable pseudorandom number generators, OOPSLA 2014) serves eight elements, so a thread makes one group
 * of eight, and stores it at once where the memory is aligned and the group whole. Since the numbers are odd
 * and within -255..255, and scale is a power of two, every type holds them exactly. The test compares
 * them with the host's. */
#include "base/mix.h"
#include "kernels/cuda/eight.cuh"

#define RANDOM_THREADS    256u
#define RANDOM_BLOCKS_MAX 65536u

struct random_args {
    void *out;
    uint64_t seed, begin, count;
    float scale;
    bool whole; /* begin is a multiple of 8 and out of 16 bytes: groups can be stored at once */
};

static __device__ __forceinline__ uint64_t random_word(uint64_t seed, uint64_t group) {
    return mix64(seed + (group + 1) * MIX64_STEP);
}

template <class T> static __global__ void __launch_bounds__(RANDOM_THREADS) random_kernel(random_args a) {
    T *out = static_cast<T *>(a.out);
    uint64_t end = a.begin + a.count, groups = (end + 7) / 8;
    uint64_t step = (uint64_t)gridDim.x * blockDim.x;
    for (uint64_t g = a.begin / 8 + (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; g < groups; g += step) {
        uint64_t word = random_word(a.seed, g);
        float v[8];
#pragma unroll
        for (int i = 0; i < 8; i++) v[i] = (float)(2 * (int32_t)(word >> (i * 8) & 255) - 255) * a.scale;
        if (a.whole && g * 8 + 8 <= end) {
            store_eight(out + (g * 8 - a.begin), v);
            continue;
        }
#pragma unroll
        for (int i = 0; i < 8; i++) {
            uint64_t at = g * 8 + i;
            if (at >= a.begin && at < end) out[at - a.begin] = from_float<T>(v[i]);
        }
    }
}

cudaError_t launch_random_fill(num_type type, void *out, uint64_t seed, uint64_t begin, uint64_t count,
                               float scale, cudaStream_t stream) {
    if (count == 0) return cudaSuccess;
    const random_args a = {out, seed, begin, count, scale, begin % 8 == 0 && (uintptr_t)out % 16 == 0};
    uint64_t blocks = (count / 8 + 1) / RANDOM_THREADS + 1; /* begin and end may cut one group each */
    dim3 grid(blocks < RANDOM_BLOCKS_MAX ? (uint32_t)blocks : RANDOM_BLOCKS_MAX);
    switch (type) {
    case NUM_BF16:
        return launch_kernel(random_kernel<bf16>, grid, RANDOM_THREADS, 0, stream, a);
    case NUM_F16:
        return launch_kernel(random_kernel<f16>, grid, RANDOM_THREADS, 0, stream, a);
    case NUM_F32:
        return launch_kernel(random_kernel<float>, grid, RANDOM_THREADS, 0, stream, a);
    }
    return cudaErrorInvalidValue;
}
