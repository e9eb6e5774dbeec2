/* attend - what the attention kernels share: where a tile of the KV pages is, the rotation of a pair, and one
 * step of attention over a tile of keys.
 *
 * A warp attends with fragments of mma.m16n8k16 only, as FlashAttention-2 does (Dao 2023, section 3):
 * scores() makes s = q k^T, softmax_step() turns s into weights and rescales what was summed before,
 * add_values() adds weights * v. In the layout of an accumulator (device.cuh, g = lane / 4, t = lane % 4) a
 * thread has rows g and g + 8 of each 16 query rows and columns 2t, 2t + 1 of each 8; two neighbouring
 * accumulators, packed, are an operand A, so weights never leave registers.
 *
 * Tiles in shared memory are rows of HD 16-bit numbers in chunks of 16 bytes. Chunk c of row r lies where
 * swizzled() says: the eight rows that ldmatrix reads together are then in different banks.
 *
 * A window cuts keys off the beginning: tiles that no row of a block sees are not walked, and in those that
 * are a row may see nothing before it sees something.
 *
 * Bits: all of a row's arithmetic is its own (elements of a matrix product do not see each other), keys are
 * walked in ascending tiles that are aligned to position 0, and a tile of which a row sees nothing changes
 * nothing in that row: its maximum stays, so the factor is 2^0 = 1, and its weights are 2^-infinity = 0
 * (before the first key it sees: the maximum stays -infinity, and all that is summed 0). So it does not
 * matter which rows share a tile of queries, where in it they lie, or how a prompt is cut. Sums that are
 * followed by a product or preceded by one are written as fma_exact, so that no compiler decides where a
 * rounding is. */
#ifndef BATON_KERNELS_CUDA_ATTEND_CUH
#define BATON_KERNELS_CUDA_ATTEND_CUH

#include "kernels/cuda/device.cuh"
#include "kv/kv_layout.h"

#include <math.h>

#define ATTEND_LOG2_E 1.44269504088896340736f

/* --- pages --- */

/* One KV head of the launch's layer in page memory: K of page p is KV_PAGE_TOKENS rows at k + p * page_bytes,
 * V is v_bytes behind it. */
struct head_pages {
    char *k;
    uint32_t page_bytes, v_bytes;
};
static __device__ __forceinline__ head_pages head_pages_of(const attend_args &a, uint32_t kv_head,
                                                           uint32_t elem_bytes) {
    const uint32_t tile = KV_PAGE_TOKENS * a.head_dim * elem_bytes, v_bytes = a.kv_heads * tile;
    char *k = static_cast<char *>(a.kv) + (size_t)a.layer * 2 * v_bytes + (size_t)kv_head * tile;
    return {k, a.layers * 2 * v_bytes, v_bytes};
}
/* K or V of page `page`. */
static __device__ __forceinline__ char *page_of(head_pages h, uint32_t page, uint32_t is_v) {
    return h.k + (size_t)page * h.page_bytes + (is_v ? h.v_bytes : 0);
}

/* Elements of qkv before head `head` of a row: the query heads, then those of k, then those of v. */
static __device__ __forceinline__ size_t qkv_head(const attend_args &a, uint32_t row, uint32_t head) {
    return ((size_t)row * (a.heads + 2 * a.kv_heads) + head) * a.head_dim;
}

/* --- rotation --- */

struct alignas(8) rope_turn { /* one entry of the table */
    float cos, sin;
};
struct alignas(8) rope_pair { /* elements 2i and 2i + 1 of a head */
    float x, y;
};

static __device__ __forceinline__ rope_pair rope_rotate(rope_pair p, rope_turn turn) {
    return {fma_exact(p.x, turn.cos, -(p.y * turn.sin)), fma_exact(p.x, turn.sin, p.y * turn.cos)};
}

/* Rotates pairs `first`, first + 1, ... of a head; those from rope_dim / 2 on are left alone. One overload
 * for four pairs of 16-bit numbers, one for a single pair of floats. */
template <class T>
static __device__ __forceinline__ void rope_rotate_unit(vec16 *unit, const attend_args &a, uint32_t pos,
                                                        uint32_t first) {
    const rope_turn *turns = reinterpret_cast<const rope_turn *>(a.rope) + (size_t)pos * (a.rope_dim / 2);
    for (uint32_t i = 0; i < 4; i++) {
        if (first + i >= a.rope_dim / 2) continue;
        rope_pair p = rope_rotate({low_of<T>(unit->w[i]), high_of<T>(unit->w[i])}, turns[first + i]);
        unit->w[i] = pack2(p.x, p.y, T());
    }
}
template <class T>
static __device__ __forceinline__ void rope_rotate_unit(rope_pair *unit, const attend_args &a, uint32_t pos,
                                                        uint32_t first) {
    const rope_turn *turns = reinterpret_cast<const rope_turn *>(a.rope) + (size_t)pos * (a.rope_dim / 2);
    if (first < a.rope_dim / 2) *unit = rope_rotate(*unit, turns[first]);
}

