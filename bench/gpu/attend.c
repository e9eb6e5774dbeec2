/* attend - speed of prefill and decode attention at the head counts of Llama-3.1-8B (32 query heads, 8 KV
 * heads, 128).
 *
 * Pages are shuffled. Prefill counts 4 * heads * head_dim * seq^2 / 2 operations per sequence (causal).
 * Decode counts the keys and values that the sequences own, once: the queries of a group share them. Layers
 * rotate: each turn attends in another layer of the same pages, as a model does. */
#include "base/mem.h"
#include "bench/gpu/cases.h"
#include "kernels/cuda/decode_plan.h"
#include "kv/kv_layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS_MAX = 128, MAX_CONTEXT = 32768 };

typedef struct scene { /* one launch's arguments and all memory behind them */
    attend_args a;
    void *tables; /* device */
    uint32_t tile_count;
    uint32_t grid;
} scene;

/* --- building a scene --- */

typedef struct tables { /* host side, in the order of the device block */
    char *host;
    size_t bytes, capacity;
} tables;

/* Appends a table, 256-byte aligned, and returns its offset. */
static size_t add(tables *t, const void *data, size_t bytes) {
    size_t at = (t->bytes + 255) / 256 * 256;
    if (at + bytes > t->capacity) {
        t->capacity = 2 * (at + bytes);
        t->host = xrealloc(t->host, t->capacity, 1);
    }
    memcpy(t->host + at, data, bytes);
    t->bytes = at + bytes;
    return at;
}

static void shuffle(uint32_t *ids, uint32_t count) {
    uint64_t state = 7;
    for (uint32_t i = 0; i < count; i++) ids[i] = i;
    for (uint32_t i = count; i > 1; i--) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint32_t j = (uint32_t)((state >> 33) % i), keep = ids[i - 1];
        ids[i - 1] = ids[j];
        ids[j] = keep;
    }
}

/* Tiles of prompts of `seq` tokens, those with more keys first, as a step of the product has them. */
static uint32_t list_tiles(uint32_t batch, uint32_t seq, prefill_tile *out) {
    uint32_t per_seq = (seq + PREFILL_TILE_ROWS - 1) / PREFILL_TILE_ROWS, count = 0;
    for (uint32_t t = per_seq; t-- > 0;)
        for (uint32_t s = 0; s < batch; s++)
            out[count++] = (prefill_tile){.row = s * seq + t * PREFILL_TILE_ROWS,
                                          .count = MIN(PREFILL_TILE_ROWS, seq - t * PREFILL_TILE_ROWS)};
    return count;
}

