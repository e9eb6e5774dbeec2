/* linear - what the kernels of linear share, above all the order of additions.
 *
 * A row's result has the same bits for every number of rows, although one kernel streams weights for a few
 * rows (linear.cu), one computes tiles for many (linear_wide.cu), and one shares a tile among the blocks of a
 * cluster for those between (linear_cluster.cu). Nothing is left to chance for that; all of this is fixed:
 *
 * - weights are operand A of mma.m16n8k16 (16 weight rows), tokens are operand B (8 tokens), in every
 *   kernel. Elements of a product do not see each other, so it does not matter what the other columns hold;
 * - K is walked in steps of 64, always whole ones: what lies past k is zeros, in every kernel the same
 *   ones;
 * - the steps are cut into slices by k alone (linear_cut_of). A slice is one chain of matrix_add over
 *   ascending k, begun at zero; the slice sums are added in ascending order: ((0 + s0) + s1) + ... The
 *   narrow kernel gives each slice a warp, the cluster's a block, the wide one computes them one after
 *   another;
 * - within 32 consecutive k, thread t of a group of four holds k = 8t .. 8t + 7, which are 16 contiguous
 *   bytes, and gives the first four of them to one matrix_add and the last four to the next. A sum does not
 *   care which k is called which as long as A and B agree; so fragments are loaded as they lie in memory,
 *   without ldmatrix or shuffles. */
#ifndef BATON_KERNELS_CUDA_LINEAR_CUH
#define BATON_KERNELS_CUDA_LINEAR_CUH

#include "kernels/cuda/device.cuh"

#define LINEAR_GROUP  32u /* k of two matrix_adds: 64 bytes of a row */
#define LINEAR_STEP   64u /* slices begin at multiples of it */
#define LINEAR_SLICES 8u  /* at most; the warps of a block of the narrow kernel */
#define LINEAR_PAD                                                                                           \
    4u /* floats between the tokens of a tile of sums: keeps the 32 lanes' stores on 32 banks */
#define LINEAR_CHUNK 8u /* outputs that are stored together; equal to GATE_UP_GROUP */

/* How K is cut: `slices` of `length` k each, the last one shorter. */
struct linear_cut {
    uint32_t slices, length;
};
static inline linear_cut linear_cut_of(uint32_t k) {
    uint32_t steps = (k + LINEAR_STEP - 1) / LINEAR_STEP;
    uint32_t each = (steps + LINEAR_SLICES - 1) / LINEAR_SLICES;
    linear_cut c = {(steps + each - 1) / each, each * LINEAR_STEP};
    return c;
}

static __host__ __device__ __forceinline__ uint32_t linear_tiles(uint32_t count, uint32_t tile) {
    return (count + tile - 1) / tile;
}

/* sum += w x over 32 k. low, high: weight rows g and g + 8; x: token g; each the 8 k of thread t (g, t = lane
 * / 4, % 4). */
template <class T>
static __device__ __forceinline__ void linear_group(float sum[4], const vec16 &low, const vec16 &high,
                                                    const vec16 &x) {
    const uint32_t a[4] = {low.w[0], high.w[0], low.w[1], high.w[1]};
    const uint32_t b[2] = {x.w[0], x.w[1]};
    matrix_add(sum, a, b, T());
    const uint32_t a2[4] = {low.w[2], high.w[2], low.w[3], high.w[3]};
    const uint32_t b2[2] = {x.w[2], x.w[3]};
    matrix_add(sum, a2, b2, T());
}

/* kinds.h. GELU's 0.5 (1 + tanh(u)) is 1 / (1 + e^-2u): the two that are smooth differ in an exponent only.
 */
static __device__ __forceinline__ float linear_act(act_kind act, float x) {
    const float log2_e = 1.44269504088896340736f;
    const float gelu_1 = 2.30220819814f,
                gelu_3 = 0.102943240f; /* 2 log2(e) sqrt(2 / pi) times 1 and 0.044715 */
    if (act == ACT_RELU) return x < 0.0f ? 0.0f : x;
    float power = -x * log2_e;
    if (act == ACT_GELU) power = -x * fma_exact(mul_exact(gelu_3, x), x, gelu_1);
    return div_exact(x, 1.0f + exp2_fast(power));
}

/* bias[row], one of n */
template <class T> static __device__ __forceinline__ float linear_bias(const linear_args &a, uint32_t row) {
    return to_float(static_cast<const T *>(a.bias)[row]);
}
/* What becomes of the sum of weight row `row`; up: that of row + GATE_UP_GROUP when these are pairs. */
template <class T>
static __device__ __forceinline__ float linear_result(const linear_args &a, uint32_t row, float v, float up) {
    const bool paired = a.mode == LINEAR_GATE_UP;
    if (a.bias) {
        v = add_exact(v, linear_bias<T>(a, row));
        if (paired) up = add_exact(up, linear_bias<T>(a, row + GATE_UP_GROUP));
    }
    if (!paired) return a.mode == LINEAR_UNGATED ? linear_act(a.act, v) : v;
    return mul_exact(linear_act(a.act, v), up);
}

/* Elements of a row of out. */
static __host__ __device__ __forceinline__ uint32_t linear_width(const linear_args &a) {
    return a.mode == LINEAR_GATE_UP ? a.n / 2 : a.n;
}

/* One element of out. */
template <class T>
static __device__ __forceinline__ void linear_put(const linear_args &a, uint32_t token, uint32_t column,
                                                  float v) {
    size_t at = (size_t)token * linear_width(a) + column;
    if (a.mode == LINEAR_F32)
        static_cast<float *>(a.out)[at] = v;
    else
        static_cast<T *>(a.out)[at] = from_float<T>(v);
}

/* bf16 or f16 for any number of rows, made for many (linear_wide.cu) and for LINEAR_CLUSTER_MIN to
 * LINEAR_CLUSTER_MAX on a device with clusters (linear_cluster.cu); f32 (linear_f32.cu). */
cudaError_t linear_wide(const linear_args *a, cudaStream_t stream);
cudaError_t linear_cluster(const linear_args *a, cudaStream_t stream);
cudaError_t linear_f32(const linear_args *a, cudaStream_t stream);

#endif