/* Whether heads are only rotated in neighbouring pairs, or not at all: a unit of 16 bytes then needs no
 * other.
 */
static inline bool attend_by_units(const attend_args *a) {
    return !a->q_norm && (a->kind == ROPE_PAIRS || a->rope_dim == 0);
}

/* One head of q or k by a warp: from memory to `head`, [head_dim] of shared memory, normed when there is a
 * weight, and rotated. The warp's last reads of head may have been just before. */
template <class T>
static __device__ __forceinline__ void make_head(float *head, const T *from, const attend_args &a,
                                                 const float *norm, uint32_t pos) {
    const uint32_t lane = threadIdx.x % 32, pairs = a.rope_dim / 2;
    const rope_turn *turns = reinterpret_cast<const rope_turn *>(a.rope) + (size_t)pos * pairs;
    warp_sync();
    for (uint32_t i = lane; i < a.head_dim; i += 32) head[i] = to_float(from[i]);
    if (norm) { /* each lane reads what it wrote */
        float sum = 0;
        for (uint32_t i = lane; i < a.head_dim; i += 32) sum = fma_exact(head[i], head[i], sum);
        const float mean = div_exact(warp_sum(sum), (float)a.head_dim);
        const float inverse = div_exact(1.0f, sqrt_exact(add_exact(mean, a.norm_eps)));
        for (uint32_t i = lane; i < a.head_dim; i += 32)
            head[i] = mul_exact(mul_exact(head[i], inverse), norm[i]);
    }
    warp_sync();
    for (uint32_t i = lane; i < pairs; i += 32) {
        float *x = head + (a.kind == ROPE_HALVES ? i : 2 * i), *y = a.kind == ROPE_HALVES ? x + pairs : x + 1;
        const rope_pair p = rope_rotate({*x, *y}, turns[i]);
        *x = p.x;
        *y = p.y;
    }
    warp_sync();
}

/* --- tiles in shared memory --- */

/* Byte offset of chunk `chunk` of row `row`. 256- and 128-byte rows: the eight rows of a matrix differ in row
 * % 8. 64-byte rows: two of them fill all banks, so they differ in row / 2 % 4. */
template <int HD> static __device__ __forceinline__ uint32_t swizzled(uint32_t row, uint32_t chunk) {
    static_assert(HD == 32 || HD == 64 || HD == 128, "head sizes that the tensor-core kernels know");
    uint32_t turn = HD >= 64 ? row % 8 : row / 2 % 4;
    return (row * (HD / 8) + (chunk ^ turn)) * 16;
}

/* The offset of the chunk `chunks` (even) after the one at `at`, whose own number is 0 or 1: neither is a row
 * left nor a bit carried. One instruction, where swizzled() would take five; row r + 8 is 8 rows of bytes
 * after row r. */
static __device__ __forceinline__ uint32_t chunks_on(uint32_t at, uint32_t chunks) {
    return at ^ chunks * 16;
}

/* Starts the copy of one page of K or V, `from`, into rows [row, row + 16) of a shared tile, by THREADS
 * threads of which this one is `thread`. Rows of the tile from `valid` on are not read but become zeros,
 * since weight 0 times what is left over in a page could be NaN. */
template <int HD, int THREADS>
static __device__ __forceinline__ void fetch_page(char *to, uint32_t row, const char *from, uint32_t valid,
                                                  uint32_t thread) {
    constexpr uint32_t chunks = HD / 8, all = KV_PAGE_TOKENS * chunks,
                       rows = THREADS / chunks; /* rows at a time */
    static_assert(THREADS % chunks == 0 && (rows & (rows - 1)) == 0,
                  "a thread keeps its chunk and the low bits of its row");
    const uint32_t first = thread / chunks;
    if (all < THREADS && thread >= all) return;
    to += row * HD * 2;
    from += thread * 16;
#pragma unroll /* i has no bit of `first`: their places go together without a carry, and only one is a       \
                  variable */
    for (uint32_t i = 0; i < KV_PAGE_TOKENS; i += rows)
        copy16_async(to + (swizzled<HD>(first, thread % chunks) ^ swizzled<HD>(i, 0)), from + i * HD * 2,
                     row + first + i < valid);
}

/* How many of the `size` keys from `begin` on are before `end`. */
static __device__ __forceinline__ uint32_t keys_before(uint32_t end, uint32_t begin, uint32_t size) {
    return begin >= end ? 0 : end - begin < size ? end - begin : size;
}

