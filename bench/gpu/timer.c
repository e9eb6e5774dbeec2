#include "bench/gpu/timer.h"

#include "base/mem.h"
#include "kernels/cuda/launch.h"

#include <stdio.h>
#include <stdlib.h>

enum { REPLAYS = 20, REPLAYS_MIN = 5, PIECES_MAX = 256 };
#define REPLAY_US 1000.0 /* a replay should take so long: its launch is hidden behind the one before it */
#define MEASURE_US                                                                                           \
    5e5 /* all replays should take no longer: what is slower than hoped must not take others' time */

/* --- life --- */

cudaError_t bench_open(bench *b, bool tiny) {
    *b = (bench){.tiny = tiny};
    int sm_count = 0, l2 = 0;
    cudaError_t e = cudaSetDevice(0);
    if (e == cudaSuccess) e = cudaDeviceGetAttribute(&sm_count, cudaDevAttrMultiProcessorCount, 0);
    if (e == cudaSuccess) e = cudaDeviceGetAttribute(&l2, cudaDevAttrL2CacheSize, 0);
    if (e == cudaSuccess) e = cudaStreamCreateWithFlags(&b->stream, cudaStreamNonBlocking);
    b->sm_count = (uint32_t)MAX(sm_count, 1);
    b->rotate_bytes = tiny ? 1 : (size_t)3 * (size_t)MAX(l2, 1);
    return e;
}

void bench_close(bench *b) {
    if (b->stream) cudaStreamDestroy(b->stream);
    *b = (bench){0};
}

/* --- timing --- */

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static cudaError_t capture(const bench *b, bench_work work, void *ctx, uint32_t sets, uint32_t pieces,
                           cudaGraphExec_t *out) {
    cudaGraph_t graph = NULL;
    cudaError_t e = cudaStreamBeginCapture(b->stream, cudaStreamCaptureModeThreadLocal);
    if (e != cudaSuccess) return e;
    for (uint32_t i = 0; i < pieces && e == cudaSuccess; i++) e = work(ctx, i % sets, b->stream);
    cudaError_t end =
        cudaStreamEndCapture(b->stream, &graph); /* also after an error, or the stream stays unusable */
    if (e == cudaSuccess) e = end;
    if (e == cudaSuccess) e = cudaGraphInstantiate(out, graph, 0);
    if (graph) cudaGraphDestroy(graph);
    return e;
}

/* Microseconds of `replays` replays, one by one. */
static cudaError_t replay(const bench *b, cudaGraphExec_t exec, uint32_t replays, double *us) {
    cudaEvent_t events[REPLAYS][2] = {{0}};
    cudaError_t e = cudaSuccess;
    for (uint32_t i = 0; i < replays && e == cudaSuccess; i++) {
        e = cudaEventCreate(&events[i][0]);
        if (e == cudaSuccess) e = cudaEventCreate(&events[i][1]);
    }
    for (uint32_t i = 0; i < replays && e == cudaSuccess; i++) {
        e = cudaEventRecord(events[i][0], b->stream);
        if (e == cudaSuccess) e = cudaGraphLaunch(exec, b->stream);
        if (e == cudaSuccess) e = cudaEventRecord(events[i][1], b->stream);
    }
    cudaError_t end = cudaStreamSynchronize(b->stream);
    if (e == cudaSuccess) e = end;
    for (uint32_t i = 0; i < replays; i++) {
        float ms = 0;
        if (e == cudaSuccess) e = cudaEventElapsedTime(&ms, events[i][0], events[i][1]);
        us[i] = 1000.0 * (double)ms;
        if (events[i][0]) cudaEventDestroy(events[i][0]);
        if (events[i][1]) cudaEventDestroy(events[i][1]);
    }
    return e;
}

/* A first look without a graph: loads the modules, lets libraries choose, and says how long a piece takes. */
static cudaError_t look(const bench *b, bench_work work, void *ctx, uint32_t sets, double *us) {
    cudaEvent_t begin = NULL, end = NULL;
    float ms = 0;
    cudaError_t e = cudaDeviceSynchronize(); /* what made the buffers ran in another stream */
    if (e == cudaSuccess) e = work(ctx, 0, b->stream);
    if (e == cudaSuccess) e = cudaStreamSynchronize(b->stream);
    if (e == cudaSuccess) e = cudaEventCreate(&begin);
    if (e == cudaSuccess) e = cudaEventCreate(&end);
    if (e == cudaSuccess) e = cudaEventRecord(begin, b->stream);
    for (uint32_t i = 0; i < sets && e == cudaSuccess; i++) e = work(ctx, i, b->stream);
    if (e == cudaSuccess) e = cudaEventRecord(end, b->stream);
    if (e == cudaSuccess) e = cudaStreamSynchronize(b->stream);
    if (e == cudaSuccess) e = cudaEventElapsedTime(&ms, begin, end);
    if (begin) cudaEventDestroy(begin);
    if (end) cudaEventDestroy(end);
    *us = 1000.0 * (double)ms / sets;
    return e;
}

