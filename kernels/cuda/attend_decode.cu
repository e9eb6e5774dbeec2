/* attend_decode - attention of generated rows over paged keys and values, split along the keys:
 * Flash-Decoding (Dao et al. 2023), with the query heads of a group packed together as FlashInfer does (Ye
 * et al. 2025, section 3.2).
 *
 * One new row has so little arithmetic that time is the reading of K and V. So a block serves a decode_item
 * (a range of the row's keys) and one KV head: all query heads that share the head (1 to 16) are the 16 rows
 * of one matrix fragment, and K and V are read once. Rows of the fragment beyond the group are zeros, which
 * cost nothing that matters.
 *
 *   shared memory (head size 128)   Q 4 KB | ring of 3 stages, each the K and V of 64 keys = 32 KB
 *   warp w of 4                     page w of each tile of 64 keys
 *
 * Two blocks fit on an SM of 227 KB, with two stages each on their way: 128 KB. A page of one head is
 * contiguous, so a warp copies whole 4 KB runs; and since it alone reads what it copied, the warps run
 * through their pages without a barrier of the block: copy_wait and warp_sync are enough among the lanes of
 * one warp. Which keys a warp has depends on their positions only. At the end the four partial results
 * (largest score, total weight, weighted sum) are merged in the order of the warps, through shared memory
 * that was the ring.
 *
 * If the row is one split that is the result. Otherwise the block writes it to `partials`, and the block
 * that arrives last (a counter at the row's first item and KV head) merges the splits in ascending order and
 * sets the counter back to zero: whoever is last, the bits are the same. Slots of partials and counters are
 * counted from the launch's first item; a launch never begins or ends within a row.
 *
 * With rope = true the block also does the work of rope_kv (rope.cu) for its part of the row, by the same
 * functions: it rotates its group's q on the way to shared memory; if its keys include the newest one, it
 * rotates k and writes k and v to their page before anything reads that page. Other items of the row do not
 * reach that far.
 *
 * `units` is the kernel for models like Llama; the other one knows norms of q and k, rotation of halves
 * (heads are made by a warp each, through shared memory), and windows. Tables know no window, since layers of
 * one step have unlike ones: an item whose keys are all out of the window is left out, and the rest of the
 * row's count as its splits. Tiles stay aligned to position 0. */
#include "kernels/cuda/attend.cuh"

enum {
    DECODE_WARPS = 4, /* pages of a tile */
    DECODE_THREADS = DECODE_WARPS * 32,
    DECODE_HEADS = 16, /* query heads of a group, at most: rows of a fragment */
    DECODE_N = KV_PAGE_TOKENS / 8,
    DECODE_BATCH = 8, /* splits whose results are read at a time */
};
static_assert(DECODE_WARPS * KV_PAGE_TOKENS == DECODE_TILE_KEYS, "a warp has one page of each tile");

template <int HD> struct decode_shape {
    enum {
        PAGE = KV_PAGE_TOKENS * HD * 2, /* bytes of a page's K or V of one head */
        STAGES = HD == 128 ? 3 : 4,
        Q = DECODE_HEADS * HD * 2,
        RING = STAGES * DECODE_WARPS * 2 * PAGE,
        PART = HD + 2, /* floats of a partial result of one query head: sums, largest score, total weight */
        BYTES = Q + RING + 16,
        HEADS = DECODE_WARPS * HD * 4, /* a head in fp32 for each warp, behind all that; not for `units` */
    };
    static_assert(DECODE_WARPS * DECODE_HEADS * PART * 4 <= RING,
                  "the ring has room for the warps' partial results");
};

/* A block's work. */
struct decode_task {
    decode_item item;
    uint32_t slot; /* of partials and counters */
    uint32_t from; /* keys before it are out of the window */
    uint32_t pos, kv_head, group, tiles;
    head_pages head;
    const uint32_t *pages;
};

/* --- reading --- */

/* Starts the copy of the warp's page of tile `tile` into its place of the ring, if there is such a tile.
 * `id`: lane l holds the id of the warp's page of tile l of the 32 that `tile` is among; it is looked up here
 * at each 32nd. */
