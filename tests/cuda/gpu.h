/* gpu - arrays in device memory, for tests of single kernels. A failure of CUDA fails the test with its text.
 */
#ifndef BATON_TESTS_CUDA_GPU_H
#define BATON_TESTS_CUDA_GPU_H

#include "tests/test.h"

#include "kernels/cuda/launch.h"
#include "kernels/half.h"

#define GPU_OK(call) gpu_ok((call), #call)

static inline void gpu_ok(cudaError_t e, const char *call) {
    if (e != cudaSuccess) fail_msg("%s: %s", call, cudaGetErrorString(e));
}

/* What `type` can hold of x. */
static inline float gpu_rounded(num_type type, float x) {
    switch (type) {
    case NUM_BF16:
        return f32_of_bf16(bf16_of_f32(x));
    case NUM_F16:
        return f32_of_half(half_of_f32(x));
    case NUM_F32:
        return x;
    }
    return x;
}

/* A copy of host[0, bytes); host NULL: `bytes` bytes of 0xff, which is NaN in every type. Caller frees with
 * gpu_free.
 */
static inline void *gpu_new(const void *host, size_t bytes) {
    void *p = NULL;
    GPU_OK(cudaMalloc(&p, bytes));
    GPU_OK(host ? cudaMemcpy(p, host, bytes, cudaMemcpyHostToDevice) : cudaMemset(p, 0xff, bytes));
    return p;
}

/* Waits for all launches before. */
static inline void gpu_read(void *host, const void *p, size_t bytes) {
    GPU_OK(cudaDeviceSynchronize());
    GPU_OK(cudaMemcpy(host, p, bytes, cudaMemcpyDeviceToHost));
}

static inline void gpu_free(const void *p) {
    GPU_OK(cudaFree((void *)p));
}

#endif