/* One row at the end of each sequence (decode) or all rows (prefill). */
static cudaError_t make_tables(scene *s, uint32_t batch, uint32_t ctx, bool decode, const decode_plan *p) {
    uint32_t per_seq = kv_pages_for(ctx), page_count = batch * per_seq, rows = decode ? batch : batch * ctx;
    uint32_t *pages = xcalloc(page_count, sizeof *pages), *pos = xcalloc(rows, sizeof *pos),
             *row_pages = xcalloc(rows, sizeof *row_pages);
    int32_t *ids = xcalloc(rows, sizeof *ids);
    shuffle(pages, page_count);
    for (uint32_t r = 0; r < rows; r++) {
        pos[r] = decode ? ctx - 1 : r % ctx;
        row_pages[r] = (decode ? r : r / ctx) * per_seq;
    }
    uint32_t split = decode ? decode_plan_split(p, (uint64_t)rows * ctx) : 0, item_count = 0;
    uint32_t items_max = decode ? rows * decode_plan_row_items(ctx, split) : 1;
    decode_item *items = xcalloc(items_max, sizeof *items);
    for (uint32_t r = 0; decode && r < rows; r++)
        item_count += decode_plan_row(r, ctx, split, items + item_count);
    prefill_tile *tiles = xcalloc(rows, sizeof *tiles);
    if (!decode) s->tile_count = list_tiles(batch, ctx, tiles);

    tables t = {0};
    const step_header header = {.rows = rows, .items = item_count};
    const size_t at[] = {add(&t, &header, sizeof header),
                         add(&t, ids, rows * sizeof *ids),
                         add(&t, pos, rows * sizeof *pos),
                         add(&t, row_pages, rows * sizeof *row_pages),
                         add(&t, pages, page_count * sizeof *pages),
                         add(&t, tiles, rows * sizeof *tiles),
                         add(&t, items, items_max * sizeof *items)};
    cudaError_t e = cudaMalloc(&s->tables, t.bytes);
    if (e == cudaSuccess) e = cudaMemcpy(s->tables, t.host, t.bytes, cudaMemcpyHostToDevice);
    const char *dev = s->tables;
    if (e == cudaSuccess)
        s->a.t = (step_tables){.header = (const step_header *)(dev + at[0]),
                               .ids = (const int32_t *)(dev + at[1]),
                               .pos = (const uint32_t *)(dev + at[2]),
                               .row_pages = (const uint32_t *)(dev + at[3]),
                               .pages = (const uint32_t *)(dev + at[4]),
                               .tiles = (const prefill_tile *)(dev + at[5]),
                               .items = (const decode_item *)(dev + at[6])};
    s->a.rows = rows;
    if (decode) s->grid = MIN(item_count, rows + p->fill);
    size_t partial = (size_t)item_count * s->a.heads * (s->a.head_dim + 2) * sizeof(float);
    size_t counters = (size_t)item_count * s->a.kv_heads * sizeof(uint32_t);
    if (e == cudaSuccess && decode) e = cudaMalloc((void **)&s->a.partials, partial);
    if (e == cudaSuccess && decode) e = cudaMalloc((void **)&s->a.counters, counters);
    if (e == cudaSuccess && decode) e = cudaMemset(s->a.counters, 0, counters);
    free(t.host);
    free(pages);
    free(pos);
    free(row_pages);
    free(ids);
    free(items);
    free(tiles);
    return e;
}

static void scene_done(scene *s) {
    cudaFree(s->tables);
    cudaFree(s->a.kv);
    cudaFree(s->a.qkv);
    cudaFree(s->a.out);
    cudaFree((void *)s->a.rope);
    cudaFree(s->a.partials);
    cudaFree(s->a.counters);
    *s = (scene){0};
}

static uint32_t kv_heads(const bench *b) {
    return b->tiny ? 1 : 8;
}

static uint32_t head_dim(const bench *b) {
    return b->tiny ? 64 : 128;
}

/* Of the pages of one layer. */
static size_t layer_bytes(const bench *b, uint32_t batch, uint32_t ctx) {
    const kv_layout one = {.type = DT_BF16, .layers = 1, .kv_heads = kv_heads(b), .head_dim = head_dim(b)};
    return (size_t)batch * kv_pages_for(ctx) * kv_page_bytes(&one);
}

static cudaError_t scene_init(bench *b, scene *s, uint32_t batch, uint32_t ctx, bool decode,
                              const decode_plan *p) {
    *s = (scene){.a = {.type = NUM_BF16, .kv_heads = kv_heads(b), .heads = 4 * kv_heads(b)}};
    s->a.head_dim = s->a.rope_dim = head_dim(b);
    s->a.scale = b->tiny ? 0.125f : 0.08838834764f;
    size_t q_dim = (size_t)s->a.heads * s->a.head_dim,
           qkv_dim = q_dim + 2 * (size_t)s->a.kv_heads * s->a.head_dim;
    size_t live = layer_bytes(b, batch, ctx);
    s->a.layers = bench_sets(b, live, LAYERS_MAX); /* to rotate over */
    cudaError_t e = make_tables(s, batch, ctx, decode, p);
    if (e != cudaSuccess) return e;
    s->a.kv = bench_random(b, live * s->a.layers / 2, 11);
    s->a.qkv = bench_random(b, s->a.rows * qkv_dim, 12);
    s->a.out = bench_random(b, s->a.rows * q_dim, 13);
    float *rope = NULL;
    e = s->a.kv && s->a.qkv && s->a.out ? cudaSuccess : cudaErrorMemoryAllocation;
    if (e == cudaSuccess) e = cudaMalloc((void **)&rope, (size_t)ctx * s->a.rope_dim * sizeof *rope);
    s->a.rope = rope;
    if (e == cudaSuccess) e = launch_rope_table(rope, ctx, s->a.rope_dim, 500000.0, NULL, 1, b->stream);
    if (e == cudaSuccess) e = cudaStreamSynchronize(b->stream);
    return e;
}