template <int HD>
static __device__ __forceinline__ void fetch_keys(char *ring, const decode_task &task, uint32_t tile,
                                                  uint32_t *id) {
    typedef decode_shape<HD> shape;
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (tile < task.tiles) {
        if (tile % 32 == 0) {
            uint32_t key = task.item.begin + (tile + lane) * DECODE_TILE_KEYS + warp * KV_PAGE_TOKENS;
            *id = key < task.item.end ? task.pages[key / KV_PAGE_TOKENS] : 0;
        }
        const uint32_t page = warp_get(*id, (int)(tile % 32));
        const uint32_t key = task.item.begin + tile * DECODE_TILE_KEYS + warp * KV_PAGE_TOKENS;
        const uint32_t valid = keys_before(task.item.end, key, KV_PAGE_TOKENS);
        char *to = ring + (tile % shape::STAGES * DECODE_WARPS + warp) * 2 * shape::PAGE;
        for (uint32_t is_v = 0; is_v < 2; is_v++)
            fetch_page<HD, 32>(to + is_v * shape::PAGE, 0, page_of(task.head, page, is_v), valid, lane);
    }
    copy_commit();
}

/* The group's query heads into shared memory, rotated if that was not done; the rows after them become zeros.
 */
template <class T, int HD>
static __device__ __forceinline__ void load_queries(char *q, const attend_args &a, const decode_task &task,
                                                    bool rope) {
    constexpr uint32_t chunks = HD / 8;
    const T *from = static_cast<const T *>(a.qkv) + qkv_head(a, task.item.row, task.kv_head * task.group);
    for (uint32_t at = threadIdx.x; at < DECODE_HEADS * chunks; at += DECODE_THREADS) {
        uint32_t head = at / chunks, chunk = at % chunks;
        vec16 unit = {{0, 0, 0, 0}};
        if (head < task.group) {
            unit = load16(from + at * 8);
            if (rope) rope_rotate_unit<T>(&unit, a, task.pos, chunk * 4);
        }
        store16(q + swizzled<HD>(head, chunk), unit);
    }
}

/* Eight numbers of a head that make_head made. */
template <class T> static __device__ __forceinline__ vec16 packed_chunk(const float *head, uint32_t chunk) {
    vec16 unit;
#pragma unroll
    for (uint32_t i = 0; i < 4; i++)
        unit.w[i] = pack2(head[chunk * 8 + 2 * i], head[chunk * 8 + 2 * i + 1], T());
    return unit;
}

/* load_queries where a head has to be made as a whole: a warp has a head at a time, in `heads`. */
template <class T, int HD>
static __device__ __forceinline__ void make_queries(char *q, float *heads, const attend_args &a,
                                                    const decode_task &task) {
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const T *from = static_cast<const T *>(a.qkv) + qkv_head(a, task.item.row, task.kv_head * task.group);
    float *mine = heads + warp * HD;
    for (uint32_t head = warp; head < DECODE_HEADS; head += DECODE_WARPS) {
        vec16 unit = {{0, 0, 0, 0}};
        if (head < task.group) {
            make_head(mine, from + head * HD, a, a.q_norm, task.pos);
            if (lane < HD / 8) unit = packed_chunk<T>(mine, lane);
        }
        if (lane < HD / 8) store16(q + swizzled<HD>(head, lane), unit);
    }
}

/* Likewise put_newest: the first warp makes and writes k, the second one writes v. */
template <class T, int HD>
static __device__ __forceinline__ void make_newest(float *heads, const attend_args &a,
                                                   const decode_task &task) {
    const uint32_t is_v = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (is_v > 1) return;
    const T *from = static_cast<const T *>(a.qkv) +
                    qkv_head(a, task.item.row, a.heads + is_v * a.kv_heads + task.kv_head);
    if (!is_v) make_head(heads, from, a, a.k_norm, task.pos);
    if (lane >= HD / 8) return;
    char *page = page_of(task.head, task.pages[task.pos / KV_PAGE_TOKENS], is_v);
    store16(page + (task.pos % KV_PAGE_TOKENS * (HD / 8) + lane) * 16,
            is_v ? load16(from + lane * 8) : packed_chunk<T>(heads, lane));
}

/* Key and value of the row itself: k rotated, both to their page. */
template <class T, int HD>
static __device__ __forceinline__ void put_newest(const attend_args &a, const decode_task &task) {
    constexpr uint32_t chunks = HD / 8;
    if (threadIdx.x >= 2 * chunks) return;
    const uint32_t is_v = threadIdx.x / chunks, chunk = threadIdx.x % chunks;
    const uint32_t head = a.heads + is_v * a.kv_heads + task.kv_head;
    vec16 unit = load16(static_cast<const T *>(a.qkv) + qkv_head(a, task.item.row, head) + chunk * 8);
    if (!is_v) rope_rotate_unit<T>(&unit, a, task.pos, chunk * 4);
    char *page = page_of(task.head, task.pages[task.pos / KV_PAGE_TOKENS], is_v);
    store16(page + (task.pos % KV_PAGE_TOKENS * chunks + chunk) * 16, unit);
}

