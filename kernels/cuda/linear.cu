/* linear - out = x w^T for few rows (a decode step), where the time is that of reading the weights once.
 *
 * Order of additions: linear.cuh. One block owns 16 or 32 weight rows and all tokens (up to 32); its warps
 * own one slice of K each. A warp reads its weights straight from global memory into the registers that
 * matrix_add wants: per 32 k a thread loads 16 bytes of row g and 16 of row g + 8, so a row's 64 bytes are
 * two full sectors and two groups of 32 k, a step, are a full line. Nothing is shared between warps until
 * the slice sums meet in shared memory at the end.
 *
 * Bytes in flight. A read of HBM takes 600-800 ns under load; at 4.8 TB/s and 132 multiprocessors that is
 * about 27 KB per multiprocessor in flight to be just enough, and 64 KB to be safe. Each warp keeps a ring
 * of 4 groups: a group is reloaded as soon as it was multiplied, 4 groups ahead. A group is 1 KB for 16
 * weight rows; with 8 warps:
 *
 *   tokens  weight rows  a block has in flight  blocks per multiprocessor (by registers)
 *   8       16           32 KB                  3
 *   8       32           64 KB                  2
 *   16      16 or 32     32 or 64 KB            2
 *   32      32           64 KB                  1
 *
 * Weights do not change, so the ring is filled before the kernel waits for the one before it (device.cuh,
 * links): what runs before a product is small, and leaves the memory idle that its first reads can use.
 *
 * Tokens are read through L1: every block reads all of x, from L2 the first time, and the blocks of a
 * multiprocessor walk K side by side. That traffic is tokens / weight rows times the weights', which is why
 * a block takes 32 weight rows when there are enough of them to give every multiprocessor a block, and why
 * more tokens are served by tiles: 17 to 256 of them in clusters of blocks where there are any
 * (linear_cluster.cu), else 33 and more (linear_wide.cu). A column beyond the last token repeats that one
 * (same addresses, so no traffic) and is thrown away; weight rows beyond n likewise. */
#include "kernels/cuda/linear.cuh"

#define RING      4     /* groups that a warp has under way */
#define TALL_ROWS 4096u /* weight rows from which on blocks take 32 of them */

/* 16 bytes, or zeros where K has ended; ahead: before pdl_wait. */
static __device__ __forceinline__ vec16 weights_or_zero(const void *p, bool inside) {
    vec16 v = {{0, 0, 0, 0}};
    if (inside) v = load16_once(p);
    return v;
}
static __device__ __forceinline__ vec16 weights_ahead(const void *p, bool inside) {
    vec16 v = {{0, 0, 0, 0}};
    if (inside) v = load16_ahead(p);
    return v;
}
static __device__ __forceinline__ vec16 tokens_or_zero(const void *p, bool inside) {
    vec16 v = {{0, 0, 0, 0}};
    if (inside) v = load16(p);
    return v;
}

/* Where thread (g, t) of a warp reads its 8 k of the ring's first group: row g of tile m at w[m][0], row g +
 * 8 at w[m][1], token 8i + g at x[i]. */
template <class T, int tall, int wide> struct narrow_place {
    const T *w[tall][2];
    const T *x[wide];
};

template <class T, int tall, int wide>
static __device__ __forceinline__ void narrow_find(narrow_place<T, tall, wide> &p, const linear_args &a,
                                                   uint32_t k) {
    const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    for (int m = 0; m < tall; m++) {
        for (int half = 0; half < 2; half++) {
            uint32_t row = (blockIdx.x * tall + m) * 16 + half * 8 + g;
            if (row >= a.n) row = a.n - 1;
            p.w[m][half] = static_cast<const T *>(a.w) + (size_t)row * a.k + k + t * 8;
        }
    }
    for (int i = 0; i < wide; i++) {
        uint32_t token = i * 8 + g;
        if (token >= a.rows) token = a.rows - 1;
        p.x[i] = static_cast<const T *>(a.x) + (size_t)token * a.k + k + t * 8;
    }
}

