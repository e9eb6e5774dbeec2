/* attend_prefill - causal attention of prompt rows over paged keys and values: FlashAttention-2 (Dao 2023,
 * algorithm 1 and section 3.2).
 *
 * A block serves one prefill_tile (up to 128 consecutive rows of a sequence) and one query head. It walks
 * the sequence's keys from position 0 in tiles of 64 up to the tile's last row; the K and V of a tile are
 * four pages each, found through the page table, so that earlier chunks of a prompt, prefixes of other
 * requests and this chunk look the same.
 *
 *   shared memory (head size 128)   Q 32 KB | K 16 KB | V 16 KB
 *   per tile   wait K, start V -> s = q k^T, softmax -> wait V, start next K -> sum += p v
 *
 * One of K and V is always on its way while the tensor cores work on the other: half a tile's time (about
 * 2000 cycles) is several times the latency of memory, so more stages would only cost shared memory, of
 * which two blocks must fit.
 *
 * Four warps have 32 rows each (two fragments of 16), not eight warps 16: each K and V fragment from shared
 * memory then serves two products. With 16 rows a warp reads 32 KB for 2 * 16 * 64 * 128 multiply-adds,
 * which takes shared memory (128 bytes a cycle) as long as the tensor cores need for them; with 32 rows it
 * is 40 KB, Q included, for twice the work. The price is registers: 128 of sums + 64 of scores, close to the
 * limit of 255, two blocks an SM. While a warp is in its softmax, that of the other block on the same
 * scheduler has the tensor cores.
 *
 * Masks are computed only where a tile of keys reaches past a warp's first row; a warp none of whose rows
 * sees anything of a tile leaves it out, which has the same bits as taking part (attend.cuh). Without a
 * window every row sees key 0, which is in the first tile: a maximum is finite from then on. With one
 * (`windowed`) the walk begins at the first tile that the block's first row sees any of, and masks have a
 * lower edge too.
 *
 * Order of blocks: heads vary fastest, tiles are in the order of the tables, longest first. So what runs at a
 * time are few tiles with all their heads, and the query heads that share a KV head read its pages side by
 * side, the first from memory and the others from L2. */
#include "kernels/cuda/attend.cuh"

enum {
    PREFILL_WARPS = 4,
    PREFILL_THREADS = PREFILL_WARPS * 32,
    PREFILL_WARP_ROWS = PREFILL_TILE_ROWS / PREFILL_WARPS,
    PREFILL_M = PREFILL_WARP_ROWS / 16, /* fragments of rows a warp has */
    PREFILL_KEYS = 64,
    PREFILL_N = PREFILL_KEYS / 8,
    PREFILL_PAGES = PREFILL_KEYS / (int)KV_PAGE_TOKENS, /* of a tile of keys */
    PREFILL_LOOK_UP = 32 * (int)KV_PAGE_TOKENS,         /* keys of the pages that are looked up together */
};

/* The keys of one block: positions of a sequence, up to `end`. */
struct prefill_keys {
    head_pages head;
    const uint32_t *pages;
    uint32_t end;
    uint32_t id; /* lane l of each warp: id of page l of the 32 that the present tile's pages are among */
};

template <int HD> static size_t prefill_shared_bytes() {
    return (size_t)(PREFILL_TILE_ROWS + 2 * PREFILL_KEYS) * HD * 2;
}

/* Starts the copy of the tile's rows of q; those past `count` become zeros. */
template <class T, int HD>
static __device__ __forceinline__ void fetch_queries(char *to, const attend_args &a, prefill_tile tile,
                                                     uint32_t head) {
    constexpr uint32_t chunks = HD / 8;
    for (uint32_t at = threadIdx.x; at < PREFILL_TILE_ROWS * chunks; at += PREFILL_THREADS) {
        uint32_t i = at / chunks, chunk = at % chunks;
        bool valid = i < tile.count;
        const T *row = static_cast<const T *>(a.qkv) + qkv_head(a, tile.row + (valid ? i : 0), head);
        copy16_async(to + swizzled<HD>(i, chunk), row + chunk * 8, valid);
    }
}

/* Starts the copy of K or V of the tile of keys that begins at `key`. */
template <int HD>
static __device__ __forceinline__ void fetch_tile(char *to, const prefill_keys &keys, uint32_t key,
                                                  uint32_t is_v) {
    for (uint32_t p = 0; p < PREFILL_PAGES; p++) {
        uint32_t page = warp_get(keys.id, (int)((key / KV_PAGE_TOKENS + p) % 32));
        fetch_page<HD, PREFILL_THREADS>(to, p * KV_PAGE_TOKENS, page_of(keys.head, page, is_v),
                                        keys.end - key, threadIdx.x);
    }
}

