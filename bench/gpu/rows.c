/* rows - speed of what moves bytes: norm, silu_mul, sampling, and gather and scatter of a hand-off.
 *
 * Norm reads and writes the residual stream (f32), reads what is added to it and writes activations. Where
 * the sets of buffers together are too small to leave the L2, the figure is the time and no bandwidth.
 * Sampling is timed together with a copy that restores the logits, which it overwrites; the copy's own time
 * is taken off. */
#include "base/mem.h"
#include "bench/gpu/cases.h"
#include "kernels/cuda/launch.h"
#include "kv/kv_layout.h"

#include <stdio.h>
#include <stdlib.h>

enum { SETS_MAX = 64 };

/* --- norm and silu_mul --- */

typedef struct row_job {
    norm_args norm[SETS_MAX];
    const void *gate_up[SETS_MAX];
    void *out[SETS_MAX];
    uint32_t rows, dim;
} row_job;

static cudaError_t norm(void *ctx, uint32_t turn, cudaStream_t stream) {
    return launch_norm(&((row_job *)ctx)->norm[turn], stream);
}

static cudaError_t silu_mul(void *ctx, uint32_t turn, cudaStream_t stream) {
    row_job *j = ctx;
    const act_args a = {.type = NUM_BF16,
                        .act = ACT_SILU,
                        .gated = true,
                        .x = j->gate_up[turn],
                        .rows = j->rows,
                        .dim = j->dim,
                        .out = j->out[turn]};
    return launch_act_mul(&a, stream);
}

/* bytes: of one piece of work. */
static void print_rows(bench *b, const char *what, const row_job *j, size_t bytes, bench_work work,
                       uint32_t sets) {
    bool memory = sets * bytes >= b->rotate_bytes;
    bench_figure f = {.mode = "default", .unit = memory ? "TB/s" : "us", .ceiling = memory ? "copy" : ""};
    snprintf(f.key, sizeof f.key, "%s rows %u dim %u", what, j->rows, j->dim);
    if (!bench_ok(b, f.key, f.mode, bench_measure(b, work, (void *)j, sets, &f.time))) return;
    f.value = memory ? (double)bytes / f.time.us / 1e6 : f.time.us;
    bench_print(&f);
}

static void norm_case(bench *b, uint32_t rows, uint32_t dim) {
    row_job j = {.rows = rows, .dim = dim};
    size_t count = (size_t)rows * dim;
    uint32_t sets = bench_sets(b, 12 * count, SETS_MAX);
    float *x = NULL, *weight = NULL;
    void *delta = bench_random(b, sets * count, 31), *out = bench_random(b, sets * count, 32);
    cudaError_t e =
        delta && out ? cudaMalloc((void **)&x, sets * count * sizeof *x) : cudaErrorMemoryAllocation;
    if (e == cudaSuccess) e = cudaMalloc((void **)&weight, dim * sizeof *weight);
    /* Small numbers: each turn adds delta to x once more. */
    if (e == cudaSuccess) e = launch_random_fill(NUM_F32, x, 33, 0, sets * count, 1.0f / 256, b->stream);
    if (e == cudaSuccess) e = launch_random_fill(NUM_F32, weight, 34, 0, dim, 1.0f / 256, b->stream);
    for (uint32_t i = 0; i < sets && e == cudaSuccess; i++)
        j.norm[i] = (norm_args){.type = NUM_BF16,
                                .x = x + i * count,
                                .delta = (char *)delta + 2 * i * count,
                                .weight = weight,
                                .rows = rows,
                                .dim = dim,
                                .eps = 1e-5f,
                                .out = (char *)out + 2 * i * count};
    if (bench_ok(b, "norm", "default", e)) print_rows(b, "norm", &j, 12 * count, norm, sets);
    cudaFree(x);
    cudaFree(weight);
    cudaFree(delta);
    cudaFree(out);
}