cudaError_t bench_measure(bench *b, bench_work work, void *ctx, uint32_t sets, bench_time *out) {
    double first = 0, us[REPLAYS];
    cudaError_t e = look(b, work, ctx, sets, &first);
    if (e != cudaSuccess) return e;
    if (first < 10) first = 1; /* such a short piece was timed by its launches */
    double rounds = b->tiny ? 1 : REPLAY_US / (first * sets);
    uint32_t pieces = sets * (uint32_t)MIN(MAX(rounds, 1.0), (double)PIECES_MAX);
    pieces = MAX(MIN(pieces, MAX(PIECES_MAX / sets * sets, sets)), 1u);
    double affordable = MEASURE_US / (first * pieces);
    uint32_t replays = b->tiny ? 2 : (uint32_t)MIN(MAX(affordable, (double)REPLAYS_MIN), (double)REPLAYS);

    cudaGraphExec_t exec = NULL;
    e = capture(b, work, ctx, sets, pieces, &exec);
    if (e == cudaSuccess) e = replay(b, exec, replays / 5 + 1, us); /* warms up */
    if (e == cudaSuccess) e = replay(b, exec, replays, us);
    if (exec) cudaGraphExecDestroy(exec);
    if (e != cudaSuccess) return e;
    qsort(us, replays, sizeof *us, compare);
    *out = (bench_time){.us = us[replays / 2] / pieces,
                        .p10_us = us[replays / 10] / pieces,
                        .p90_us = us[replays - 1 - replays / 10] / pieces};
    return cudaSuccess;
}

/* --- output --- */

void bench_print(const bench_figure *f) {
    printf("{\"by\": \"baton\", \"key\": \"%s\", \"mode\": \"%s\", \"unit\": \"%s\", \"value\": %.6g, "
           "\"ceiling\": "
           "\"%s\", "
           "\"us\": %.6g, \"p10_us\": %.6g, \"p90_us\": %.6g}\n",
           f->key, f->mode, f->unit, f->value, f->ceiling, f->time.us, f->time.p10_us, f->time.p90_us);
    fflush(stdout); /* what was measured before a time limit strikes is not lost */
}

static void print_error(const char *key, const char *mode, const char *error) {
    printf("{\"by\": \"baton\", \"key\": \"%s\", \"mode\": \"%s\", \"error\": \"%s\"}\n", key, mode, error);
    fflush(stdout);
}

bool bench_ok(bench *b, const char *key, const char *mode, cudaError_t e) {
    if (e == cudaSuccess) return true;
    b->failed = true;
    char text[256];
    snprintf(text, sizeof text, "%s: %s", cudaGetErrorName(e), cudaGetErrorString(e));
    print_error(key, mode, text);
    cudaGetLastError(); /* an error of a launch's arguments is over with this; one of a kernel stays */
    return false;
}

/* --- memory --- */

bool bench_room(bench *b, const char *key, const char *mode, size_t bytes) {
    size_t free_bytes = 0, total = 0;
    if (!bench_ok(b, key, mode, cudaMemGetInfo(&free_bytes, &total))) return false;
    if (bytes < free_bytes / 10 * 9) return true;
    char text[128];
    snprintf(text, sizeof text, "not run: takes %.1f GB of device memory, and %.1f GB are free",
             (double)bytes / 1e9, (double)free_bytes / 1e9);
    print_error(key, mode, text);
    return false;
}

void *bench_random(bench *b, size_t count, uint64_t seed) {
    void *p = NULL;
    if (cudaMalloc(&p, count * 2) != cudaSuccess) {
        cudaGetLastError();
        return NULL;
    }
    if (launch_random_fill(NUM_BF16, p, seed, 0, count, 1.0f / 256, b->stream) != cudaSuccess ||
        cudaStreamSynchronize(b->stream) != cudaSuccess) {
        cudaFree(p);
        return NULL;
    }
    return p;
}

uint32_t bench_sets(const bench *b, size_t bytes, uint32_t most) {
    size_t sets = (b->rotate_bytes + bytes - 1) / MAX(bytes, 1u);
    return (uint32_t)MIN(MAX(sets, 1u), (size_t)most);
}
