/* kv_copy - one piece of a hand-off between pages and a packed wire buffer, with the checksum of its bytes.
 *
 *   page memory [page][layer][K, V][kv_head][KV_PAGE_TOKENS][head_dim]     (kv/kv_layout.h)
 *   wire        [page of the piece][layer][K, V][kv_head][valid rows][head_dim]
 *
 * The layers of a full page are one run of memory in both. Only in the last page, when it is not full, do
 * the rows of a head end before their tile does. So the copy goes by units of 16 bytes (8 where a row or the
 * wire asks for it), numbered as they lie on the wire: neighbouring threads move neighbouring units, and
 * each finds its unit in the pages with one division (two in the last page).
 *
 * The checksum is sum w_i * mix_weight(i) over the 64-bit words w_i of the wire, mod 2^64, as on hosts
 * (kv/kv_layout.h). Integer sums do not depend on their order: each thread sums what it moves,
 * then the warp, then the block, which adds once to *sum. A thread has KV_COPY_DEPTH loads under way before
 * it stores the first. */
#include "kernels/cuda/device.cuh"

#include "base/mix.h"
#include "kv/kv_layout.h"

#define KV_COPY_THREADS    256u
#define KV_COPY_DEPTH      4u
#define KV_COPY_BLOCKS_MAX 1024u /* a few on each multiprocessor */

/* Sizes and places in units. */
struct kv_course {
    char *kv, *wire;
    const uint32_t *pages; /* from the piece's first page on */
    uint64_t page_units;   /* of all layers */
    uint64_t first_units;  /* where the piece's first layer and head lie in a page */
    uint32_t run_units;    /* of the piece's layers of a full page, as the wire has them */
    uint32_t group_units;  /* of the piece's heads of K or V of a layer */
    uint32_t skip_units;   /* of the heads between two groups that are left out; 0: none are */
    uint32_t full_units;   /* of all full pages */
    uint32_t tile_units;   /* of a full tile */
    uint32_t last_units;   /* of a tile's valid rows in the last page; tile_units when that is full */
    uint32_t last_page;    /* index of the page that is not full */
    uint32_t units;        /* of the piece */
    uint64_t word_begin;
    unsigned long long *sum;
};

struct vec8 { /* for rows that are no multiple of 16 bytes */
    uint32_t w[2];
};
static __device__ __forceinline__ void load_unit(vec16 *v, const char *p) {
    *v = load16_once(p);
}
static __device__ __forceinline__ void load_unit(vec8 *v, const char *p) {
    const uint32_t *words = reinterpret_cast<const uint32_t *>(p);
    v->w[0] = words[0];
    v->w[1] = words[1];
}
static __device__ __forceinline__ void store_unit(char *p, vec16 v) {
    store16(p, v);
}
static __device__ __forceinline__ void store_unit(char *p, vec8 v) {
    uint32_t *words = reinterpret_cast<uint32_t *>(p);
    words[0] = v.w[0];
    words[1] = v.w[1];
}

template <class U> static __device__ __forceinline__ uint64_t weighted(U v, uint64_t word) {
    uint64_t sum = 0;
#pragma unroll
    for (uint32_t i = 0; i < sizeof(U) / 8; i++)
        sum += (v.w[2 * i] | (uint64_t)v.w[2 * i + 1] << 32) * mix_weight(word + i);
    return sum;
}

/* Where unit `u` of the wire lies in the pages. */
static __device__ __forceinline__ uint64_t unit_in_pages(const kv_course *c, uint32_t u) {
    uint32_t page, in_run;
    if (u < c->full_units) {
        page = u / c->run_units;
        in_run = u - page * c->run_units;
    } else {
        uint32_t rest = u - c->full_units, tile = rest / c->last_units;
        page = c->last_page;
        in_run = tile * c->tile_units + (rest - tile * c->last_units);
    }
    if (c->skip_units) in_run += in_run / c->group_units * c->skip_units;
    return c->pages[page] * c->page_units + c->first_units + in_run;
}

/* Adds the block's sum to *total, once. */
static __device__ __forceinline__ void add_block_sum(unsigned long long sum, unsigned long long *total) {
    unsigned long long *warps =
        reinterpret_cast<unsigned long long *>(shared_memory()); /* [KV_COPY_THREADS / 32] */
    for (int m = 16; m > 0; m >>= 1) sum += warp_get_xor(sum, m);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
    block_sync();
    if (threadIdx.x > 0) return;
    for (uint32_t w = 1; w < KV_COPY_THREADS / 32; w++) sum += warps[w];
    atomic_add(total, sum);
}

