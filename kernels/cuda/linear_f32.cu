/* linear_f32 - out = x w^T in fp32, for checking: nothing of it is meant to be fast.
 *
 * A block of 256 threads computes 64 weight rows x 64 tokens, a thread 4 x 4 of them: rows tid % 16 + 16 i,
 * tokens tid / 16 + 16 j. K comes in pieces of 32 through shared memory, zeros past its end. Every sum is one
 * chain of fused multiply-adds over ascending k, whatever the number of rows, so this keeps batch invariance
 * as well. */
#include "kernels/cuda/linear.cuh"

#define F32_TILE  64u
#define F32_PIECE 32u
#define F32_STRIDE                                                                                           \
    36u /* floats between lines of a piece: 16-byte aligned, and 8 lines begin on 8 different bank groups */
#define F32_THREADS 256u

/* Lines [first, first + F32_TILE) of p [count, k], k in [at, at + F32_PIECE), to shared memory. */
static __device__ __forceinline__ void f32_bring(float *to, const float *p, uint32_t first, uint32_t count,
                                                 uint32_t at, uint32_t k) {
    for (uint32_t e = threadIdx.x; e < F32_TILE * (F32_PIECE / 4); e += F32_THREADS) {
        const uint32_t line = e / (F32_PIECE / 4), from = at + e % (F32_PIECE / 4) * 4;
        vec16 v = {{0, 0, 0, 0}};
        if (first + line < count && from < k) v = load16(p + (size_t)(first + line) * k + from);
        store16(to + line * F32_STRIDE + (from - at), v);
    }
}

/* Thread's 4 x 4 sums of a piece. */
static __device__ __forceinline__ void f32_multiply(float sum[4][4], const float *w, const float *x) {
    for (uint32_t k = 0; k < F32_PIECE; k++) {
        float b[4];
#pragma unroll
        for (int j = 0; j < 4; j++) b[j] = x[(threadIdx.x / 16 + 16 * j) * F32_STRIDE + k];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float a = w[(threadIdx.x % 16 + 16 * i) * F32_STRIDE + k];
#pragma unroll
            for (int j = 0; j < 4; j++) sum[i][j] = fma_exact(a, b[j], sum[i][j]);
        }
    }
}

static __global__ void __launch_bounds__(F32_THREADS) f32_kernel(linear_args a) {
    pdl_begin();
    float *w = reinterpret_cast<float *>(shared_memory()), *x = w + F32_TILE * F32_STRIDE;
    const uint32_t row = blockIdx.x * F32_TILE, token = blockIdx.y * F32_TILE;
    float sum[4][4] = {};
    for (uint32_t at = 0; at < a.k; at += F32_PIECE) {
        f32_bring(w, static_cast<const float *>(a.w), row, a.n, at, a.k);
        f32_bring(x, static_cast<const float *>(a.x), token, a.rows, at, a.k);
        block_sync();
        f32_multiply(sum, w, x);
        block_sync();
    }

    float *tile = w; /* [tokens][F32_TILE]: a gate and its up are sums of different threads */
    for (uint32_t i = 0; i < 4; i++)
        for (uint32_t j = 0; j < 4; j++)
            tile[(threadIdx.x / 16 + 16 * j) * F32_TILE + threadIdx.x % 16 + 16 * i] = sum[i][j];
    block_sync();
    const bool paired = a.mode == LINEAR_GATE_UP;
    const uint32_t per_token = paired ? F32_TILE / 2 : F32_TILE;
    for (uint32_t e = threadIdx.x; e < F32_TILE * per_token; e += F32_THREADS) {
        const uint32_t t = e / per_token, column = e % per_token;
        const uint32_t r =
            paired ? column / GATE_UP_GROUP * (2 * GATE_UP_GROUP) + column % GATE_UP_GROUP : column;
        if (token + t >= a.rows || row + r >= a.n) continue;
        const float *s = tile + t * F32_TILE + r;
        linear_put<float>(a, token + t, blockIdx.x * per_token + column,
                          linear_result<float>(a, row + r, s[0], paired ? s[GATE_UP_GROUP] : 0.0f));
    }
}

cudaError_t linear_f32(const linear_args *a, cudaStream_t stream) {
    const dim3 grid(linear_tiles(a->n, F32_TILE), linear_tiles(a->rows, F32_TILE));
    return launch_linked(f32_kernel, grid, F32_THREADS, 2 * F32_TILE * F32_STRIDE * sizeof(float), stream,
                         *a);
}
