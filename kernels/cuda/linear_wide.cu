/* linear_wide - out = x w^T for many rows, as tiles of weight rows times tokens; bits as in linear.cu.
 *
 * Order of additions: linear.cuh. A block of four warps computes a tile of 32 * tall weight rows x 16 * wide
 * tokens, each warp a quarter of it (16 * tall x 8 * wide). Stages of 32 k of both operands come by cp.async
 * into a ring in shared memory, so that loads run stages - 1 ahead of the products, with one barrier a stage
 * (Volkov and Demmel's blocking in the form of NVIDIA's CUTLASS for sm_80). All products of a slice go into
 * the registers `sum`; at the end of a slice they are added to `total`, which lives in shared memory because
 * it is touched so rarely (at most 8 times), four floats a thread at a time, each thread its own: that
 * leaves the registers to a tile of 64 x 64 per warp.
 *
 * Shared memory. The fragments of linear.cuh are 16 contiguous bytes per thread, 4 threads to a row's 64
 * bytes of a stage. With rows of 64 bytes and no padding, the 8 threads of each quarter of a 16-byte access
 * are two neighbouring rows, 128 contiguous bytes, all 32 banks: no conflict and no swizzle, neither for
 * these reads nor for the writes of cp.async.
 *
 * Two tiles, chosen by how many blocks there are; a row's bits are the same in both:
 *   128 x 128, 3 stages: per stage and warp 8 KB of shared memory are read for 64 pairs of matrix_add.
 *                        112 KB a block, two blocks on an H200 (one on an A100). 64 FLOP per byte from L2:
 *                        300 TFLOP/s ask 4.7 TB/s of it;
 *   64 x 64, 7 stages:   for few rows, where more blocks and more bytes in flight matter more. 72 KB, three
 *                        blocks.
 *
 * Order of blocks: bands of BAND tokens; within one, all token tiles of a weight tile come one after
 * another. What runs at a time is thus about as many weight tiles as token tiles, the band's tokens stay in
 * L2, and a weight is read from memory once per band.
 *
 * At the end a tile of sums goes through shared memory, so that stores are 16 bytes along n. */
#include "kernels/cuda/linear.cuh"

#define WIDE_THREADS 128u
#define BAND         2048u /* tokens */
#define BIG_BLOCKS                                                                                           \
    192u /* from this many blocks of 128 x 128 on they keep a GPU of about 132 multiprocessors busy */

/* What of a block is known when it is compiled. */
template <int tall, int wide, int stages> struct wide_tile {
    static constexpr uint32_t rows = 32 * tall, tokens = 16 * wide;
    static constexpr uint32_t line = LINEAR_GROUP * 2; /* bytes of a row or token in a stage */
    static constexpr uint32_t stage_bytes = (rows + tokens) * line;
    static constexpr uint32_t total_bytes = rows * tokens * sizeof(float);
    static constexpr uint32_t out_stride =
        rows + LINEAR_PAD; /* floats between tokens of the tile at the end */
    static constexpr uint32_t shared_bytes = total_bytes + stages * stage_bytes;
    static_assert(tokens * out_stride * sizeof(float) <= shared_bytes, "the tile of sums has no room");
};

struct wide_args {
    linear_args a;
    linear_cut cut;
    uint32_t row_tiles, token_tiles;
    bool vector; /* rows of out are 16-byte aligned */
};

/* A thread's share of bringing a stage: rows and tokens tid / 4, and each 32 more, bytes tid % 4 * 16 of
 * their line. */
struct wide_load {
    const char *w, *x;   /* of the first, at k = 0 */
    size_t skip;         /* bytes from one of them to the next: 32 rows */
    int rows, tokens;    /* i with 32 i < rows are there */
    uint32_t at;         /* its place in an operand's part of a stage */
    uint32_t k, k_count; /* its first k in the next stage to be brought, and K */
};

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

/* total += sum and sum = total (last) or 0. Thread t's floats are total[4 * t ..] and each WIDE_THREADS * 4
 * further. */