/* --- one warp's keys --- */

/* Keys [skip, valid) of a page, at least one. */
template <class T, int HD, bool units>
static __device__ __forceinline__ void attend_page(attend_rows<HD> (&rows)[1], const char *q, const char *kv,
                                                   uint32_t skip, uint32_t valid, float scale) {
    float s[1][DECODE_N][4];
    uint32_t weights[1][DECODE_N / 2][4];
    scores<T, HD, 1, DECODE_N>(s, q, 0, kv);
    for (uint32_t n = 0; n < DECODE_N; n++)
        for (uint32_t e = 0; e < 4; e++) {
            const uint32_t key = 8 * n + threadIdx.x % 4 * 2 + e % 2;
            if (key >= valid || (!units && key < skip)) s[0][n][e] = -INFINITY;
        }
    softmax_step<T, HD, DECODE_N>(rows[0], s[0], scale, weights[0]);
    add_values<T, HD, 1, DECODE_N>(rows, weights, kv + decode_shape<HD>::PAGE);
}

/* The warp's partial result, [DECODE_HEADS][PART]; only the group's rows. */
template <int HD>
static __device__ __forceinline__ void put_part(float *part, const attend_rows<HD> &rows, uint32_t group) {
    const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    for (uint32_t h = 0; h < 2; h++) {
        float total = rows.total[h];
        total += warp_get_xor(total, 1);
        total += warp_get_xor(total, 2);
        if (g + 8 * h >= group) continue;
        float *to = part + (g + 8 * h) * decode_shape<HD>::PART;
        for (uint32_t n = 0; n < HD / 8; n++)
            for (uint32_t e = 0; e < 2; e++) to[8 * n + 2 * t + e] = rows.sum[n][2 * h + e];
        if (t == 0) to[HD] = rows.top[h], to[HD + 1] = total;
    }
}

/* --- merging --- */

/* A query head, of which each lane has elements lane, lane + 32, ... */
template <int HD> struct decode_sum { float sum[HD / 32], top, total; };

/* `count` partial results of one query head, `stride` floats apart, merged by a warp in ascending order. At
 * least one has seen a key; one that has not has -infinity as its largest score and weighs nothing. fresh:
 * other blocks wrote them. Reads are begun BATCH results at a time, since they wait for L2 and the additions
 * for one another. */
template <int HD, uint32_t BATCH, bool fresh>
static __device__ __forceinline__ decode_sum<HD> merge(const float *part, size_t stride, uint32_t count,
                                                       float scale) {
    const uint32_t lane = threadIdx.x % 32;
    auto load = [](const float *p) { return fresh ? load_fresh(p) : *p; };
    decode_sum<HD> all = {{}, -INFINITY, 0.0f};
    for (uint32_t i = lane; i < count; i += 32) all.top = fmaxf(all.top, load(part + i * stride + HD));
    all.top = warp_max(all.top);
    for (uint32_t begin = 0; begin < count; begin += BATCH) {
        float sum[BATCH][HD / 32], top[BATCH], total[BATCH];
#pragma unroll
        for (uint32_t i = 0; i < BATCH; i++) {
            const float *from = part + (begin + i < count ? begin + i : begin) * stride;
            top[i] = load(from + HD);
            total[i] = load(from + HD + 1);
#pragma unroll
            for (uint32_t d = 0; d < HD / 32; d++) sum[i][d] = load(from + d * 32 + lane);
        }
#pragma unroll
        for (uint32_t i = 0; i < BATCH; i++) {
            if (begin + i >= count) continue;
            const float weight = exp2_fast((top[i] - all.top) * scale);
            all.total = fma_exact(total[i], weight, all.total);
#pragma unroll
            for (uint32_t d = 0; d < HD / 32; d++) all.sum[d] = fma_exact(sum[i][d], weight, all.sum[d]);
        }
    }
    return all;
}

/* A merged head, divided by its total weight. */
template <class T, int HD> static __device__ __forceinline__ void put_head(T *out, const decode_sum<HD> &s) {
#pragma unroll
    for (uint32_t d = 0; d < HD / 32; d++)
        out[d * 32 + threadIdx.x % 32] = from_float<T>(div_exact(s.sum[d], s.total));
}
/* A merged head as the partial result of a split. */
template <int HD> static __device__ __forceinline__ void put_split(float *to, const decode_sum<HD> &s) {
    const uint32_t lane = threadIdx.x % 32;
#pragma unroll
    for (uint32_t d = 0; d < HD / 32; d++) to[d * 32 + lane] = s.sum[d];
    if (lane == 0) to[HD] = s.top, to[HD + 1] = s.total;
}

