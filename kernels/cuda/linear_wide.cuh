/* linear_wide - what the two kernels that multiply in tiles share (linear_wide.cu, linear_cluster.cu): how a
 * block of four warps brings stages of both operands to shared memory, multiplies them, and stores.
 *
 * A tile is 32 * tall weight rows x 16 * wide tokens, each warp a quarter of it (16 * tall x 8 * wide).
 *
 * Shared memory. The fragments of linear.cuh are 16 contiguous bytes per thread, 4 threads to a row's 64
 * bytes of a stage. With rows of 64 bytes and no padding, the 8 threads of each quarter of a 16-byte access
 * are two neighbouring rows, 128 contiguous bytes, all 32 banks: no conflict and no swizzle, neither for
 * these reads nor for the writes of cp.async. */
#ifndef BATON_KERNELS_CUDA_LINEAR_WIDE_CUH
#define BATON_KERNELS_CUDA_LINEAR_WIDE_CUH

#include "kernels/cuda/linear.cuh"

#define WIDE_THREADS 128u

/* What of a block is known when it is compiled. */
template <int tall, int wide, int stages> struct wide_tile {
    static constexpr uint32_t rows = 32 * tall, tokens = 16 * wide;
    static constexpr uint32_t line = LINEAR_GROUP * 2; /* bytes of a row or token in a stage */
    static constexpr uint32_t stage_bytes = (rows + tokens) * line;
    static constexpr uint32_t total_bytes = rows * tokens * sizeof(float);
    static constexpr uint32_t ring_bytes = stages * stage_bytes;
    static constexpr uint32_t out_stride =
        rows + LINEAR_PAD; /* floats between tokens of the tile of sums at the end */
    static constexpr uint32_t sums_bytes = tokens * out_stride * sizeof(float);
};

struct wide_args {
    linear_args a;
    linear_cut cut;
    uint32_t row_tiles, token_tiles;
    bool vector; /* rows of out are 16-byte aligned */
};
template <class tile> static inline wide_args wide_args_of(const linear_args *a) {
    return {*a, linear_cut_of(a->k), linear_tiles(a->n, tile::rows), linear_tiles(a->rows, tile::tokens),
            linear_width(*a) % LINEAR_CHUNK == 0 && (uintptr_t)a->out % 16 == 0};
}

/* A thread's share of bringing a stage: rows and tokens tid / 4, and each 32 more, bytes tid % 4 * 16 of
 * their line. */
struct wide_load {
    const char *w, *x;   /* of the first, at k = 0 */
    size_t skip;         /* bytes from one of them to the next: 32 rows */
    int rows, tokens;    /* i with 32 i < rows are there */
    uint32_t at;         /* its place in an operand's part of a stage */
    uint32_t k, k_count; /* its first k in the next stage to be brought, and K */
};

/* This thread's share of the tile at weight row `row` and token `token`, from `k` on. */
static __device__ __forceinline__ wide_load wide_load_of(const linear_args &a, uint32_t row, uint32_t token,
                                                         uint32_t k) {
    const uint32_t first = threadIdx.x / 4, t = threadIdx.x % 4;
    const size_t line = (size_t)a.k * 2; /* bytes of a row in memory */
    return {static_cast<const char *>(a.w) + (row + first) * line + k * 2 + t * 16,
            static_cast<const char *>(a.x) + (token + first) * line + k * 2 + t * 16,
            32 * line,
            (int)(a.n - row) - (int)first,
            (int)(a.rows - token) - (int)first,
            threadIdx.x * 16,
            k + t * 8,
            a.k};
}

template <class tile> static __device__ __forceinline__ void wide_bring(wide_load &l, char *stage) {
    const bool inside = l.k < l.k_count;
#pragma unroll
    for (int i = 0; i < (int)tile::rows / 32; i++)
        copy16_async(stage + l.at + i * 32 * tile::line, l.w + i * l.skip, inside && 32 * i < l.rows);
    stage += tile::rows * tile::line;
#pragma unroll
    for (int i = 0; i < (int)tile::tokens / 32; i++)
        copy16_async(stage + l.at + i * 32 * tile::line, l.x + i * l.skip, inside && 32 * i < l.tokens);
    l.w += tile::line;
    l.x += tile::line;
    l.k += LINEAR_GROUP;
}

/* sum += this warp's part of the stage's product; w and x are at the thread's own row, token and 16 bytes.
 * Weight rows are the outer loop: their fragments are put together from two loads, 8 moves that 16
 * matrix_adds then share. */
template <class T, class tile, int tall, int wide>
static __device__ __forceinline__ void wide_multiply(float sum[tall][wide][4], const char *w, const char *x) {
    vec16 b[wide];
#pragma unroll
    for (int i = 0; i < wide; i++) b[i] = load16(x + 8 * i * tile::line);
#pragma unroll
    for (int m = 0; m < tall; m++) {
        const vec16 low = load16(w + 16 * m * tile::line), high = load16(w + (16 * m + 8) * tile::line);
#pragma unroll
        for (int i = 0; i < wide; i++) linear_group<T>(sum[m][i], low, high, b[i]);
    }
}

/* This warp's sums, at weight row warp_row and token warp_token of the tile -> the tile [tokens][out_stride].
 */
template <class tile, int tall, int wide>
static __device__ __forceinline__ void wide_lay_out(float *sums, const float sum[tall][wide][4],
                                                    uint32_t warp_row, uint32_t warp_token) {
    const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int m = 0; m < tall; m++)
#pragma unroll
        for (int i = 0; i < wide; i++) {
            float *at = sums + (warp_token + 8 * i + 2 * t) * tile::out_stride + warp_row + 16 * m + g;
            at[0] = sum[m][i][0];
            at[tile::out_stride] = sum[m][i][1];
            at[8] = sum[m][i][2];
            at[tile::out_stride + 8] = sum[m][i][3];
        }
}

/* v[0, LINEAR_CHUNK) -> token's outputs from `column` on. */
template <class T>
static __device__ __forceinline__ void wide_put(const wide_args &a, uint32_t token, uint32_t column,
                                                const float *v) {
    const uint32_t width = linear_width(a.a);
    if (!a.vector) {
        for (uint32_t i = 0; i < LINEAR_CHUNK && column + i < width; i++)
            linear_put<T>(a.a, token, column + i, v[i]);
        return;
    }
    const size_t at = (size_t)token * width + column;
    if (a.a.mode == LINEAR_F32) {
        for (int i = 0; i < 2; i++) {
            vec16 four;
            for (int j = 0; j < 4; j++) four.w[j] = bits_of(v[4 * i + j]);
            store16(static_cast<float *>(a.a.out) + at + 4 * i, four);
        }
        return;
    }
    vec16 eight;
    for (int j = 0; j < 4; j++) eight.w[j] = pack2(v[2 * j], v[2 * j + 1], T());
    store16(static_cast<T *>(a.a.out) + at, eight);
}

#endif
