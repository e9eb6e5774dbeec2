/* silu_mul - out = silu(gate) * up of a gate_up that a library multiplied; launch_linear does this by itself.
 *
 * gate_up [rows, 2 * dim] holds 8 gates and 8 ups in turn (GATE_UP_GROUP), 32 contiguous bytes in 16 bits. A
 * thread makes the 8 outputs of one such pair, with 16-byte loads and stores. Memory-bound: the bytes are
 * read and written once. */
#include "kernels/cuda/linear.cuh"

#define SILU_THREADS 256u

template <class T>
static __global__ void __launch_bounds__(SILU_THREADS)
    silu_kernel(const T *gate_up, uint64_t groups, T *out) {
    pdl_begin();
    const uint64_t i = (uint64_t)blockIdx.x * SILU_THREADS + threadIdx.x;
    if (i >= groups) return;
    const vec16 gate = load16(gate_up + i * (2 * GATE_UP_GROUP)),
                up = load16(gate_up + i * (2 * GATE_UP_GROUP) + GATE_UP_GROUP);
    vec16 v;
#pragma unroll
    for (int j = 0; j < 4; j++)
        v.w[j] = pack2(linear_silu_mul(low_of<T>(gate.w[j]), low_of<T>(up.w[j])),
                       linear_silu_mul(high_of<T>(gate.w[j]), high_of<T>(up.w[j])), T());
    store16(out + i * GATE_UP_GROUP, v);
}

static __global__ void __launch_bounds__(SILU_THREADS)
    silu_f32_kernel(const float *gate_up, uint64_t groups, float *out) {
    pdl_begin();
    const uint64_t i = (uint64_t)blockIdx.x * SILU_THREADS + threadIdx.x;
    if (i >= groups) return;
    const float *gate = gate_up + i * (2 * GATE_UP_GROUP);
    for (uint32_t j = 0; j < GATE_UP_GROUP; j++)
        out[i * GATE_UP_GROUP + j] = linear_silu_mul(gate[j], gate[GATE_UP_GROUP + j]);
}

cudaError_t launch_silu_mul(num_type type, const void *gate_up, uint32_t rows, uint32_t dim, void *out,
                            cudaStream_t stream) {
    if (rows == 0 || dim == 0 || dim % GATE_UP_GROUP != 0) return cudaErrorInvalidValue;
    const uint64_t groups = (uint64_t)rows * (dim / GATE_UP_GROUP);
    const dim3 grid((uint32_t)((groups + SILU_THREADS - 1) / SILU_THREADS));
    switch (type) {
    case NUM_BF16:
        return launch_linked(silu_kernel<bf16>, grid, SILU_THREADS, 0, stream,
                             static_cast<const bf16 *>(gate_up), groups, static_cast<bf16 *>(out));
    case NUM_F16:
        return launch_linked(silu_kernel<f16>, grid, SILU_THREADS, 0, stream,
                             static_cast<const f16 *>(gate_up), groups, static_cast<f16 *>(out));
    case NUM_F32:
        return launch_linked(silu_f32_kernel, grid, SILU_THREADS, 0, stream,
                             static_cast<const float *>(gate_up), groups, static_cast<float *>(out));
    }
    return cudaErrorInvalidValue;
}