static void silu_case(bench *b, uint32_t rows, uint32_t dim) {
    row_job j = {.rows = rows, .dim = dim};
    size_t count = (size_t)rows * dim;
    uint32_t sets = bench_sets(b, 6 * count, SETS_MAX);
    void *in = bench_random(b, 2 * sets * count, 35), *out = bench_random(b, sets * count, 36);
    for (uint32_t i = 0; i < sets; i++) {
        j.gate_up[i] = (const char *)in + 4 * i * count;
        j.out[i] = (char *)out + 2 * i * count;
    }
    if (bench_ok(b, "silu_mul", "default", in && out ? cudaSuccess : cudaErrorMemoryAllocation))
        print_rows(b, "silu_mul", &j, 6 * count, silu_mul, sets);
    cudaFree(in);
    cudaFree(out);
}

/* --- sampling --- */

typedef struct sample_job {
    float *logits, *kept; /* [batch, vocab] */
    uint32_t batch, vocab;
    sample_row *rows;
    uint32_t *seen;
    sample_token *tokens;
    bool restore_only;
} sample_job;

static cudaError_t sample(void *ctx, uint32_t turn, cudaStream_t stream) {
    const sample_job *j = ctx;
    (void)turn;
    size_t bytes = (size_t)j->batch * j->vocab * sizeof *j->logits;
    cudaError_t e = cudaMemcpyAsync(j->logits, j->kept, bytes, cudaMemcpyDeviceToDevice, stream);
    if (e != cudaSuccess || j->restore_only) return e;
    return launch_sample(j->logits, j->batch, j->vocab, j->rows, j->seen, j->tokens, stream);
}

static void sample_case(bench *b, const char *how, sample_row row, uint32_t batch, uint32_t vocab) {
    sample_job j = {.batch = batch, .vocab = vocab};
    size_t count = (size_t)batch * vocab;
    bench_figure f = {.mode = "default", .unit = "us", .ceiling = ""};
    snprintf(f.key, sizeof f.key, "sample %s batch %u vocab %u", how, batch, vocab);
    sample_row *rows = xcalloc(batch, sizeof *rows);
    for (uint32_t i = 0; i < batch; i++) {
        rows[i] = row;
        rows[i].key[0] = i;
    }
    cudaError_t e = cudaMalloc((void **)&j.logits, count * sizeof *j.logits);
    if (e == cudaSuccess) e = cudaMalloc((void **)&j.kept, count * sizeof *j.kept);
    if (e == cudaSuccess) e = cudaMalloc((void **)&j.rows, batch * sizeof *j.rows);
    if (e == cudaSuccess) e = cudaMalloc((void **)&j.seen, count * sizeof *j.seen);
    if (e == cudaSuccess) e = cudaMalloc((void **)&j.tokens, batch * sizeof *j.tokens);
    if (e == cudaSuccess) e = cudaMemset(j.seen, 0, count * sizeof *j.seen);
    if (e == cudaSuccess) e = cudaMemcpy(j.rows, rows, batch * sizeof *rows, cudaMemcpyHostToDevice);
    if (e == cudaSuccess) e = launch_random_fill(NUM_F32, j.kept, 41, 0, count, 1.0f / 32, b->stream);
    bench_time all = {0}, restore = {0};
    if (e == cudaSuccess) e = bench_measure(b, sample, &j, 1, &all);
    j.restore_only = true;
    if (e == cudaSuccess) e = bench_measure(b, sample, &j, 1, &restore);
    if (bench_ok(b, f.key, f.mode, e)) {
        f.time = (bench_time){all.us - restore.us, all.p10_us - restore.us, all.p90_us - restore.us};
        f.value = f.time.us;
        bench_print(&f);
    }
    cudaFree(j.logits);
    cudaFree(j.kept);
    cudaFree(j.rows);
    cudaFree(j.seen);
    cudaFree(j.tokens);
    free(rows);
}

/* --- hand-off --- */

typedef struct copy_job {
    kv_copy_args a;
    bool scatter;
} copy_job;

