/* linear_wide - out = x w^T for many rows, as tiles of weight rows times tokens; bits as in linear.cu.
 *
 * Order of additions: linear.cuh; tiles and their stages: linear_wide.cuh. Stages of 32 k of both operands
 * come by cp.async into a ring in shared memory, so that loads run stages - 1 ahead of the products, with one
 * barrier a stage (Volkov and Demmel's blocking in the form of NVIDIA's CUTLASS for sm_80). All products of a
 * slice go into the registers `sum`; at the end of a slice they are added to `total`, which lives in shared
 * memory because it is touched so rarely (at most 8 times), four floats a thread at a time, each thread its
 * own: that leaves the registers to a tile of 64 x 64 per warp.
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
#include "kernels/cuda/linear_wide.cuh"

#define BAND 2048u /* tokens */
#define BIG_BLOCKS                                                                                           \
    192u /* from this many blocks of 128 x 128 on they keep a GPU of about 132 multiprocessors busy */

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
            v[i] = linear_result<T>(a.a, row + r + i, s[i], paired ? s[i + GATE_UP_GROUP] : 0.0f);
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

    wide_load load = wide_load_of(a.a, row, token, 0);
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
    wide_lay_out<tile, tall, wide>(total, sum, warp_row, warp_token);
    block_sync();
    wide_finish<T, tile>(a, total, row, token);
}

template <class T, int tall, int wide, int stages, int blocks>
static cudaError_t wide_launch(const linear_args *a, cudaStream_t stream) {
    using tile = wide_tile<tall, wide, stages>;
    constexpr uint32_t shared_bytes = tile::total_bytes + tile::ring_bytes;
    static_assert(tile::sums_bytes <= shared_bytes, "the tile of sums has no room");
    const wide_args args = wide_args_of<tile>(a);
    return launch_linked(wide_kernel<T, tall, wide, stages, blocks>, dim3(args.row_tiles * args.token_tiles),
                         WIDE_THREADS, shared_bytes, stream, args);
}

template <class T> static cudaError_t wide_typed(const linear_args *a, cudaStream_t stream) {
    const uint64_t big_blocks = (uint64_t)linear_tiles(a->n, 128) * linear_tiles(a->rows, 128);
    if (a->rows > 64 && big_blocks >= BIG_BLOCKS) return wide_launch<T, 4, 8, 3, 2>(a, stream);
    return wide_launch<T, 2, 4, 7, 3>(a, stream);
}

cudaError_t linear_wide(const linear_args *a, cudaStream_t stream) {
    return a->type == NUM_BF16 ? wide_typed<bf16>(a, stream) : wide_typed<f16>(a, stream);
}