/* True in the block that arrives last of those of the row's splits. What the others wrote before is then to
 * be seen. */
static __device__ __forceinline__ bool arrive_last(uint32_t *counter, uint32_t splits, uint32_t *shared_old) {
    grid_fence();
    block_sync();
    if (threadIdx.x == 0) *shared_old = atomic_add(counter, 1u);
    block_sync();
    if (*shared_old != splits - 1) return false;
    if (threadIdx.x == 0) *counter = 0;
    grid_fence();
    return true;
}

/* The warps' partial results become the row's, or the split's and, in the last block, the row's. A warp has a
 * query head at a time. */
template <class T, int HD>
static __device__ __forceinline__ void finish(const attend_args &a, const decode_task &task,
                                              const float *parts, uint32_t *shared_old, float scale) {
    constexpr uint32_t stride = decode_shape<HD>::PART;
    const uint32_t warp = threadIdx.x / 32, first_head = task.kv_head * task.group, splits = task.item.splits;
    T *out = static_cast<T *>(a.out) + ((size_t)task.item.row * a.heads + first_head) * HD;
    float *own = a.partials + ((size_t)task.slot * a.heads + first_head) * stride;
    for (uint32_t head = warp; head < task.group; head += DECODE_WARPS) {
        const decode_sum<HD> s =
            merge<HD, DECODE_WARPS, false>(parts + head * stride, DECODE_HEADS * stride, DECODE_WARPS, scale);
        if (splits == 1)
            put_head<T, HD>(out + head * HD, s);
        else
            put_split<HD>(own + head * stride, s);
    }
    if (splits == 1) return;
    const uint32_t first_slot = task.slot - task.item.split;
    if (!arrive_last(a.counters + (size_t)first_slot * a.kv_heads + task.kv_head, splits, shared_old)) return;
    const float *first = a.partials + ((size_t)first_slot * a.heads + first_head) * stride;
    for (uint32_t head = warp; head < task.group; head += DECODE_WARPS)
        put_head<T, HD>(out + head * HD, merge<HD, DECODE_BATCH, true>(
                                             first + head * stride, (size_t)a.heads * stride, splits, scale));
}

/* --- one item --- */

template <class T, int HD, bool units>
static __device__ __forceinline__ void attend_item(const attend_args &a, const decode_task &task, bool rope) {
    typedef decode_shape<HD> shape;
    const uint32_t warp = threadIdx.x / 32;
    const float scale = a.scale * ATTEND_LOG2_E;
    char *q = shared_memory(), *ring = q + shape::Q;
    float *parts = reinterpret_cast<float *>(ring), *heads = reinterpret_cast<float *>(q + shape::BYTES);
    auto put = [&] {
        if (units)
            put_newest<T, HD>(a, task);
        else
            make_newest<T, HD>(heads, a, task);
    };
    uint32_t id = 0;

    /* Keys start to come before q is looked at, unless the newest key is among the first stages. */
    const bool newest = rope && task.item.end == task.pos + 1, at_once = task.tiles < shape::STAGES;
    if (newest && at_once) {
        put();
        block_sync();
    }
    for (uint32_t tile = 0; tile + 1 < shape::STAGES; tile++) fetch_keys<HD>(ring, task, tile, &id);
    if (newest && !at_once) put();
    if (units || !rope)
        load_queries<T, HD>(q, a, task, rope);
    else
        make_queries<T, HD>(q, heads, a, task);
    block_sync();

    attend_rows<HD> rows[1];
    attend_rows_clear<HD>(rows[0]);
    for (uint32_t tile = 0; tile < task.tiles; tile++) {
        copy_wait<shape::STAGES - 2>();
        warp_sync(); /* the warp's page is here, and the one before is no longer read */
        fetch_keys<HD>(ring, task, tile + shape::STAGES - 1, &id);
        const uint32_t key = task.item.begin + tile * DECODE_TILE_KEYS + warp * KV_PAGE_TOKENS;
        const uint32_t valid = keys_before(task.item.end, key, KV_PAGE_TOKENS);
        const char *page = ring + (tile % shape::STAGES * DECODE_WARPS + warp) * 2 * shape::PAGE;
        const uint32_t skip = units || key >= task.from ? 0 : task.from - key;
        if (skip < valid) attend_page<T, HD, units>(rows, q, page, skip, valid, scale);
    }
    copy_wait<0>();
    block_sync(); /* the ring is no longer read */
    put_part<HD>(parts + warp * DECODE_HEADS * shape::PART, rows[0], task.group);
    block_sync();
    finish<T, HD>(a, task, parts, reinterpret_cast<uint32_t *>(ring + shape::RING), scale);
    block_sync(); /* before the next item takes the memory */
}

