/* act_mul - out = act(gate) * up, or act(x), of what a library multiplied; launch_linear does this by itself.
 *
 * Gated: x [rows, 2 * dim] holds 8 gates and 8 ups in turn (GATE_UP_GROUP), 32 contiguous bytes in 16 bits. A
 * thread makes 8 outputs, with 16-byte loads and stores. Memory-bound: the bytes are read and written once.
 */
#include "kernels/cuda/eight.cuh"
#include "kernels/cuda/linear.cuh"

#define ACT_THREADS 256u

template <class T, bool gated>
static __global__ void __launch_bounds__(ACT_THREADS) act_kernel(act_args a, uint64_t groups) {
    pdl_begin();
    const uint64_t i = (uint64_t)blockIdx.x * ACT_THREADS + threadIdx.x;
    if (i >= groups) return;
    const T *from = static_cast<const T *>(a.x) + i * (gated ? 2 * GATE_UP_GROUP : GATE_UP_GROUP);
    float v[GATE_UP_GROUP], up[GATE_UP_GROUP];
    load_eight(from, v);
    if (gated) load_eight(from + GATE_UP_GROUP, up);
#pragma unroll
    for (uint32_t j = 0; j < GATE_UP_GROUP; j++) {
        v[j] = linear_act(a.act, v[j]);
        if (gated) v[j] = mul_exact(v[j], up[j]);
    }
    store_eight(static_cast<T *>(a.out) + i * GATE_UP_GROUP, v);
}

template <class T> static cudaError_t launch_act_of(const act_args *a, cudaStream_t stream) {
    const uint64_t groups = (uint64_t)a->rows * (a->dim / GATE_UP_GROUP);
    const dim3 grid((uint32_t)((groups + ACT_THREADS - 1) / ACT_THREADS));
    if (a->gated) return launch_linked(act_kernel<T, true>, grid, ACT_THREADS, 0, stream, *a, groups);
    return launch_linked(act_kernel<T, false>, grid, ACT_THREADS, 0, stream, *a, groups);
}

cudaError_t launch_act_mul(const act_args *a, cudaStream_t stream) {
    if (a->rows == 0 || a->dim == 0 || a->dim % GATE_UP_GROUP != 0) return cudaErrorInvalidValue;
    switch (a->type) {
    case NUM_BF16:
        return launch_act_of<bf16>(a, stream);
    case NUM_F16:
        return launch_act_of<f16>(a, stream);
    case NUM_F32:
        return launch_act_of<float>(a, stream);
    }
    return cudaErrorInvalidValue;
}