template <class U, bool to_wire>
static __global__ void __launch_bounds__(KV_COPY_THREADS) kv_copy_kernel(kv_course c) {
    unsigned long long sum = 0;
    uint64_t step = (uint64_t)gridDim.x * KV_COPY_THREADS * KV_COPY_DEPTH;
    for (uint64_t base = (uint64_t)blockIdx.x * KV_COPY_THREADS * KV_COPY_DEPTH; base < c.units;
         base += step) {
        U v[KV_COPY_DEPTH];
        uint64_t to[KV_COPY_DEPTH];
#pragma unroll
        for (uint32_t j = 0; j < KV_COPY_DEPTH; j++) {
            uint64_t u = base + j * KV_COPY_THREADS + threadIdx.x;
            if (u >= c.units) continue;
            uint64_t in_pages = unit_in_pages(&c, (uint32_t)u);
            load_unit(&v[j], to_wire ? c.kv + in_pages * sizeof(U) : c.wire + u * sizeof(U));
            to[j] = to_wire ? u : in_pages;
        }
#pragma unroll
        for (uint32_t j = 0; j < KV_COPY_DEPTH; j++) {
            uint64_t u = base + j * KV_COPY_THREADS + threadIdx.x;
            if (u >= c.units) continue;
            store_unit((to_wire ? c.wire : c.kv) + to[j] * sizeof(U), v[j]);
            sum += weighted(v[j], c.word_begin + u * (sizeof(U) / 8));
        }
    }
    add_block_sum(sum, c.sum);
}

/* False when the piece cannot be copied in units of `unit` bytes: a row or the wire does not fit them, or 32
 * bits do not count them. */
static bool plan(const kv_copy_args *a, uint32_t unit, kv_course *c) {
    uint64_t row_bytes = (uint64_t)a->head_dim * a->elem_bytes, layer_tiles = (uint64_t)2 * a->kv_heads;
    const kv_piece *p = &a->piece;
    uint32_t heads = p->head_end - p->head_begin;
    if (row_bytes % unit != 0 || (uintptr_t)a->wire % unit != 0 || (uintptr_t)a->kv % unit != 0) return false;
    uint64_t row_units = row_bytes / unit, tile_units = row_units * KV_PAGE_TOKENS;
    uint64_t run_tiles = (uint64_t)2 * heads * (p->layer_end - p->layer_begin);
    uint64_t units = p->token_count * row_units * run_tiles;
    uint32_t full_pages = p->token_count / KV_PAGE_TOKENS, valid = p->token_count % KV_PAGE_TOKENS;
    uint64_t page_units = a->layers * layer_tiles * tile_units;
    if (units > UINT32_MAX || page_units > UINT32_MAX) return false;
    c->kv = static_cast<char *>(a->kv);
    c->wire = static_cast<char *>(a->wire);
    c->pages = a->pages + p->token_begin / KV_PAGE_TOKENS;
    c->page_units = page_units;
    c->first_units = (p->layer_begin * layer_tiles + p->head_begin) * tile_units;
    c->group_units = (uint32_t)(heads * tile_units);
    c->skip_units = (uint32_t)((a->kv_heads - heads) * tile_units);
    c->run_units = (uint32_t)(run_tiles * tile_units);
    c->full_units = (uint32_t)(full_pages * run_tiles * tile_units);
    c->tile_units = (uint32_t)tile_units;
    c->last_units = (uint32_t)(valid ? valid * row_units : tile_units);
    c->last_page = full_pages;
    c->units = (uint32_t)units;
    c->word_begin = a->word_begin;
    c->sum = a->sum;
    return true;
}

template <bool to_wire> static cudaError_t launch_copy(const kv_copy_args *a, cudaStream_t stream) {
    const kv_piece *p = &a->piece;
    if (p->token_begin % KV_PAGE_TOKENS != 0 || p->layer_begin > p->layer_end || p->layer_end > a->layers)
        return cudaErrorInvalidValue;
    if (p->head_begin >= p->head_end || p->head_end > a->kv_heads) return cudaErrorInvalidValue;
    kv_course c;
    bool wide = plan(a, sizeof(vec16), &c);
    if (!wide && !plan(a, sizeof(vec8), &c)) return cudaErrorInvalidValue;
    if (c.units == 0) return cudaSuccess;
    uint32_t blocks = (c.units - 1) / (KV_COPY_THREADS * KV_COPY_DEPTH) + 1;
    dim3 grid(blocks < KV_COPY_BLOCKS_MAX ? blocks : KV_COPY_BLOCKS_MAX);
    size_t shared_bytes = KV_COPY_THREADS / 32 * sizeof(unsigned long long);
    if (wide)
        return launch_kernel(kv_copy_kernel<vec16, to_wire>, grid, KV_COPY_THREADS, shared_bytes, stream, c);
    return launch_kernel(kv_copy_kernel<vec8, to_wire>, grid, KV_COPY_THREADS, shared_bytes, stream, c);
}

cudaError_t launch_kv_gather(const kv_copy_args *a, cudaStream_t stream) {
    return launch_copy<true>(a, stream);
}

cudaError_t launch_kv_scatter(const kv_copy_args *a, cudaStream_t stream) {
    return launch_copy<false>(a, stream);
}
