/* linear_cluster - out = x w^T for 17 to 256 rows on devices with clusters of blocks (sm_90); bits as in
 * linear.cu.
 *
 * Order of additions: linear.cuh; tiles and their stages: linear_wide.cuh. For so few rows the time is mostly
 * that of reading the weights. linear_wide.cu cannot ask for them fast enough: n = 4096 makes 64 tiles of 64
 * rows, for 132 multiprocessors, and each walks the whole of K. linear.cu reads its tokens as often as there
 * are blocks of 32 weight rows, which at 32 tokens is as much as the weights. Here a tile of 128 weight rows
 * has as many blocks as K has slices (8 for every k of a real model), and they are a cluster: each multiplies
 * its slice into registers and leaves the sums in its own shared memory; then each reads its share of the
 * tile from all of them over distributed shared memory, slice after slice in ascending order, and writes it.
 * No totals, no partial sums in global memory. n = 4096 is 256 blocks, all there at the same time, and tokens
 * are rows / 128 of the weights' traffic.
 *
 * The tiles, by the number of rows, and what nvcc 13.0 makes of them for sm_90 (bf16 and f16 alike, without
 * spills):
 *
 *   rows    tile       stages  registers  shared memory  blocks per multiprocessor  bytes in flight there
 *   17-32   128 x 32   7       95         70 KB          3                          180 KB
 *   33-64   128 x 64   6       135        72 KB          3                          180 KB
 *   65-256  128 x 128  6       207        96 KB          2                          160 KB
 *
 * (in flight: all stages but one of every block; 4/5, 2/3 and 1/2 of that are weights). Token tiles, at most
 * two, come before weight tiles, so that the second one finds its weights in L2. Above 256 rows the products
 * take longer than the reading, and linear_wide.cu exchanges fewer sums for them. */
#include "kernels/cuda/linear_wide.cuh"

#define TALL 4 /* tiles of 128 weight rows */

/* The four sums at `at` of this block's tile, over the tiles of all blocks. */
static __device__ __forceinline__ void cluster_sum(float v[4], const float *at, uint32_t slices) {
    vec16 part[LINEAR_SLICES];
#pragma unroll
    for (uint32_t i = 0; i < LINEAR_SLICES; i++)
        if (i < slices) part[i] = load16_peer(at, i);
#pragma unroll
    for (int j = 0; j < 4; j++) v[j] = 0.0f;
#pragma unroll
    for (uint32_t i = 0; i < LINEAR_SLICES; i++)
        if (i < slices)
#pragma unroll
            for (int j = 0; j < 4; j++) v[j] += float_of_bits(part[i].w[j]);
}

/* v[0, LINEAR_CHUNK) */
static __device__ __forceinline__ void cluster_chunk(float *v, const float *at, uint32_t slices) {
    cluster_sum(v, at, slices);
    cluster_sum(v + 4, at + 4, slices);
}

/* Block `rank`'s share of the tile -> out, LINEAR_CHUNK outputs of a token per thread and turn. */
template <class T, class tile>
static __device__ __forceinline__ void cluster_finish(const wide_args &a, const float *sums, uint32_t rank,
                                                      uint32_t row, uint32_t token) {
    const bool paired = a.a.mode == LINEAR_GATE_UP;
    const uint32_t reads = paired ? 2 * LINEAR_CHUNK : LINEAR_CHUNK, chunks = tile::rows / reads;
    const uint32_t left = a.a.rows - token, tokens = left < tile::tokens ? left : tile::tokens;
    for (uint32_t e = rank * WIDE_THREADS + threadIdx.x; e < tokens * chunks;
         e += a.cut.slices * WIDE_THREADS) {
        const uint32_t r = e % chunks * reads, t = e / chunks;
        if (row + r >= a.a.n) continue;
        const float *at = sums + t * tile::out_stride + r;
        float v[LINEAR_CHUNK], up[LINEAR_CHUNK] = {};
        cluster_chunk(v, at, a.cut.slices);
        if (paired) cluster_chunk(up, at + GATE_UP_GROUP, a.cut.slices);
#pragma unroll
        for (uint32_t i = 0; i < LINEAR_CHUNK; i++) v[i] = linear_result<T>(a.a, row + r + i, v[i], up[i]);
        wide_put<T>(a, token + t, paired ? (row + r) / 2 : row + r, v);
    }
}

