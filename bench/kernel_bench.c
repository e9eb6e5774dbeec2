/* kernel_bench - speed of the cpu backend's ops at the shapes of SmolLM2-135M, next to this machine's fp32
 * peak.
 *
 *   kernel_bench [isa]          "auto" by default
 *
 * Every figure is the best of several runs of at least RUN_NS. The peak is measured right before each line
 * with independent chains of multiply-adds in the widest registers, so on a machine that is shared or
 * changes its clock the ratio says more than the figure. GB/s counts the bytes of the weights (linear), or
 * of the data that is copied (kv), once. */
#include "base/clock.h"
#include "base/mem.h"
#include "kernels/backends.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/cpuid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUNS = 5, CHAINS = 12, PEAK_STEPS = 200000 };
#define RUN_NS (30 * NS_PER_MS)

/* ---- peak ---- */

#if defined(__x86_64__)
typedef float v8 __attribute__((vector_size(32)));
typedef float v16 __attribute__((vector_size(64)));

__attribute__((target("avx2,fma"))) static double peak_avx2(void) {
    v8 acc[CHAINS] = {0}, a = {0}, b = {0};
    for (int i = 0; i < PEAK_STEPS; i++) {
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; c++)
            __asm__ volatile("vfmadd231ps %1, %2, %0" : "+x"(acc[c]) : "x"(a), "x"(b));
    }
    return 2.0 * 8 * CHAINS * PEAK_STEPS;
}

__attribute__((target("avx512f"))) static double peak_avx512(void) {
    v16 acc[CHAINS] = {0}, a = {0}, b = {0};
    for (int i = 0; i < PEAK_STEPS; i++) {
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; c++)
            __asm__ volatile("vfmadd231ps %1, %2, %0" : "+v"(acc[c]) : "v"(a), "v"(b));
    }
    return 2.0 * 16 * CHAINS * PEAK_STEPS;
}
#endif

typedef float v4 __attribute__((vector_size(16)));

/* A product and a sum, as the portable kernels compute them. */
static double peak_portable(void) {
    v4 acc[8] = {0}, a = {0}, b = {0};
    for (int i = 0; i < PEAK_STEPS; i++) {
#pragma GCC unroll 8
        for (int c = 0; c < 8; c++) {
            acc[c] = acc[c] + a * b;
            __asm__ volatile("" : "+x"(acc[c]), "+x"(a));
        }
    }
    return 2.0 * 4 * 8 * PEAK_STEPS;
}

typedef struct peak_job {
    double (*loop)(void);
    double flops[TEAM_THREADS_MAX];
} peak_job;

static void peak_task(void *ctx, uint32_t task, uint32_t thread) {
    peak_job *j = ctx;
    (void)thread;
    j->flops[task] = j->loop();
}

/* ---- one line ---- */

typedef struct bench {
    const backend_ops *ops;
    const host_kernels *kernels; /* of the device */
    device *dev;
    uint32_t threads;
    team *team; /* for the peak only */
    double (*peak_loop)(void);
} bench;

/* GFLOP/s of all threads. */
static double peak(const bench *b) {
    peak_job job = {.loop = b->peak_loop};
    double best = 0;
    for (int i = 0; i < RUNS; i++) {
        uint64_t begin = clock_now_ns();
        team_run(b->team, b->threads, peak_task, &job);
        double flops = 0;
        for (uint32_t t = 0; t < b->threads; t++) flops += job.flops[t];
        best = MAX(best, flops / (double)(clock_now_ns() - begin));
    }
    return best;
}

/* Best nanoseconds of one call. */
static double time_op(void (*op)(const bench *b, void *arg), const bench *b, void *arg) {
    double best = 0;
    op(b, arg);
    for (int i = 0; i < RUNS; i++) {
        uint64_t begin = clock_now_ns(), now;
        uint32_t calls = 0;
        do {
            op(b, arg);
            calls++;
            now = clock_now_ns();
        } while (now - begin < RUN_NS);
        double ns = (double)(now - begin) / calls;
        if (best == 0 || ns < best) best = ns;
    }
    return best;
}

static void print_line(const bench *b, const char *what, double flops, double bytes, double ns,
                       double peak_gflops) {
    printf("%-34s threads %u  %10.1f us  %7.1f GFLOP/s  %5.1f %% of peak %6.1f  %6.2f GB/s\n", what,
           b->threads, ns / 1000, flops / ns, 100 * flops / ns / peak_gflops, peak_gflops, bytes / ns);
    fflush(stdout);
}

