/* embed - x[r] = table[ids[r]], the first rows of the residual stream.
 *
 *   table [vocab, dim] of `type`  ->  x [rows, dim] f32
 *
 * A block copies one row, a thread eight neighbours at a time. The launch may have more rows than the step
 * (a recorded one is padded); the ids of those are stale and could lie anywhere, so their rows become zeros,
 * which every later operation keeps finite. */
#include "kernels/cuda/eight.cuh"

#define EMBED_THREADS 256u

struct embed_args {
    const void *table;
    const step_header *header;
    const int32_t *ids;
    uint32_t dim;
    float *x;
};

template <class T> static __global__ void __launch_bounds__(EMBED_THREADS) embed_kernel(embed_args a) {
    pdl_begin();
    uint32_t row = blockIdx.x;
    bool real = row < a.header->rows;
    const T *from = static_cast<const T *>(a.table) + (real ? (size_t)a.ids[row] * a.dim : 0);
    float *to = a.x + (size_t)row * a.dim;
    for (uint32_t at = threadIdx.x * 8; at < a.dim; at += blockDim.x * 8) {
        float v[8] = {0};
        if (real) load_eight(from + at, v);
        store_eight(to + at, v);
    }
}

cudaError_t launch_embed(num_type type, const void *table, const step_tables *t, uint32_t rows, uint32_t dim,
                         float *x, cudaStream_t stream) {
    if (dim == 0 || dim % 8 != 0) return cudaErrorInvalidValue;
    if (rows == 0) return cudaSuccess;
    const embed_args a = {table, t->header, t->ids, dim, x};
    uint32_t threads = (dim / 8 + 31) / 32 * 32;
    if (threads > EMBED_THREADS) threads = EMBED_THREADS;
    switch (type) {
    case NUM_BF16:
        return launch_linked(embed_kernel<bf16>, dim3(rows), threads, 0, stream, a);
    case NUM_F16:
        return launch_linked(embed_kernel<f16>, dim3(rows), threads, 0, stream, a);
    case NUM_F32:
        return launch_linked(embed_kernel<float>, dim3(rows), threads, 0, stream, a);
    }
    return cudaErrorInvalidValue;
}