/* Multiplies the groups in the ring, reloads each with the group RING later, and moves on. `left` k remain in
 * whole steps; the last `past` of them (fewer than a step) are past the end of K. whole: all that is used and
 * loaded is inside, so nothing is asked. Else groups that begin past `left` are left out, and within the last
 * step there are zeros. */
template <class T, int tall, int wide, bool whole>
static __device__ __forceinline__ void narrow_turn(float sum[tall][wide][4], vec16 held[RING][tall][2],
                                                   narrow_place<T, tall, wide> &p, int left, int past) {
    const int mine = left - past - (int)(threadIdx.x % 4 * 8); /* k < mine: this thread's 8 are inside */
#pragma unroll
    for (int j = 0; j < RING; j++) {
        const int k = j * (int)LINEAR_GROUP, next = k + RING * (int)LINEAR_GROUP;
        if (!whole && k >= left) return;
#pragma unroll
        for (int i = 0; i < wide; i++) {
            const vec16 x = tokens_or_zero(p.x[i] + k, whole || k < mine);
#pragma unroll
            for (int m = 0; m < tall; m++) linear_group<T>(sum[m][i], held[j][m][0], held[j][m][1], x);
        }
#pragma unroll
        for (int m = 0; m < tall; m++)
#pragma unroll
            for (int half = 0; half < 2; half++)
                held[j][m][half] = weights_or_zero(p.w[m][half] + next, whole || next < mine);
    }
    const int turn = RING * (int)LINEAR_GROUP;
#pragma unroll
    for (int i = 0; i < wide; i++) p.x[i] += turn;
#pragma unroll
    for (int m = 0; m < tall; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) p.w[m][half] += turn;
}

/* This warp's slice, `left` k in whole steps from p on, as above: sum[m][i] += tile m times tokens 8i .. 8i
 * + 7. Before pdl_wait only weights are read. */
template <class T, int tall, int wide>
static __device__ __forceinline__ void narrow_slice(float sum[tall][wide][4], narrow_place<T, tall, wide> &p,
                                                    int left, int past) {
    const int mine = left - past - (int)(threadIdx.x % 4 * 8), turn = RING * (int)LINEAR_GROUP;
    vec16 held[RING][tall][2];
#pragma unroll
    for (int j = 0; j < RING; j++)
#pragma unroll
        for (int m = 0; m < tall; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int k = j * (int)LINEAR_GROUP;
                held[j][m][half] = weights_ahead(p.w[m][half] + k, k < mine);
            }
    pdl_wait();
#pragma unroll 1
    for (; left - past >= 2 * turn; left -= turn) narrow_turn<T, tall, wide, true>(sum, held, p, left, past);
#pragma unroll 1
    for (; left > 0; left -= turn) narrow_turn<T, tall, wide, false>(sum, held, p, left, past);
}

/* sums [slices][8 * wide tokens][16 * tall + LINEAR_PAD] of the block -> out. A thread per element. */
template <class T, int tall, int wide>
static __device__ __forceinline__ void narrow_finish(const linear_args &a, const float *sums,
                                                     uint32_t slices) {
    const uint32_t stride = 16 * tall + LINEAR_PAD, slice = 8 * wide * stride;
    const bool paired = a.mode == LINEAR_GATE_UP;
    const uint32_t per_token = paired ? 8 * tall : 16 * tall; /* outputs */
    for (uint32_t e = threadIdx.x; e < a.rows * per_token; e += blockDim.x) {
        const uint32_t token = e / per_token, column = e % per_token;
        const uint32_t row =
            paired ? column / 8 * 16 + column % 8 : column; /* of the gate, when there is one */
        if (blockIdx.x * (16 * tall) + row >= a.n) continue;
        const float *s = sums + token * stride + row;
        float v = 0.0f, up = 0.0f;
        for (uint32_t i = 0; i < slices; i++) v += s[i * slice];
        if (paired)
            for (uint32_t i = 0; i < slices; i++) up += s[i * slice + GATE_UP_GROUP];
        linear_put<T>(a, token, blockIdx.x * per_token + column,
                      linear_result<T>(a, blockIdx.x * (16 * tall) + row, v, up));
    }
}