/* Before K of the tile at `key` is fetched, and after V of the one before was: at each 32nd page the warp
 * looks up the next 32. Products lie between this and the use of the ids, or the warp would wait for them
 * with nothing to do. */
static __device__ __forceinline__ void look_up_pages(prefill_keys *keys, uint32_t key) {
    uint32_t page = key / KV_PAGE_TOKENS;
    if (page % 32 != 0) return;
    page += threadIdx.x % 32;
    keys->id = page * KV_PAGE_TOKENS < keys->end ? keys->pages[page] : 0;
}

/* Row i of the warp is at position pos + i and sees keys up to its own. */
static __device__ __forceinline__ void mask_later(float (&s)[PREFILL_M][PREFILL_N][4], uint32_t key,
                                                  uint32_t pos) {
    const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    for (uint32_t m = 0; m < PREFILL_M; m++)
        for (uint32_t n = 0; n < PREFILL_N; n++)
            for (uint32_t e = 0; e < 4; e++)
                if (key + 8 * n + 2 * t + e % 2 > pos + 16 * m + g + e / 2 * 8) s[m][n][e] = -INFINITY;
}

/* Row i of the warp, at position pos + i, sees no key before its last `window`. */
static __device__ __forceinline__ void mask_earlier(float (&s)[PREFILL_M][PREFILL_N][4], uint32_t key,
                                                    uint32_t pos, uint32_t window) {
    const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    for (uint32_t m = 0; m < PREFILL_M; m++)
        for (uint32_t n = 0; n < PREFILL_N; n++)
            for (uint32_t e = 0; e < 4; e++)
                if (key + 8 * n + 2 * t + e % 2 + window <= pos + 16 * m + g + e / 2 * 8)
                    s[m][n][e] = -INFINITY;
}

/* The weights of a tile's keys for the warp's rows. */
template <class T, int HD, bool windowed>
static __device__ __forceinline__ void weigh_keys(attend_rows<HD> (&rows)[PREFILL_M],
                                                  uint32_t (&weights)[PREFILL_M][PREFILL_N / 2][4],
                                                  const char *q, const char *k, uint32_t key,
                                                  uint32_t warp_pos, uint32_t window, float scale) {
    float s[PREFILL_M][PREFILL_N][4];
    scores<T, HD, PREFILL_M, PREFILL_N>(s, q, threadIdx.x / 32 * PREFILL_WARP_ROWS, k);
    if (key + PREFILL_KEYS > warp_pos + 1) mask_later(s, key, warp_pos);
    if (windowed && key + window < warp_pos + PREFILL_WARP_ROWS) mask_earlier(s, key, warp_pos, window);
    for (int m = 0; m < PREFILL_M; m++)
        softmax_step<T, HD, PREFILL_N, windowed>(rows[m], s[m], scale, weights[m]);
}

/* The warp's rows of out, through its own rows of the shared tile q, which nobody else reads. */
template <class T, int HD>
static __device__ __forceinline__ void store_rows(const attend_args &a,
                                                  const attend_rows<HD> (&rows)[PREFILL_M], char *q,
                                                  prefill_tile tile, uint32_t head) {
    const uint32_t lane = threadIdx.x % 32, first = threadIdx.x / 32 * PREFILL_WARP_ROWS;
    warp_sync(); /* the last reads of q */
    for (uint32_t m = 0; m < PREFILL_M; m++)
        for (uint32_t h = 0; h < 2; h++) {
            float total = rows[m].total[h];
            total += warp_get_xor(total, 1);
            total += warp_get_xor(total, 2);
            const float part = div_exact(1.0f, total);
            for (uint32_t n = 0; n < HD / 8; n++) {
                char *to = q + swizzled<HD>(first + 16 * m + 8 * h + lane / 4, n) + lane % 4 * 4;
                /* + 0: a sum of -0 and one of +0 differ by tiles that a row does not see. */
                *reinterpret_cast<uint32_t *>(to) =
                    pack2(fma_exact(rows[m].sum[n][2 * h], part, 0.0f),
                          fma_exact(rows[m].sum[n][2 * h + 1], part, 0.0f), T());
            }
        }
    warp_sync();
    constexpr uint32_t chunks = HD / 8;
    for (uint32_t at = lane; at < PREFILL_WARP_ROWS * chunks; at += 32) {
        uint32_t i = first + at / chunks, chunk = at % chunks;
        if (i >= tile.count) continue;
        T *to = static_cast<T *>(a.out) + ((size_t)(tile.row + i) * a.heads + head) * HD + chunk * 8;
        store16(to, load16(q + swizzled<HD>(i, chunk)));
    }
}

