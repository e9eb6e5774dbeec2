/* attend_f32 - attention in fp32, for checking: whether the model is computed right is seen to 1e-4 here,
 * where the 16-bit kernels round to 4e-3.
 *
 * One warp per row and query head, prompt and generated rows alike, any even head size up to 256. It walks
 * the keys that the row sees in steps of 32. In a step lane l makes the whole score of key l, the warp
 * agrees on the new maximum (online softmax: Milakov and Gimelshein 2018), the weights go through shared
 * memory, and then lane l adds up elements l, l + 32, ... of the values. All sums are in ascending order.
 * Nothing is tuned; reads of K are not even coalesced. */
#include "kernels/cuda/attend.cuh"

enum { F32_LANES = 32, F32_HEAD_DIM_MAX = 256, F32_PER_LANE = F32_HEAD_DIM_MAX / F32_LANES };

/* K or V of the key at `pos`, [head_dim]. */
static __device__ __forceinline__ const float *f32_key(head_pages head, const uint32_t *pages, uint32_t pos,
                                                       uint32_t is_v, uint32_t head_dim) {
    const char *page = page_of(head, pages[pos / KV_PAGE_TOKENS], is_v);
    return reinterpret_cast<const float *>(page) + pos % KV_PAGE_TOKENS * head_dim;
}

static __global__ void attend_f32_kernel(attend_args a) {
    pdl_begin();
    const uint32_t row = blockIdx.x, head = blockIdx.y, lane = threadIdx.x;
    if (row >= a.t.header->rows) return;
    const uint32_t end = a.t.pos[row] + 1, first = a.window != 0 && end > a.window ? end - a.window : 0;
    const head_pages kv = head_pages_of(a, head / (a.heads / a.kv_heads), sizeof(float));
    const uint32_t *pages = a.t.pages + a.t.row_pages[row];
    const float *q = static_cast<const float *>(a.qkv) + qkv_head(a, row, head);
    const float scale = a.scale * ATTEND_LOG2_E;
    float *weights = reinterpret_cast<float *>(shared_memory());
    float top = -INFINITY, total = 0.0f, sum[F32_PER_LANE] = {};

    for (uint32_t begin = first; begin < end; begin += F32_LANES) {
        const uint32_t count = keys_before(end, begin, F32_LANES);
        float score = -INFINITY;
        if (lane < count) {
            const float *k = f32_key(kv, pages, begin + lane, 0, a.head_dim);
            score = 0.0f;
            for (uint32_t d = 0; d < a.head_dim; d++) score = fma_exact(q[d], k[d], score);
            score *= scale;
        }
        const float new_top = fmaxf(top, warp_max(score)), factor = exp2_fast(top - new_top);
        const float weight = exp2_fast(score - new_top);
        top = new_top;
        total = fma_exact(total, factor, warp_sum(weight));
        warp_sync(); /* the weights before are no longer read */
        weights[lane] = weight;
        warp_sync();
        for (uint32_t i = 0; i < F32_PER_LANE; i++) sum[i] *= factor;
        for (uint32_t key = 0; key < count; key++) {
            const float *v = f32_key(kv, pages, begin + key, 1, a.head_dim);
            for (uint32_t i = 0; i < F32_PER_LANE; i++)
                if (lane + i * F32_LANES < a.head_dim)
                    sum[i] = fma_exact(weights[key], v[lane + i * F32_LANES], sum[i]);
        }
    }
    float *out = static_cast<float *>(a.out) + ((size_t)row * a.heads + head) * a.head_dim;
    for (uint32_t i = 0; i < F32_PER_LANE; i++)
        if (lane + i * F32_LANES < a.head_dim) out[lane + i * F32_LANES] = div_exact(sum[i], total);
}

cudaError_t launch_attend_f32(const attend_args *a, cudaStream_t stream) {
    if (a->type != NUM_F32 || a->head_dim % 2 != 0 || a->head_dim > F32_HEAD_DIM_MAX)
        return cudaErrorInvalidValue;
    if (a->kv_heads == 0 || a->heads % a->kv_heads != 0) return cudaErrorInvalidValue;
    if (a->rows == 0) return cudaSuccess;
    return launch_linked(attend_f32_kernel, dim3(a->rows, a->heads), F32_LANES, F32_LANES * sizeof(float),
                         stream, *a);
}
