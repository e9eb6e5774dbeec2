/* linear - speed of the matrix products of Llama-3.1-8B for 1 to 2,048 rows: our own kernel (`own`), the one
 * that it would be without clusters of blocks, where it uses them (`own_no_cluster`), and cuBLASLt
 * (`gemm_lt`).
 *
 * Up to 64 rows the weights are most of the traffic, so the figure is TB/s of what must be read and written;
 * above, it is TFLOP/s. */
#include "base/mem.h"
#include "bench/gpu/cases.h"
#include "kernels/cuda/gemm_lt.h"

#include <stdio.h>

enum { SETS_MAX = 16 };

typedef struct shape {
    const char *name;
    uint32_t n, k;
    linear_out mode;
} shape;

typedef struct linear_job {
    gemm_lt *lt; /* NULL: our own kernel */
    linear_args a;
    void *w[SETS_MAX];
    uint32_t sets;
} linear_job;

static cudaError_t linear(void *ctx, uint32_t turn, cudaStream_t stream) {
    linear_job *j = ctx;
    j->a.w = j->w[turn];
    if (!j->lt) return launch_linear(&j->a, stream);
    errbuf eb = {0};
    if (gemm_lt_linear(j->lt, &j->a, &eb) == ST_OK) return cudaSuccess;
    fprintf(stderr, "gpu_bench: %s\n", eb.text);
    return cudaErrorUnknown;
}

static void linear_case(bench *b, linear_job *j, const shape *s, uint32_t rows) {
    bench_figure f = {.mode = j->lt ? "gemm_lt" : j->a.no_cluster ? "own_no_cluster" : "own"};
    snprintf(f.key, sizeof f.key, "linear %s %ux%u rows %u", s->name, s->n, s->k, rows);
    j->a.rows = rows;
    if (!bench_ok(b, f.key, f.mode, bench_measure(b, linear, j, j->sets, &f.time))) return;
    double out_bytes = s->mode == LINEAR_F32 ? 4.0 : 2.0;
    double bytes = 2.0 * s->n * s->k + 2.0 * rows * s->k + out_bytes * rows * s->n,
           flops = 2.0 * rows * s->n * s->k;
    bool memory = rows <= 64;
    f.unit = memory ? "TB/s" : "TFLOP/s";
    f.ceiling = memory ? "copy" : "gemm";
    f.value = (memory ? bytes : flops) / f.time.us / 1e6;
    bench_print(&f);
}

static void shape_cases(bench *b, gemm_lt *lt, const shape *s) {
    static const uint32_t rows[] = {1, 2, 4, 8, 16, 17, 32, 64, 128, 256, 512, 2048};
    uint32_t most = b->tiny                 ? 32
                    : s->mode == LINEAR_F32 ? 64
                                            : 2048; /* the output head sees one row per sequence */
    linear_job j = {.a = {.type = NUM_BF16, .n = s->n, .k = s->k, .mode = s->mode}};
    j.sets = bench_sets(b, (size_t)2 * s->n * s->k, SETS_MAX);
    void *x = bench_random(b, (size_t)most * s->k, 21);
    j.a.x = x;
    j.a.out = bench_random(b, (size_t)2 * most * s->n, 22); /* room for f32 */
    bool room = x && j.a.out;
    for (uint32_t i = 0; i < j.sets && room; i++)
        room = (j.w[i] = bench_random(b, (size_t)s->n * s->k, 23 + i)) != NULL;
    if (!room) bench_ok(b, s->name, "", cudaErrorMemoryAllocation);
    for (size_t i = 0; i < ARRAY_LEN(rows) && rows[i] <= most && room; i++) {
        j.lt = NULL;
        linear_case(b, &j, s, rows[i]);
        if (linear_in_clusters(&j.a)) {
            j.a.no_cluster = true;
            linear_case(b, &j, s, rows[i]);
            j.a.no_cluster = false;
        }
        j.lt = lt;
        linear_case(b, &j, s, rows[i]);
    }
    for (uint32_t i = 0; i < j.sets; i++) cudaFree(j.w[i]);
    cudaFree(x);
    cudaFree(j.a.out);
}

void bench_linear(bench *b) {
    static const shape shapes[] = {{"qkv", 6144, 4096, LINEAR_ACT},
                                   {"o", 4096, 4096, LINEAR_ACT},
                                   {"gate_up", 28672, 4096, LINEAR_ACT},
                                   {"down", 4096, 14336, LINEAR_ACT},
                                   {"head", 128256, 4096, LINEAR_F32}};
    static const shape tiny[] = {{"tiny", 48, 64, LINEAR_ACT}, {"tiny head", 40, 64, LINEAR_F32}};
    gemm_lt *lt = NULL;
    errbuf eb = {0};
    if (gemm_lt_new(&lt, b->stream, &eb) != ST_OK) {
        fprintf(stderr, "gpu_bench: %s\n", eb.text);
        bench_ok(b, "linear", "gemm_lt", cudaErrorUnknown);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(shapes) && !b->tiny; i++) shape_cases(b, lt, &shapes[i]);
    for (size_t i = 0; i < ARRAY_LEN(tiny) && b->tiny; i++) shape_cases(b, lt, &tiny[i]);
    gemm_lt_free(lt);
}
