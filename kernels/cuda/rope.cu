/* rope - rotary position embedding (Su et al., RoFormer, 2021, section 3.2), the norm of q and k before it,
 * and the write of k and v into the pages.
 *
 * Pairs are neighbours (elements 2i and 2i + 1 of a head, GGUF's order) or of one half each (i and i +
 * rope_dim / 2); pair i of position p is turned by the angle p * base^(-2i / rope_dim) / factors[i]. Cosines
 * and sines come from a table that is made once, in double: at position 100000 a float angle has an error of
 * 1/256 of a radian. The rotation itself is fp32, rounded once to the type of the activations (rope_rotate in
 * attend.cuh, which decode attention calls too when it does this kernel's work).
 *
 * rope_kv: a thread owns one unit of a row of qkv - 16 bytes, which are four pairs of 16-bit numbers, or one
 * pair of floats. A row of a head is contiguous in qkv and in its page, so reads and writes are of full
 * sectors. Of a row
 *   [q heads | k heads | v heads]   q and k are rotated in place, k is written to the page of the row's
 * position, v is written to the page.
 *
 * rope_heads does the same where a unit is not enough: where halves are rotated, or heads are normed first. A
 * warp has a head at a time (make_head in attend.cuh, which decode attention calls too).
 *
 * Rows beyond the step's (padding of a recorded step) have no pages:
 * nothing is done. */
#include "kernels/cuda/attend.cuh"

enum { ROPE_WARPS = 4, ROPE_THREADS = ROPE_WARPS * 32 };

/* --- the table --- */

/* The only place where a kernel calls the math library: it runs once, and nothing else is in double. */
static __global__ void rope_table_kernel(rope_turn *turns, uint32_t max_pos, uint32_t pairs, double base,
                                         const float *factors, double magnitude) {
    size_t at = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= (size_t)max_pos * pairs) return;
    uint32_t pos = (uint32_t)(at / pairs), pair = (uint32_t)(at % pairs);
    double angle = pos * pow(base, -(double)pair / pairs);
    if (factors) angle /= (double)factors[pair];
    turns[at] = {(float)(cos(angle) * magnitude), (float)(sin(angle) * magnitude)};
}

/* --- rows --- */

template <class T, class Unit> static __global__ void rope_kv_kernel(attend_args a) {
    pdl_begin();
    constexpr uint32_t elements = sizeof(Unit) / sizeof(T);
    const uint32_t row = blockIdx.x, units = a.head_dim / elements;
    const uint32_t at = blockIdx.y * blockDim.x + threadIdx.x;
    if (row >= a.t.header->rows || at >= (a.heads + 2 * a.kv_heads) * units) return;
    const uint32_t head = at / units, begin = at % units * elements, pos = a.t.pos[row];

    Unit *place = reinterpret_cast<Unit *>(static_cast<T *>(a.qkv) + qkv_head(a, row, head) + begin);
    Unit unit = *place;
    if (head < a.heads + a.kv_heads) {
        rope_rotate_unit<T>(&unit, a, pos, begin / 2);
        *place = unit;
    }
    if (head < a.heads) return;
    const uint32_t is_v = head >= a.heads + a.kv_heads, kv_head = head - a.heads - is_v * a.kv_heads;
    const uint32_t page = a.t.pages[a.t.row_pages[row] + pos / KV_PAGE_TOKENS];
    T *to = reinterpret_cast<T *>(page_of(head_pages_of(a, kv_head, sizeof(T)), page, is_v));
    *reinterpret_cast<Unit *>(to + pos % KV_PAGE_TOKENS * a.head_dim + begin) = unit;
}

template <class T> static __global__ void __launch_bounds__(ROPE_THREADS) rope_heads_kernel(attend_args a) {
    pdl_begin();
    const uint32_t row = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t head = blockIdx.y * ROPE_WARPS + warp;
    if (row >= a.t.header->rows || head >= a.heads + 2 * a.kv_heads) return;
    const uint32_t pos = a.t.pos[row];
    const bool is_q = head < a.heads, is_v = head >= a.heads + a.kv_heads;
    T *place = static_cast<T *>(a.qkv) + qkv_head(a, row, head), *to = NULL;
    if (!is_q) {
        const uint32_t page = a.t.pages[a.t.row_pages[row] + pos / KV_PAGE_TOKENS];
        const uint32_t kv_head = head - a.heads - is_v * a.kv_heads;
        to = reinterpret_cast<T *>(page_of(head_pages_of(a, kv_head, sizeof(T)), page, is_v)) +
             pos % KV_PAGE_TOKENS * a.head_dim;
    }
    if (is_v) {
        for (uint32_t i = lane; i < a.head_dim; i += 32) to[i] = place[i];
        return;
    }
    float *made = reinterpret_cast<float *>(shared_memory()) + warp * a.head_dim;
    make_head(made, place, a, is_q ? a.q_norm : a.k_norm, pos);
    for (uint32_t i = lane; i < a.head_dim; i += 32) {
        place[i] = from_float<T>(made[i]);
        if (!is_q) to[i] = place[i];
    }
}

/* --- launchers --- */

cudaError_t launch_rope_table(float *rope, uint32_t max_pos, uint32_t rope_dim, double base,
                              const float *factors, double magnitude, cudaStream_t stream) {
    if (rope_dim % 2 != 0) return cudaErrorInvalidValue;
    size_t count = (size_t)max_pos * (rope_dim / 2);
    if (count == 0) return cudaSuccess;
    return launch_kernel(rope_table_kernel, dim3((unsigned)((count + ROPE_THREADS - 1) / ROPE_THREADS)),
                         ROPE_THREADS, 0, stream, reinterpret_cast<rope_turn *>(rope), max_pos, rope_dim / 2,
                         base, factors, magnitude);
}

template <class T> static cudaError_t launch_rope_heads(const attend_args *a, cudaStream_t stream) {
    const dim3 grid(a->rows, (a->heads + 2 * a->kv_heads + ROPE_WARPS - 1) / ROPE_WARPS);
    return launch_linked(rope_heads_kernel<T>, grid, ROPE_THREADS, ROPE_WARPS * a->head_dim * sizeof(float),
                         stream, *a);
}

template <class T, class Unit>
static cudaError_t launch_rope_rows(const attend_args *a, cudaStream_t stream) {
    constexpr uint32_t elements = sizeof(Unit) / sizeof(T);
    if (a->head_dim % elements != 0 || a->rope_dim % 2 != 0 || a->rope_dim > a->head_dim)
        return cudaErrorInvalidValue;
    if (a->rows == 0) return cudaSuccess;
    if (!attend_by_units(a)) return launch_rope_heads<T>(a, stream);
    uint32_t units = (a->heads + 2 * a->kv_heads) * (a->head_dim / elements);
    dim3 grid(a->rows, (units + ROPE_THREADS - 1) / ROPE_THREADS);
    return launch_linked(rope_kv_kernel<T, Unit>, grid, ROPE_THREADS, 0, stream, *a);
}

cudaError_t launch_rope_kv(const attend_args *a, cudaStream_t stream) {
    switch (a->type) {
    case NUM_BF16:
        return launch_rope_rows<bf16, vec16>(a, stream);
    case NUM_F16:
        return launch_rope_rows<f16, vec16>(a, stream);
    case NUM_F32:
        return launch_rope_rows<float, rope_pair>(a, stream);
    }
    return cudaErrorInvalidValue;
}