template <class T, int tall, int wide, int blocks>
static __global__ void __launch_bounds__(256, blocks) narrow_kernel(linear_args a, linear_cut cut) {
    const uint32_t warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const uint32_t stride = 16 * tall + LINEAR_PAD;
    float *sums = reinterpret_cast<float *>(shared_memory());
    pdl_trigger();

    const uint32_t begin = warp * cut.length, length = a.k - begin < cut.length ? a.k - begin : cut.length;
    const uint32_t steps = linear_tiles(length, LINEAR_STEP) * LINEAR_STEP;
    narrow_place<T, tall, wide> place;
    narrow_find(place, a, begin);
    float sum[tall][wide][4] = {};
    narrow_slice<T, tall, wide>(sum, place, (int)steps, (int)(steps - length));

    float *mine = sums + warp * (8 * wide * stride);
#pragma unroll
    for (int m = 0; m < tall; m++)
#pragma unroll
        for (int i = 0; i < wide; i++) {
            float *at = mine + (8 * i + 2 * t) * stride + 16 * m + g;
            at[0] = sum[m][i][0];
            at[stride] = sum[m][i][1];
            at[8] = sum[m][i][2];
            at[stride + 8] = sum[m][i][3];
        }
    block_sync();
    narrow_finish<T, tall, wide>(a, sums, cut.slices);
}

template <class T, int tall, int wide, int blocks>
static cudaError_t narrow_launch(const linear_args *a, cudaStream_t stream) {
    const linear_cut cut = linear_cut_of(a->k);
    const size_t shared_bytes = cut.slices * 8 * wide * (16 * tall + LINEAR_PAD) * sizeof(float);
    return launch_linked(narrow_kernel<T, tall, wide, blocks>, dim3(linear_tiles(a->n, 16 * tall)),
                         cut.slices * 32, shared_bytes, stream, *a, cut);
}

template <class T> static cudaError_t linear_typed(const linear_args *a, cudaStream_t stream) {
    const bool tall = a->n >= TALL_ROWS;
    if (linear_in_clusters(a)) return linear_cluster(a, stream);
    if (a->rows > LINEAR_FEW_ROWS) return linear_wide(a, stream);
    if (a->rows > 16) return narrow_launch<T, 2, 4, 1>(a, stream);
    if (a->rows > 8)
        return tall ? narrow_launch<T, 2, 2, 2>(a, stream) : narrow_launch<T, 1, 2, 2>(a, stream);
    return tall ? narrow_launch<T, 2, 1, 2>(a, stream) : narrow_launch<T, 1, 1, 3>(a, stream);
}

/* The device is asked each time: that reads a table of the runtime. */
bool linear_in_clusters(const linear_args *a) {
    if (a->type == NUM_F32 || a->no_cluster) return false;
    if (a->rows < LINEAR_CLUSTER_MIN || a->rows > LINEAR_CLUSTER_MAX) return false;
    int device = 0, major = 0;
    return cudaGetDevice(&device) == cudaSuccess &&
           cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
           device_has_clusters(major);
}

cudaError_t launch_linear(const linear_args *a, cudaStream_t stream) {
    const bool shape_ok = a->rows > 0 && a->n > 0 && a->k > 0 && a->k % 8 == 0;
    const bool pairs_ok = a->mode != LINEAR_GATE_UP || a->n % (2 * GATE_UP_GROUP) == 0;
    if (!shape_ok || !pairs_ok || (uintptr_t)a->x % 16 != 0 || (uintptr_t)a->w % 16 != 0)
        return cudaErrorInvalidValue;
    switch (a->type) {
    case NUM_BF16:
        return linear_typed<bf16>(a, stream);
    case NUM_F16:
        return linear_typed<f16>(a, stream);
    case NUM_F32:
        return linear_f32(a, stream);
    }
    return cudaErrorInvalidValue;
}