template <class T, int HD, bool windowed>
static __global__ void __launch_bounds__(PREFILL_THREADS, 2) prefill_kernel(attend_args a, uint32_t begin) {
    pdl_begin();
    const prefill_tile tile = a.t.tiles[begin + blockIdx.y];
    const uint32_t head = blockIdx.x, pos = a.t.pos[tile.row];
    const uint32_t warp_row = threadIdx.x / 32 * PREFILL_WARP_ROWS, warp_pos = pos + warp_row;
    const float scale = a.scale * ATTEND_LOG2_E;
    char *q = shared_memory(), *k = q + PREFILL_TILE_ROWS * HD * 2, *v = k + PREFILL_KEYS * HD * 2;
    prefill_keys keys = {head_pages_of(a, head / (a.heads / a.kv_heads), sizeof(T)),
                         a.t.pages + a.t.row_pages[tile.row], pos + tile.count, 0};

    attend_rows<HD> rows[PREFILL_M];
    for (int m = 0; m < PREFILL_M; m++) attend_rows_clear<HD>(rows[m]);
    const uint32_t first =
        windowed && pos >= a.window ? (pos + 1 - a.window) / PREFILL_KEYS * PREFILL_KEYS : 0;
    look_up_pages(&keys, first / PREFILL_LOOK_UP * PREFILL_LOOK_UP);
    fetch_queries<T, HD>(q, a, tile, head);
    fetch_tile<HD>(k, keys, first, 0);
    copy_commit();
    for (uint32_t key = first; key < keys.end; key += PREFILL_KEYS) {
        const bool sees = warp_row < tile.count && key < warp_pos + PREFILL_WARP_ROWS &&
                          (!windowed || key + PREFILL_KEYS + a.window > warp_pos + 1);
        uint32_t weights[PREFILL_M][PREFILL_N / 2][4];
        copy_wait<0>();
        block_sync(); /* K is here, and the V of the tile before is no longer read */
        fetch_tile<HD>(v, keys, key, 1);
        copy_commit();
        look_up_pages(&keys, key + PREFILL_KEYS);
        if (sees) weigh_keys<T, HD, windowed>(rows, weights, q, k, key, warp_pos, a.window, scale);
        copy_wait<0>();
        block_sync(); /* V is here, and K is no longer read */
        if (key + PREFILL_KEYS < keys.end) fetch_tile<HD>(k, keys, key + PREFILL_KEYS, 0);
        copy_commit();
        if (sees) add_values<T, HD, PREFILL_M, PREFILL_N>(rows, weights, v);
    }
    if (warp_row < tile.count) store_rows<T, HD>(a, rows, q, tile, head);
}

/* --- launcher --- */

template <class T, int HD>
static cudaError_t launch_prefill_hd(const attend_args *a, uint32_t begin, uint32_t count,
                                     cudaStream_t stream) {
    dim3 grid(a->heads, count); /* y goes to 65535: of tiles there are at most rows / 128 + sequences */
    return launch_linked(a->window != 0 ? prefill_kernel<T, HD, true> : prefill_kernel<T, HD, false>, grid,
                         PREFILL_THREADS, prefill_shared_bytes<HD>(), stream, *a, begin);
}

template <class T>
static cudaError_t launch_prefill(const attend_args *a, uint32_t begin, uint32_t count, cudaStream_t stream) {
    switch (a->head_dim) {
    case 32:
        return launch_prefill_hd<T, 32>(a, begin, count, stream);
    case 64:
        return launch_prefill_hd<T, 64>(a, begin, count, stream);
    case 128:
        return launch_prefill_hd<T, 128>(a, begin, count, stream);
    default:
        return cudaErrorInvalidValue;
    }
}

cudaError_t launch_attend_prefill(const attend_args *a, uint32_t begin, uint32_t count, cudaStream_t stream) {
    if (a->kv_heads == 0 || a->heads % a->kv_heads != 0) return cudaErrorInvalidValue;
    if (count == 0) return cudaSuccess;
    switch (a->type) {
    case NUM_BF16:
        return launch_prefill<bf16>(a, begin, count, stream);
    case NUM_F16:
        return launch_prefill<f16>(a, begin, count, stream);
    case NUM_F32: /* attend_f32.cu */
        break;
    }
    return cudaErrorInvalidValue;
}