template <int tall, int wide>
static __device__ __forceinline__ void wide_end_slice(float sum[tall][wide][4], float *total, bool first,
                                                      bool last) {
#pragma unroll
    for (int m = 0; m < tall; m++)
#pragma unroll
        for (int i = 0; i < wide; i++) {
            float *p = total + ((m * wide + i) * WIDE_THREADS + threadIdx.x) * 4;
            vec16 v = {{0, 0, 0, 0}};
            if (!first) v = load16(p);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                sum[m][i][j] = float_of_bits(v.w[j]) + sum[m][i][j];
                v.w[j] = bits_of(sum[m][i][j]);
                if (!last) sum[m][i][j] = 0.0f;
            }
            if (!last) store16(p, v);
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

/* The tile of sums [tokens][out_stride] -> out, LINEAR_CHUNK outputs of a token per thread and turn. */
template <class T, class tile>
static __device__ __forceinline__ void wide_finish(const wide_args &a, const float *sums, uint32_t row,
                                                   uint32_t token) {
    const bool paired = a.a.mode == LINEAR_GATE_UP;
    const uint32_t reads = paired ? 2 * LINEAR_CHUNK : LINEAR_CHUNK, chunks = tile::rows / reads;
    for (uint32_t e = threadIdx.x; e < tile::tokens * chunks; e += WIDE_THREADS) {
        const uint32_t r = e % chunks * reads, t = e / chunks;
        if (token + t >= a.a.rows || row + r >= a.a.n) continue;
        const float *s = sums + t * tile::out_stride + r;
        float v[LINEAR_CHUNK];
#pragma unroll
        for (uint32_t i = 0; i < LINEAR_CHUNK; i++)
            v[i] = paired ? linear_silu_mul(s[i], s[i + GATE_UP_GROUP]) : s[i];
        wide_put<T>(a, token + t, paired ? (row + r) / 2 : row + r, v);
    }
}

/* Which tile this block is: tiles in units of their own size. */
template <class tile>
static __device__ __forceinline__ void wide_whereabouts(const wide_args &a, uint32_t *row_tile,
                                                        uint32_t *token_tile) {
    const uint32_t per_band = BAND / tile::tokens, band = blockIdx.x / (per_band * a.row_tiles);
    const uint32_t in_band = blockIdx.x % (per_band * a.row_tiles), left = a.token_tiles - band * per_band;
    const uint32_t across = left < per_band ? left : per_band;
    *row_tile = in_band / across;
    *token_tile = band * per_band + in_band % across;
}

template <class T, int tall, int wide, int stages, int blocks>
static __global__ void __launch_bounds__(WIDE_THREADS, blocks) wide_kernel(wide_args a) {
    pdl_begin();
    using tile = wide_tile<tall, wide, stages>;
    const uint32_t tid = threadIdx.x, warp = tid / 32, g = tid % 32 / 4, t = tid % 4;
    const uint32_t warp_row = warp % 2 * (16 * tall), warp_token = warp / 2 * (8 * wide);
    float *total = reinterpret_cast<float *>(shared_memory());
    char *ring = shared_memory() + tile::total_bytes;
    uint32_t row, token;
    wide_whereabouts<tile>(a, &row, &token);
    row *= tile::rows;
    token *= tile::tokens;

    const size_t line = (size_t)a.a.k * 2; /* bytes of a row in memory */
    wide_load load = {static_cast<const char *>(a.a.w) + (row + tid / 4) * line + t * 16,
                      static_cast<const char *>(a.a.x) + (token + tid / 4) * line + t * 16,
                      32 * line,
                      (int)(a.a.n - row) - (int)(tid / 4),
                      (int)(a.a.rows - token) - (int)(tid / 4),
                      tid * 16,
                      t * 8,
                      a.a.k};
    const uint32_t count =
        linear_tiles(a.a.k, LINEAR_STEP) * (LINEAR_STEP / LINEAR_GROUP); /* stages of work */
    const uint32_t per_slice = a.cut.length / LINEAR_GROUP;
    for (uint32_t s = 0; s < stages - 1; s++) {
        if (s < count) wide_bring<tile>(load, ring + s * tile::stage_bytes);
        copy_commit();
    }

    float sum[tall][wide][4] = {};
    const uint32_t my_w = (warp_row + g) * tile::line + t * 16;
    const uint32_t my_x = (tile::rows + warp_token + g) * tile::line + t * 16;
    uint32_t use = 0, fill = stages - 1; /* places in the ring */
    uint32_t left = per_slice;           /* stages of the slice */
    for (uint32_t s = 0; s < count; s++) {
        copy_wait<stages - 2>();
        block_sync(); /* stage s is there for all, and all are done with stage s - 1, whose place is filled
                         next */
        if (s + stages - 1 < count) wide_bring<tile>(load, ring + fill * tile::stage_bytes);
        copy_commit();
        const char *stage = ring + use * tile::stage_bytes;
        wide_multiply<T, tile, tall, wide>(sum, stage + my_w, stage + my_x);
        use = use + 1 == stages ? 0 : use + 1;
        fill = fill + 1 == stages ? 0 : fill + 1;
        const bool last = s + 1 == count;
        if (--left > 0 && !last) continue;
        wide_end_slice<tall, wide>(sum, total, s < per_slice, last);
        left = per_slice;
    }

    block_sync(); /* totals and ring are done with: the tile of sums takes their place */
#pragma unroll
    for (int m = 0; m < tall; m++)
#pragma unroll
        for (int i = 0; i < wide; i++) {
            float *at = total + (warp_token + 8 * i + 2 * t) * tile::out_stride + warp_row + 16 * m + g;
            at[0] = sum[m][i][0];
            at[tile::out_stride] = sum[m][i][1];
            at[8] = sum[m][i][2];
            at[tile::out_stride + 8] = sum[m][i][3];
        }
    block_sync();
    wide_finish<T, tile>(a, total, row, token);
}

template <class T, int tall, int wide, int stages, int blocks>
static cudaError_t wide_launch(const linear_args *a, cudaStream_t stream) {
    using tile = wide_tile<tall, wide, stages>;
    const uint32_t width = linear_width(*a);
    const wide_args args = {*a, linear_cut_of(a->k), linear_tiles(a->n, tile::rows),
                            linear_tiles(a->rows, tile::tokens),
                            width % LINEAR_CHUNK == 0 && (uintptr_t)a->out % 16 == 0};
    return launch_linked(wide_kernel<T, tall, wide, stages, blocks>, dim3(args.row_tiles * args.token_tiles),
                         WIDE_THREADS, tile::shared_bytes, stream, args);
}

template <class T> static cudaError_t wide_typed(const linear_args *a, cudaStream_t stream) {
    const uint64_t big_blocks = (uint64_t)linear_tiles(a->n, 128) * linear_tiles(a->rows, 128);
    if (a->rows > 64 && big_blocks >= BIG_BLOCKS) return wide_launch<T, 4, 8, 3, 2>(a, stream);
    return wide_launch<T, 2, 4, 7, 3>(a, stream);
}

cudaError_t linear_wide(const linear_args *a, cudaStream_t stream) {
    return a->type == NUM_BF16 ? wide_typed<bf16>(a, stream) : wide_typed<f16>(a, stream);
}