/* Bytes 56..63 make halves, floats and scales near 1: no denormal slows the loops. */
static void *filled(const bench *b, size_t bytes) {
    uint8_t *p = b->ops->mem_alloc(b->dev, bytes);
    CHECK(p);
    for (size_t i = 0; i < bytes; i++) p[i] = (uint8_t)(56 + (i * 2654435761u >> 13) % 8);
    return p;
}

static void run_linear(const bench *b, void *arg) {
    CHECK(b->kernels->linear(b->dev, arg) == ST_OK);
}

static void bench_linear(const bench *b, dtype type, uint32_t outer, uint32_t inner, uint32_t rows) {
    size_t bytes = outer * dtype_row_bytes(type, inner);
    size_t x_bytes = (size_t)rows * inner * sizeof(float), out_bytes = (size_t)rows * outer * sizeof(float);
    void *data = filled(b, bytes);
    float *x = filled(b, x_bytes), *out = filled(b, out_bytes);
    tensor w = {.type = type, .rows = outer, .cols = inner, .data = data};
    host_linear op = {.x = x, .weight = &w, .rows = rows, .out = out};
    double top = peak(b), ns = time_op(run_linear, b, &op);
    char what[64];
    snprintf(what, sizeof what, "linear %s %ux%u rows %u", dtype_name(type), outer, inner, rows);
    print_line(b, what, 2.0 * outer * inner * rows, (double)bytes, ns, top);
    b->ops->mem_free(b->dev, data, bytes);
    b->ops->mem_free(b->dev, x, x_bytes);
    b->ops->mem_free(b->dev, out, out_bytes);
}

static void run_attention(const bench *b, void *arg) {
    CHECK(b->kernels->attention(b->dev, arg) == ST_OK);
}

/* 9 query heads on 3 KV heads of 64. Rows end at position `context` - 1. */
static void bench_attention(const bench *b, uint32_t context, uint32_t rows) {
    kv_layout l = {.type = DT_F16, .layers = 1, .kv_heads = 3, .head_dim = 64};
    enum { HEADS = 9, PAGES_MAX = 256, ROWS_MAX = 256 };
    uint32_t pages[PAGES_MAX];
    kv_ref refs[ROWS_MAX];
    CHECK(kv_pages_for(context) <= PAGES_MAX);
    CHECK(rows <= ROWS_MAX);
    for (uint32_t i = 0; i < PAGES_MAX; i++) pages[i] = i;
    double pairs = 0;
    for (uint32_t r = 0; r < rows; r++) {
        refs[r] = (kv_ref){.pages = pages, .pos = context - rows + r};
        pairs += refs[r].pos + 1;
    }
    size_t kv_bytes = kv_pages_for(context) * kv_page_bytes(&l),
           q_bytes = (size_t)rows * HEADS * 64 * sizeof(float);
    void *kv = filled(b, kv_bytes);
    float *q = filled(b, q_bytes), *out = filled(b, q_bytes);
    host_attention op = {.layout = &l,
                         .kv = kv,
                         .q = q,
                         .refs = refs,
                         .rows = rows,
                         .heads = HEADS,
                         .scale = 0.125f,
                         .out = out};
    double top = peak(b), ns = time_op(run_attention, b, &op);
    char what[64];
    snprintf(what, sizeof what, "attention context %u rows %u", context, rows);
    print_line(b, what, pairs * HEADS * 64 * 4, (double)kv_bytes, ns, top);
    b->ops->mem_free(b->dev, kv, kv_bytes);
    b->ops->mem_free(b->dev, q, q_bytes);
    b->ops->mem_free(b->dev, out, q_bytes);
}

static void run_rmsnorm(const bench *b, void *arg) {
    CHECK(b->kernels->rmsnorm(b->dev, arg) == ST_OK);
}

static void run_silu_mul(const bench *b, void *arg) {
    CHECK(b->kernels->silu_mul(b->dev, arg) == ST_OK);
}

static void run_rope(const bench *b, void *arg) {
    CHECK(b->kernels->rope(b->dev, arg) == ST_OK);
}

