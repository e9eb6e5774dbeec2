/* ceilings - what this GPU can do at best: every other figure is set against these, from the same run. */
#include "base/mem.h"
#include "bench/gpu/cases.h"
#include "kernels/cuda/gemm_lt.h"

#include <stdio.h>
#include <stdlib.h>

static void figure(const char *key, const char *unit, double value, bench_time t) {
    bench_figure f = {.mode = "", .unit = unit, .value = value, .ceiling = "", .time = t};
    snprintf(f.key, sizeof f.key, "%s", key);
    bench_print(&f);
}

/* --- memory --- */

typedef struct copy_job {
    void *to, *from;
    size_t bytes;
    enum cudaMemcpyKind kind;
} copy_job;

static cudaError_t copy(void *ctx, uint32_t turn, cudaStream_t stream) {
    const copy_job *j = ctx;
    (void)turn; /* one buffer is many times the L2 */
    return cudaMemcpyAsync(j->to, j->from, j->bytes, j->kind, stream);
}

static void device_copy(bench *b) {
    size_t free_bytes = 0, total = 0, bytes = (size_t)4 << 30;
    if (!bench_ok(b, "copy", "", cudaMemGetInfo(&free_bytes, &total))) return;
    bytes = b->tiny ? 4096 : MIN(bytes, free_bytes / 4);
    copy_job j = {.bytes = bytes / 4096 * 4096, .kind = cudaMemcpyDeviceToDevice};
    j.from = bench_random(b, j.bytes / 2, 1);
    j.to = bench_random(b, j.bytes / 2, 2);
    bench_time t;
    if (!j.from || !j.to)
        bench_ok(b, "copy", "", cudaErrorMemoryAllocation);
    else if (bench_ok(b, "copy", "", bench_measure(b, copy, &j, 1, &t)))
        figure("copy", "TB/s", 2.0 * (double)j.bytes / t.us / 1e6, t);
    cudaFree(j.from);
    cudaFree(j.to);
}

static void host_link(bench *b) {
    size_t bytes = b->tiny ? 4096 : (size_t)256 << 20;
    void *host = NULL, *dev = bench_random(b, bytes / 2, 3);
    bench_time t;
    if (bench_ok(b, "h2d", "", dev ? cudaMallocHost(&host, bytes) : cudaErrorMemoryAllocation)) {
        copy_job down = {.to = host, .from = dev, .bytes = bytes, .kind = cudaMemcpyDeviceToHost};
        copy_job up = {.to = dev, .from = host, .bytes = bytes, .kind = cudaMemcpyHostToDevice};
        if (bench_ok(b, "d2h", "", bench_measure(b, copy, &down, 1, &t)))
            figure("d2h", "GB/s", (double)bytes / t.us / 1e3, t);
        if (bench_ok(b, "h2d", "", bench_measure(b, copy, &up, 1, &t)))
            figure("h2d", "GB/s", (double)bytes / t.us / 1e3, t);
    }
    if (host) cudaFreeHost(host);
    cudaFree(dev);
}

/* --- arithmetic --- */

typedef struct product_job {
    gemm_lt *lt;
    linear_args a;
} product_job;

static cudaError_t product(void *ctx, uint32_t turn, cudaStream_t stream) {
    const product_job *j = ctx;
    (void)turn, (void)stream; /* gemm_lt has the same stream */
    errbuf eb = {0};
    if (gemm_lt_linear(j->lt, &j->a, &eb) == ST_OK) return cudaSuccess;
    fprintf(stderr, "gpu_bench: %s\n", eb.text);
    return cudaErrorUnknown;
}

static void large_product(bench *b) {
    uint32_t n = b->tiny ? 64 : 8192;
    size_t count = (size_t)n * n;
    errbuf eb = {0};
    product_job j = {.a = {.type = NUM_BF16, .rows = n, .n = n, .k = n, .mode = LINEAR_ACT}};
    j.a.x = bench_random(b, count, 4);
    j.a.w = bench_random(b, count, 5);
    j.a.out = bench_random(b, count, 6);
    bench_time t;
    if (!j.a.x || !j.a.w || !j.a.out) {
        bench_ok(b, "gemm 8192", "", cudaErrorMemoryAllocation);
    } else if (gemm_lt_new(&j.lt, GEMM_LT_TIMED, b->stream, &eb) != ST_OK) {
        fprintf(stderr, "gpu_bench: %s\n", eb.text);
        bench_ok(b, "gemm 8192", "", cudaErrorUnknown);
    } else if (bench_ok(b, "gemm 8192", "", bench_measure(b, product, &j, 1, &t))) {
        figure("gemm 8192", "TFLOP/s", 2.0 * n * n * n / t.us / 1e6, t);
    }
    gemm_lt_free(j.lt);
    cudaFree((void *)j.a.x);
    cudaFree((void *)j.a.w);
    cudaFree(j.a.out);
}

/* --- launches --- */

enum { NODES = 1000 };

static cudaError_t nodes(void *ctx, uint32_t turn, cudaStream_t stream) {
    (void)ctx, (void)turn;
    cudaError_t e = cudaSuccess;
    for (int i = 0; i < NODES && e == cudaSuccess; i++) e = launch_empty(stream);
    return e;
}

static void graph_nodes(bench *b) {
    bench_time t;
    if (!bench_ok(b, "graph node", "", bench_measure(b, nodes, NULL, 1, &t))) return;
    t = (bench_time){t.us / NODES, t.p10_us / NODES, t.p90_us / NODES};
    figure("graph node", "us", t.us, t);
}

void bench_ceilings(bench *b) {
    device_copy(b);
    large_product(b);
    graph_nodes(b);
    host_link(b);
}