static cudaError_t kv_copy(void *ctx, uint32_t turn, cudaStream_t stream) {
    const copy_job *j = ctx;
    (void)turn; /* one segment is larger than the L2 */
    return j->scatter ? launch_kv_scatter(&j->a, stream) : launch_kv_gather(&j->a, stream);
}

static void kv_case(bench *b) {
    uint32_t tokens = b->tiny ? 40 : 2048, layers = b->tiny ? 2 : 32, heads = b->tiny ? 1 : 8,
             dim = b->tiny ? 64 : 128;
    const kv_layout l = {.type = DT_BF16, .layers = layers, .kv_heads = heads, .head_dim = dim};
    uint32_t page_count = kv_pages_for(tokens);
    size_t bytes = kv_segment_bytes(&l, tokens, layers);
    uint32_t *ids = xcalloc(page_count, sizeof *ids), *pages = NULL;
    for (uint32_t i = 0; i < page_count; i++) ids[i] = page_count - 1 - i;
    copy_job j = {.a = {.elem_bytes = 2,
                        .layers = layers,
                        .kv_heads = heads,
                        .head_dim = dim,
                        .piece = kv_piece_of(&l, 0, tokens, 0, layers)}};
    j.a.kv = bench_random(b, page_count * kv_page_bytes(&l) / 2, 51);
    j.a.wire = bench_random(b, bytes / 2, 52);
    cudaError_t e = j.a.kv && j.a.wire ? cudaMalloc((void **)&pages, page_count * sizeof *pages)
                                       : cudaErrorMemoryAllocation;
    if (e == cudaSuccess) e = cudaMemcpy(pages, ids, page_count * sizeof *ids, cudaMemcpyHostToDevice);
    if (e == cudaSuccess) e = cudaMalloc((void **)&j.a.sum, sizeof *j.a.sum);
    if (e == cudaSuccess) e = cudaMemset(j.a.sum, 0, sizeof *j.a.sum);
    j.a.pages = pages;
    for (int scatter = 0; scatter < 2; scatter++) {
        bench_figure f = {.mode = "default", .unit = "TB/s", .ceiling = "copy"};
        snprintf(f.key, sizeof f.key, "kv_%s %u tokens %u layers", scatter ? "scatter" : "gather", tokens,
                 layers);
        j.scatter = scatter;
        if (!bench_ok(b, f.key, f.mode, e != cudaSuccess ? e : bench_measure(b, kv_copy, &j, 1, &f.time)))
            continue;
        f.value = 2.0 * (double)bytes / f.time.us / 1e6;
        bench_print(&f);
    }
    cudaFree(j.a.kv);
    cudaFree(j.a.wire);
    cudaFree(j.a.sum);
    cudaFree(pages);
    free(ids);
}

void bench_rows(bench *b) {
    static const uint32_t many[] = {1, 64, 8192}, tiny[] = {3};
    const uint32_t *rows = b->tiny ? tiny : many;
    for (size_t i = 0; i < (b->tiny ? ARRAY_LEN(tiny) : ARRAY_LEN(many)); i++) {
        norm_case(b, rows[i], b->tiny ? 64 : 4096);
        silu_case(b, rows[i], b->tiny ? 64 : 14336);
    }
    uint32_t vocab = b->tiny ? 300 : 128256;
    const sample_row greedy = {.top_p = 1, .repetition = 1};
    const sample_row chain = {.temperature = 0.8f, .top_p = 0.9f, .top_k = 50, .repetition = 1};
    const sample_row drawn = {.temperature = 0.8f, .top_p = 1, .repetition = 1};
    static const uint32_t batches[] = {1, 64};
    for (size_t i = 0; i < (b->tiny ? 1 : ARRAY_LEN(batches)); i++) {
        uint32_t batch = b->tiny ? 2 : batches[i];
        sample_case(b, "greedy", greedy, batch, vocab);
        sample_case(b, "temperature", drawn, batch, vocab);
        sample_case(b, "top-k top-p", chain, batch, vocab);
    }
    kv_case(b);
}