static void bench_rows(const bench *b, uint32_t rows) {
    size_t bytes = (size_t)rows * 1536 * sizeof(float);
    float *x = filled(b, bytes), *y = filled(b, bytes), *out = filled(b, bytes);
    uint32_t *pos = xcalloc(rows, sizeof *pos);
    for (uint32_t r = 0; r < rows; r++) pos[r] = r;
    tensor w = {.type = DT_F32, .rows = 1, .cols = 576, .data = y};
    host_rmsnorm norm = {.x = x, .weight = &w, .rows = rows, .dim = 576, .eps = 1e-5f, .out = out};
    host_silu_mul silu = {.gate = x, .up = y, .rows = rows, .dim = 1536, .out = out};
    host_rope rope = {
        .x = x, .pos = pos, .rows = rows, .heads = 9, .head_dim = 64, .rope_dim = 64, .base = 1e5f};
    double top = peak(b);
    char what[64];
    snprintf(what, sizeof what, "rmsnorm 576 rows %u", rows);
    print_line(b, what, 4.0 * rows * 576, 8.0 * rows * 576, time_op(run_rmsnorm, b, &norm), top);
    snprintf(what, sizeof what, "silu_mul 1536 rows %u", rows);
    print_line(b, what, 20.0 * rows * 1536, 12.0 * rows * 1536, time_op(run_silu_mul, b, &silu), top);
    snprintf(what, sizeof what, "rope 9x64 rows %u", rows);
    print_line(b, what, 3.0 * rows * 576, 8.0 * rows * 576, time_op(run_rope, b, &rope), top);
    b->ops->mem_free(b->dev, x, bytes);
    b->ops->mem_free(b->dev, y, bytes);
    b->ops->mem_free(b->dev, out, bytes);
    free(pos);
}

static void run_gather(const bench *b, void *arg) {
    CHECK(b->ops->kv_gather(b->dev, arg) == ST_OK);
}

static void run_scatter(const bench *b, void *arg) {
    CHECK(b->ops->kv_scatter(b->dev, arg) == ST_OK);
}

static void bench_copies(const bench *b) {
    kv_layout l = {.type = DT_F16, .layers = 30, .kv_heads = 3, .head_dim = 64};
    enum { TOKENS = 250 };
    uint32_t pages[16];
    uint64_t checksum;
    for (uint32_t i = 0; i < ARRAY_LEN(pages); i++) pages[i] = (i * 7) % 16;
    size_t kv_bytes = ARRAY_LEN(pages) * kv_page_bytes(&l), wire_bytes = kv_segment_bytes(&l, TOKENS, 30);
    void *kv = filled(b, kv_bytes), *wire = filled(b, wire_bytes);
    op_kv_copy op = {.layout = &l,
                     .kv = kv,
                     .pages = pages,
                     .piece = kv_piece_of(&l, 0, TOKENS, 0, 30),
                     .wire = wire,
                     .checksum = &checksum};
    double top = peak(b);
    print_line(b, "kv_gather 250 tokens", 0, (double)wire_bytes, time_op(run_gather, b, &op), top);
    print_line(b, "kv_scatter 250 tokens", 0, (double)wire_bytes, time_op(run_scatter, b, &op), top);
    b->ops->mem_free(b->dev, kv, kv_bytes);
    b->ops->mem_free(b->dev, wire, wire_bytes);
}

static void bench_all(const bench *b) {
    static const uint32_t shapes[][2] = {{576, 576}, {192, 576}, {1536, 576}, {576, 1536}, {49152, 576}};
    static const dtype types[] = {DT_F32, DT_F16, DT_BF16, DT_Q8_0, DT_Q4_0, DT_Q4_1};
    static const uint32_t rows[] = {1, 4, 64, 512};
    if (getenv("ATT")) goto att;
    for (size_t s = 0; s < ARRAY_LEN(shapes); s++)
        for (size_t r = 0; r < ARRAY_LEN(rows); r++)
            if (shapes[s][0] < 10000 || rows[r] <= 4)
                bench_linear(b, DT_Q4_1, shapes[s][0], shapes[s][1], rows[r]);
    for (size_t t = 0; t < ARRAY_LEN(types); t++) {
        bench_linear(b, types[t], 1536, 576, 1);
        bench_linear(b, types[t], 1536, 576, 64);
    }
att:
    bench_attention(b, 256, 256);
    bench_attention(b, 1536, 256);
    bench_attention(b, 256, 1);
    bench_attention(b, 1536, 1);
    bench_rows(b, 256);
    bench_copies(b);
}

int main(int argc, char **argv) {
    bench b = {.ops = backend_find("cpu")};
    errbuf eb = {0};
    for (b.threads = 1; b.threads <= 2; b.threads++) {
        device_options opt = {.threads = b.threads, .isa = argc > 1 ? argv[1] : "auto"};
        if (b.ops->open(&b.dev, &opt, &eb) != ST_OK || team_new(&b.team, b.threads, NULL, &eb) != ST_OK) {
            fprintf(stderr, "kernel_bench: %s\n", eb.text);
            return 1;
        }
        b.kernels = b.dev->host.kernels;
        b.peak_loop = peak_portable;
#if defined(__x86_64__)
        if (cpuid_avx2()) b.peak_loop = peak_avx2;
        if (cpuid_avx512()) b.peak_loop = peak_avx512;
#endif
        printf("%s\n", b.ops->path(b.dev));
        bench_all(&b);
        team_free(b.team);
        b.ops->close(b.dev);
    }
    return 0;
}
