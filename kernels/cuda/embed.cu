/* embed - x[r] = table[ids[r]] * scale + positions[pos[r]], the first rows of the residual stream.
 *
 *   table [vocab, dim], positions [positions, dim] of `type`  ->  x [rows, dim] f32
 *
 * A block makes one row, a thread eight neighbours at a time. The launch may have more rows than the step (a
 * recorded one is padded); the ids of those are stale and could lie anywhere, so their rows become zeros,
 * which every later operation keeps finite. */
#include "kernels/cuda/eight.cuh"

#define EMBED_THREADS 256u

template <class T> static __global__ void __launch_bounds__(EMBED_THREADS) embed_kernel(embed_args a) {
    pdl_begin();
    uint32_t row = blockIdx.x;
    bool real = row < a.t.header->rows;
    const T *from = static_cast<const T *>(a.table) + (real ? (size_t)a.t.ids[row] * a.dim : 0);
    const T *place =
        real && a.positions ? static_cast<const T *>(a.positions) + (size_t)a.t.pos[row] * a.dim : NULL;
    float *to = a.x + (size_t)row * a.dim;
    for (uint32_t at = threadIdx.x * 8; at < a.dim; at += blockDim.x * 8) {
        float v[8] = {0};
        if (real) load_eight(from + at, v);
        if (a.scale != 0.0f) {
#pragma unroll
            for (int i = 0; i < 8; i++) v[i] = mul_exact(v[i], a.scale);
        }
        if (place) {
            float p[8];
            load_eight(place + at, p);
#pragma unroll
            for (int i = 0; i < 8; i++) v[i] = add_exact(v[i], p[i]);
        }
        store_eight(to + at, v);
    }
}

cudaError_t launch_embed(const embed_args *a, cudaStream_t stream) {
    if (a->dim == 0 || a->dim % 8 != 0) return cudaErrorInvalidValue;
    if (a->rows == 0) return cudaSuccess;
    uint32_t threads = (a->dim / 8 + 31) / 32 * 32;
    if (threads > EMBED_THREADS) threads = EMBED_THREADS;
    switch (a->type) {
    case NUM_BF16:
        return launch_linked(embed_kernel<bf16>, dim3(a->rows), threads, 0, stream, *a);
    case NUM_F16:
        return launch_linked(embed_kernel<f16>, dim3(a->rows), threads, 0, stream, *a);
    case NUM_F32:
        return launch_linked(embed_kernel<float>, dim3(a->rows), threads, 0, stream, *a);
    }
    return cudaErrorInvalidValue;
}