/* Cuts what is out of the window off an item and its row; false: nothing of the item is left. All items of a
 * row but the last one are as long as the first. */
static __device__ __forceinline__ bool cut_to_window(decode_task *task, uint32_t window) {
    decode_item &item = task->item;
    const uint32_t keys = task->pos + 1;
    task->from = window != 0 && keys > window ? keys - window : 0;
    if (item.end <= task->from) return false;
    const uint32_t length = item.split == 0 ? item.end : item.begin / item.split;
    const uint32_t first = item.splits == 1 ? 0 : task->from / length;
    const uint32_t tile = task->from / DECODE_TILE_KEYS * DECODE_TILE_KEYS;
    if (item.begin < tile) item.begin = tile;
    item.split = (uint16_t)(item.split - first);
    item.splits = (uint16_t)(item.splits - first);
    return true;
}

template <class T, int HD, bool units>
static __global__ void __launch_bounds__(DECODE_THREADS, 2)
    decode_kernel(attend_args a, uint32_t begin, uint32_t count, bool rope) {
    pdl_begin();
    const uint32_t end = count == UINT32_MAX ? a.t.header->items : begin + count;
    for (uint32_t i = begin + blockIdx.x; i < end; i += gridDim.x) {
        decode_task task;
        task.item = a.t.items[i];
        task.slot = i - begin;
        task.from = 0;
        task.pos = a.t.pos[task.item.row];
        if (!units && !cut_to_window(&task, a.window)) continue;
        task.kv_head = blockIdx.y;
        task.group = a.heads / a.kv_heads;
        task.tiles = (task.item.end - task.item.begin + DECODE_TILE_KEYS - 1) / DECODE_TILE_KEYS;
        task.head = head_pages_of(a, task.kv_head, sizeof(T));
        task.pages = a.t.pages + a.t.row_pages[task.item.row];
        attend_item<T, HD, units>(a, task, rope);
    }
}

/* --- launcher --- */

template <class T, int HD>
static cudaError_t launch_decode_hd(const attend_args *a, uint32_t begin, uint32_t count, uint32_t grid,
                                    bool rope, cudaStream_t stream) {
    const bool units = attend_by_units(a) && a->window == 0;
    if (units)
        return launch_linked(decode_kernel<T, HD, true>, dim3(grid, a->kv_heads), DECODE_THREADS,
                             decode_shape<HD>::BYTES, stream, *a, begin, count, rope);
    return launch_linked(decode_kernel<T, HD, false>, dim3(grid, a->kv_heads), DECODE_THREADS,
                         decode_shape<HD>::BYTES + decode_shape<HD>::HEADS, stream, *a, begin, count, rope);
}

template <class T>
static cudaError_t launch_decode(const attend_args *a, uint32_t begin, uint32_t count, uint32_t grid,
                                 bool rope, cudaStream_t stream) {
    switch (a->head_dim) {
    case 32:
        return launch_decode_hd<T, 32>(a, begin, count, grid, rope, stream);
    case 64:
        return launch_decode_hd<T, 64>(a, begin, count, grid, rope, stream);
    case 128:
        return launch_decode_hd<T, 128>(a, begin, count, grid, rope, stream);
    default:
        return cudaErrorInvalidValue;
    }
}

cudaError_t launch_attend_decode(const attend_args *a, uint32_t begin, uint32_t count, uint32_t grid,
                                 bool rope, cudaStream_t stream) {
    if (a->kv_heads == 0 || a->heads % a->kv_heads != 0 || a->heads / a->kv_heads > DECODE_HEADS)
        return cudaErrorInvalidValue;
    if (a->rope_dim % 2 != 0 || a->rope_dim > a->head_dim) return cudaErrorInvalidValue;
    if (count == 0 || grid == 0) return count == 0 ? cudaSuccess : cudaErrorInvalidValue;
    switch (a->type) {
    case NUM_BF16:
        return launch_decode<bf16>(a, begin, count, grid, rope, stream);
    case NUM_F16:
        return launch_decode<f16>(a, begin, count, grid, rope, stream);
    case NUM_F32: /* attend_f32.cu */
        break;
    }
    return cudaErrorInvalidValue;
}
