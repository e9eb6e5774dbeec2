/* linear - speed of the matrix products of Llama-3.1-8B for 1 to 2,048 rows: our own kernel, the one
 * that it would be without clusters of blocks, cuBLASLt with the fastest algorithm for the number of rows,
 * and with the one that deterministic mode has for prompts.
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
    const char *mode;
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
    bench_figure f = {.mode = j->mode};
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

/* Of cuBLASLt. */
typedef struct libraries {
    gemm_lt *timed, *fixed;
} libraries;

/* Has the algorithm chosen with the most rows; false where there is none that keeps a row's bits, or where
 * prompts never go through the shape. */
static bool fixed_serves(linear_job *j, gemm_lt *fixed, uint32_t most) {
    errbuf eb = {0};
    if (j->a.mode == LINEAR_F32) return false;
    j->a.rows = most;
    j->a.w = j->w[0];
    if (gemm_lt_linear(fixed, &j->a, &eb) == ST_OK) return true;
    fprintf(stderr, "gpu_bench: %s\n", eb.text);
    return false;
}

static void shape_cases(bench *b, const libraries *l, const shape *s) {
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
    const struct {
        const char *mode;
        gemm_lt *lt;
        bool is_there, no_cluster;
    } ways[] = {{"own", NULL, true, false},
                {"own_no_cluster", NULL, true, true},
                {"gemm_lt", l->timed, true, false},
                {"gemm_fixed", l->fixed, room && fixed_serves(&j, l->fixed, most), false}};
    for (size_t i = 0; i < ARRAY_LEN(rows) && rows[i] <= most && room; i++)
        for (size_t w = 0; w < ARRAY_LEN(ways); w++) {
            j.mode = ways[w].mode;
            j.lt = ways[w].lt;
            j.a.rows = rows[i];
            j.a.no_cluster = false;
            const bool differs = !ways[w].no_cluster || linear_in_clusters(&j.a);
            j.a.no_cluster = ways[w].no_cluster;
            if (ways[w].is_there && differs) linear_case(b, &j, s, rows[i]);
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
    libraries l = {0};
    errbuf eb = {0};
    if (gemm_lt_new(&l.timed, GEMM_LT_TIMED, b->stream, &eb) != ST_OK ||
        gemm_lt_new(&l.fixed, GEMM_LT_FIXED, b->stream, &eb) != ST_OK) {
        fprintf(stderr, "gpu_bench: %s\n", eb.text);
        bench_ok(b, "linear", "gemm_lt", cudaErrorUnknown);
        gemm_lt_free(l.timed);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(shapes) && !b->tiny; i++) shape_cases(b, &l, &shapes[i]);
    for (size_t i = 0; i < ARRAY_LEN(tiny) && b->tiny; i++) shape_cases(b, &l, &tiny[i]);
    gemm_lt_free(l.timed);
    gemm_lt_free(l.fixed);
}