/* --- prefill --- */

static cudaError_t prefill(void *ctx, uint32_t turn, cudaStream_t stream) {
    scene *s = ctx;
    s->a.layer = turn;
    return launch_attend_prefill(&s->a, 0, s->tile_count, stream);
}

static void prefill_case(bench *b, uint32_t batch, uint32_t seq) {
    scene s;
    bench_figure f = {.mode = "default", .unit = "TFLOP/s", .ceiling = "gemm"};
    snprintf(f.key, sizeof f.key, "attend_prefill causal d128 32/8 batch %u seq %u", batch, seq);
    cudaError_t e = scene_init(b, &s, batch, seq, false, NULL);
    if (e == cudaSuccess) e = bench_measure(b, prefill, &s, s.a.layers, &f.time);
    if (bench_ok(b, f.key, f.mode, e)) {
        f.value = 2.0 * batch * s.a.heads * s.a.head_dim * seq * seq / f.time.us / 1e6;
        bench_print(&f);
    }
    scene_done(&s);
}

void bench_prefill(bench *b) {
    static const uint32_t seqs[] = {512, 2048, 8192, 16384}; /* batch times seq is 16 ki */
    if (b->tiny) {
        prefill_case(b, 2, 40);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(seqs); i++) prefill_case(b, 16384 / seqs[i], seqs[i]);
}

/* --- decode --- */

static cudaError_t decode(void *ctx, uint32_t turn, cudaStream_t stream) {
    scene *s = ctx;
    s->a.layer = turn;
    return launch_attend_decode(&s->a, 0, UINT32_MAX, s->grid, true, stream);
}

static void decode_case(bench *b, uint32_t batch, uint32_t ctx, bool deterministic) {
    scene s;
    bench_figure f = {.mode = deterministic ? "deterministic" : "default", .unit = "TB/s", .ceiling = "copy"};
    snprintf(f.key, sizeof f.key, "attend_decode d128 32/8 batch %u ctx %u", batch, ctx);
    decode_plan p = decode_plan_make(deterministic, b->tiny ? 1024 : MAX_CONTEXT, b->sm_count, kv_heads(b));
    if (!bench_room(b, f.key, f.mode, layer_bytes(b, batch, ctx)))
        return; /* more than one layer only if it is small */
    cudaError_t e = scene_init(b, &s, batch, ctx, true, &p);
    if (e == cudaSuccess) e = bench_measure(b, decode, &s, s.a.layers, &f.time);
    if (bench_ok(b, f.key, f.mode, e)) {
        f.value = 4.0 * batch * ctx * s.a.kv_heads * s.a.head_dim / f.time.us / 1e6;
        bench_print(&f);
    }
    scene_done(&s);
}

void bench_decode(bench *b) {
    static const uint32_t batches[] = {1, 8, 64, 256}, contexts[] = {512, 4096, 32768};
    if (b->tiny) {
        decode_case(b, 2, 600, false);
        decode_case(b, 2, 600, true);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(batches); i++) {
        for (size_t j = 0; j < ARRAY_LEN(contexts); j++) {
            decode_case(b, batches[i], contexts[j], false);
            decode_case(b, batches[i], contexts[j], true);
        }
    }
}
