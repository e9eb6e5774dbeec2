/* norm - residual addition and RMSNorm (Zhang, Sennrich: Root Mean Square Layer Normalization, NeurIPS 2019)
 * in one pass:
 *
 *   x[r] += delta[r];  out[r] = x[r] / sqrt(mean(x[r]^2) + eps) * weight
 *
 *   x [rows, dim] f32, delta and out [rows, dim] of `type`, weight [dim] f32
 *
 * Or, with `any`, what else norm_args says: the mean taken away first (Ba, Kiros, Hinton: Layer
 * Normalization, 2016), a bias, a norm of delta alone. The mean of squares is then that of the differences,
 * which are in registers: no difference of large sums.
 *
 * A block serves one row and keeps it in registers between the uses, so that x and delta are read once.
 * Thread t has the elements 8 (t + j * threads) .. + 7 of the row, j < kept. The sum of squares is a chain
 * in each thread, then a tree of fixed shape over lanes and warps; all of it depends on dim only, hence a
 * row's bits do not depend on the other rows.
 *
 * With `head`, row r reads row head[r] of x and delta and writes nothing back: the rows that go through the
 * output head are picked here. Entries of padding rows are any row number, their result is read by nobody. */
#include "kernels/cuda/eight.cuh"

#define NORM_THREADS 1024u
#define NORM_WARPS   (NORM_THREADS / 32)

/* Every thread gets the sum over the block, added in the same order each time. */
static __device__ __forceinline__ float block_sum(float v) {
    float *warps = reinterpret_cast<float *>(shared_memory()); /* [NORM_WARPS] */
    uint32_t lane = threadIdx.x % 32;
    v = warp_sum(v);
    if (lane == 0) warps[threadIdx.x / 32] = v;
    block_sync();
    return warp_sum(lane < blockDim.x / 32 ? warps[lane] : 0.0f);
}

/* What a thread has of its row, brought to a mean of zero. */
template <int kept> static __device__ __forceinline__ void take_mean(float (&v)[kept][8], uint32_t dim) {
    float sum = 0;
#pragma unroll
    for (int j = 0; j < kept; j++)
        if ((threadIdx.x + j * blockDim.x) * 8 < dim)
#pragma unroll
            for (int i = 0; i < 8; i++) sum += v[j][i];
    const float mean = div_exact(block_sum(sum), (float)dim);
#pragma unroll
    for (int j = 0; j < kept; j++)
        if ((threadIdx.x + j * blockDim.x) * 8 < dim)
#pragma unroll
            for (int i = 0; i < 8; i++) v[j][i] -= mean;
    block_sync(); /* before the next sum takes the shared memory */
}

template <class T, int kept, bool any>
static __global__ void __launch_bounds__(NORM_THREADS) norm_kernel(norm_args a) {
    pdl_begin();
    size_t row = a.head ? a.head[blockIdx.x] : blockIdx.x;
    float *x = a.x + row * a.dim;
    const T *delta = a.delta ? static_cast<const T *>(a.delta) + row * a.dim : NULL;
    T *out = static_cast<T *>(a.out) + (size_t)blockIdx.x * a.dim;

    float v[kept][8];
    float sum = 0;
#pragma unroll
    for (int j = 0; j < kept; j++) {
        uint32_t at = (threadIdx.x + j * blockDim.x) * 8;
        if (at >= a.dim) continue;
        if (any && !a.x) {
            load_eight(delta + at, v[j]);
        } else {
            load_eight(x + at, v[j]);
            if (delta) {
                float d[8];
                load_eight(delta + at, d);
#pragma unroll
                for (int i = 0; i < 8; i++) v[j][i] += d[i];
                if (!a.head) store_eight(x + at, v[j]);
            }
        }
        if (!any) {
#pragma unroll
            for (int i = 0; i < 8; i++) sum = fma_exact(v[j][i], v[j][i], sum);
        }
    }
    if (any) {
        if (a.kind == NORM_LAYER) take_mean<kept>(v, a.dim);
#pragma unroll
        for (int j = 0; j < kept; j++)
            if ((threadIdx.x + j * blockDim.x) * 8 < a.dim)
#pragma unroll
                for (int i = 0; i < 8; i++) sum = fma_exact(v[j][i], v[j][i], sum);
    }

    float mean = div_exact(block_sum(sum), (float)a.dim);
    float inverse = div_exact(1.0f, sqrt_exact(mean + a.eps));
#pragma unroll
    for (int j = 0; j < kept; j++) {
        uint32_t at = (threadIdx.x + j * blockDim.x) * 8;
        if (at >= a.dim) continue;
        float w[8];
        load_eight(a.weight + at, w);
#pragma unroll
        for (int i = 0; i < 8; i++) w[i] *= v[j][i] * inverse;
        if (any && a.bias) {
            float b[8];
            load_eight(a.bias + at, b);
#pragma unroll
            for (int i = 0; i < 8; i++) w[i] = add_exact(w[i], b[i]);
        }
        store_eight(out + at, w);
    }
}

template <class T, bool any> static cudaError_t launch_of_kind(const norm_args *a, cudaStream_t stream) {
    uint32_t eights = a->dim / 8, threads = (eights + 31) / 32 * 32;
    if (threads > NORM_THREADS) threads = NORM_THREADS;
    dim3 grid(a->rows);
    size_t shared_bytes = NORM_WARPS * sizeof(float);
    if (eights <= threads)
        return launch_linked(norm_kernel<T, 1, any>, grid, threads, shared_bytes, stream, *a);
    if (eights <= 2 * threads)
        return launch_linked(norm_kernel<T, 2, any>, grid, threads, shared_bytes, stream, *a);
    return launch_linked(norm_kernel<T, 4, any>, grid, threads, shared_bytes, stream, *a);
}

template <class T> static cudaError_t launch_of_type(const norm_args *a, cudaStream_t stream) {
    const bool any = a->kind != NORM_RMS || a->bias || !a->x;
    return any ? launch_of_kind<T, true>(a, stream) : launch_of_kind<T, false>(a, stream);
}

cudaError_t launch_norm(const norm_args *a, cudaStream_t stream) {
    if (a->dim == 0 || a->dim % 8 != 0 || a->dim > 4 * 8 * NORM_THREADS) return cudaErrorInvalidValue;
    if (!a->x && (!a->delta || a->head)) return cudaErrorInvalidValue;
    if (a->rows == 0) return cudaSuccess;
    switch (a->type) {
    case NUM_BF16:
        return launch_of_type<bf16>(a, stream);
    case NUM_F16:
        return launch_of_type<f16>(a, stream);
    case NUM_F32:
        return launch_of_type<float>(a, stream);
    }
    return cudaErrorInvalidValue;
}