/* --- one step over a tile of keys --- */

/* s = q k^T: rows [row, row + 16 M) of the shared tile q, rows [0, 8 N) of the shared tile k. */
template <class T, int HD, int M, int N>
static __device__ __forceinline__ void scores(float (&s)[M][N][4], const char *q, uint32_t row,
                                              const char *k) {
    const uint32_t lane = threadIdx.x % 32;
    const uint32_t q_at = swizzled<HD>(row + lane % 16, lane / 16);
    const uint32_t k_at = swizzled<HD>(lane / 16 * 8 + lane % 8, lane / 8 % 2);
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++)
            for (int e = 0; e < 4; e++) s[m][n][e] = 0.0f;
#pragma unroll
    for (int kk = 0; kk < HD / 16; kk++) {
        uint32_t a[M][4];
        for (int m = 0; m < M; m++) load_matrix_x4(a[m], q + chunks_on(q_at, 2 * kk) + m * 16 * HD * 2);
        for (int n = 0; n < N; n += 2) {
            uint32_t b[4];
            load_matrix_x4(b, k + chunks_on(k_at, 2 * kk) + n * 8 * HD * 2);
            for (int m = 0; m < M; m++) {
                matrix_add(s[m][n], a[m], b, T());
                matrix_add(s[m][n + 1], a[m], b + 2, T());
            }
        }
    }
}

/* What a warp knows of 16 query rows: of rows g and g + 8 the largest score so far, and this thread's share
 * of the total weight (its own columns; the four threads of a row are added up at the end). */
template <int HD> struct attend_rows {
    float top[2], total[2];
    float sum[HD / 8][4]; /* weights * v */
};

template <int HD> static __device__ __forceinline__ void attend_rows_clear(attend_rows<HD> &r) {
    for (int h = 0; h < 2; h++) r.top[h] = -INFINITY, r.total[h] = 0.0f;
    for (int n = 0; n < HD / 8; n++)
        for (int e = 0; e < 4; e++) r.sum[n][e] = 0.0f;
}

/* Scores become weights p = 2^((s - top) * scale), as operand A; -infinity becomes 0. What was summed before
 * is brought to the new maximum. Each row must have seen a finite score by now, since the difference of two
 * -infinities has no value; unless `blind`, which takes it for 0 in the maximum's place. */
template <class T, int HD, int N, bool blind = false>
static __device__ __forceinline__ void softmax_step(attend_rows<HD> &r, const float (&s)[N][4], float scale,
                                                    uint32_t (&p)[N / 2][4]) {
    for (int h = 0; h < 2; h++) {
        float top = r.top[h];
        for (int n = 0; n < N; n++) top = fmaxf(top, fmaxf(s[n][2 * h], s[n][2 * h + 1]));
        top = fmaxf(top, warp_get_xor(top, 1));
        top = fmaxf(top, warp_get_xor(top, 2));
        const float finite = blind && top == -INFINITY ? 0.0f : top;
        float shift = -(finite * scale), factor = exp2_fast((r.top[h] - finite) * scale), total = 0.0f;
        r.top[h] = top;
        for (int n = 0; n < N; n++) {
            float low = exp2_fast(fma_exact(s[n][2 * h], scale, shift));
            float high = exp2_fast(fma_exact(s[n][2 * h + 1], scale, shift));
            total += low + high;
            p[n / 2][n % 2 * 2 + h] = pack2(low, high, T());
        }
        r.total[h] = fma_exact(r.total[h], factor, total);
        for (int n = 0; n < HD / 8; n++) r.sum[n][2 * h] *= factor, r.sum[n][2 * h + 1] *= factor;
    }
}

/* sum += p v: p, the weights, are 16 M rows of 8 N keys; v is a shared tile of 8 N rows. */
template <class T, int HD, int M, int N>
static __device__ __forceinline__ void add_values(attend_rows<HD> (&r)[M], const uint32_t (&p)[M][N / 2][4],
                                                  const char *v) {
    const uint32_t lane = threadIdx.x % 32, v_at = swizzled<HD>(lane % 16, lane / 16);
    for (int kk = 0; kk < N / 2; kk++) {
        for (int n = 0; n < HD / 8; n += 2) {
            uint32_t b[4];
            load_matrix_x4_trans(b, v + chunks_on(v_at, n) + kk * 16 * HD * 2);
            for (int m = 0; m < M; m++) {
                matrix_add(r[m].sum[n], p[m][kk], b, T());
                matrix_add(r[m].sum[n + 1], p[m][kk], b + 2, T());
            }
        }
    }
}

#endif