/* sum += slice `rank` of K. */
template <class T, class tile, int wide, int stages>
static __device__ __forceinline__ void cluster_slice(float sum[TALL][wide][4], const wide_args &a, char *ring,
                                                     uint32_t rank, uint32_t row, uint32_t token) {
    const uint32_t tid = threadIdx.x, warp = tid / 32, g = tid % 32 / 4, t = tid % 4;
    const uint32_t begin = rank * a.cut.length, after = a.a.k - begin;
    const uint32_t length = after < a.cut.length ? after : a.cut.length;
    const uint32_t count = linear_tiles(length, LINEAR_STEP) * (LINEAR_STEP / LINEAR_GROUP);
    wide_load load = wide_load_of(a.a, row, token, begin);
    for (uint32_t s = 0; s < stages - 1; s++) {
        if (s < count) wide_bring<tile>(load, ring + s * tile::stage_bytes);
        copy_commit();
    }
    const uint32_t my_w = (warp % 2 * (16 * TALL) + g) * tile::line + t * 16;
    const uint32_t my_x = (tile::rows + warp / 2 * (8 * wide) + g) * tile::line + t * 16;
    uint32_t use = 0, fill = stages - 1; /* places in the ring */
    for (uint32_t s = 0; s < count; s++) {
        copy_wait<stages - 2>();
        block_sync(); /* stage s is there for all; stage s - 1 is done with and its place is filled next */
        if (s + stages - 1 < count) wide_bring<tile>(load, ring + fill * tile::stage_bytes);
        copy_commit();
        const char *stage = ring + use * tile::stage_bytes;
        wide_multiply<T, tile, TALL, wide>(sum, stage + my_w, stage + my_x);
        use = use + 1 == stages ? 0 : use + 1;
        fill = fill + 1 == stages ? 0 : fill + 1;
    }
}

template <class T, int wide, int stages, int blocks>
static __global__ void __launch_bounds__(WIDE_THREADS, blocks) cluster_kernel(wide_args a) {
    if (!HAS_CLUSTERS) return cluster_sync();
    pdl_begin();
    using tile = wide_tile<TALL, wide, stages>;
    const uint32_t warp = threadIdx.x / 32, rank = blockIdx.x % a.cut.slices;
    const uint32_t number = blockIdx.x / a.cut.slices;
    const uint32_t row = number / a.token_tiles * tile::rows, token = number % a.token_tiles * tile::tokens;
    float *sums = reinterpret_cast<float *>(shared_memory());

    float sum[TALL][wide][4] = {};
    cluster_slice<T, tile, wide, stages>(sum, a, shared_memory(), rank, row, token);
    block_sync(); /* the ring is done with: the tile of sums takes its place */
    wide_lay_out<tile, TALL, wide>(sums, sum, warp % 2 * (16 * TALL), warp / 2 * (8 * wide));
    cluster_sync();
    cluster_finish<T, tile>(a, sums, rank, row, token);
    cluster_leave(); /* a block that ends takes its shared memory along */
}

template <class T, int wide, int stages, int blocks>
static cudaError_t cluster_launch(const linear_args *a, cudaStream_t stream) {
    using tile = wide_tile<TALL, wide, stages>;
    constexpr uint32_t shared_bytes =
        tile::ring_bytes > tile::sums_bytes ? tile::ring_bytes : tile::sums_bytes;
    const wide_args args = wide_args_of<tile>(a);
    static_assert(LINEAR_SLICES <= CLUSTER_BLOCKS, "a cluster has no room for the slices");
    return launch_cluster(cluster_kernel<T, wide, stages, blocks>, args.cut.slices,
                          args.cut.slices * args.row_tiles * args.token_tiles, WIDE_THREADS, shared_bytes,
                          stream, args);
}

template <class T> static cudaError_t cluster_typed(const linear_args *a, cudaStream_t stream) {
    if (a->rows > 64) return cluster_launch<T, 8, 6, 2>(a, stream);
    if (a->rows > 32) return cluster_launch<T, 4, 6, 3>(a, stream);
    return cluster_launch<T, 2, 7, 3>(a, stream);
}

cudaError_t linear_cluster(const linear_args *a, cudaStream_t stream) {
    return a->type == NUM_BF16 ? cluster_typed<bf16>(a, stream) : cluster_typed<f16>(a, stream);
}
