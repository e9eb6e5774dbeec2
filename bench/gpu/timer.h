/* timer - times work on the GPU, and writes figures as JSON lines.
 *
 * A piece of work is recorded into a graph often enough that one replay takes far longer than its launch,
 * turn by turn over several sets of buffers, so that nothing is found in the L2 cache. The graph is replayed
 * 20 times between two events each, less often (5 times at least) where that would take more than half a
 * second; the figure is the median, with the 10th and 90th percentile. */
#ifndef BATON_BENCH_GPU_TIMER_H
#define BATON_BENCH_GPU_TIMER_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct bench {
    cudaStream_t stream;
    uint32_t sm_count;
    size_t rotate_bytes; /* three times the L2: what the sets of buffers must have together */
    bool tiny;           /* small shapes and two replays: to run every line, not to measure */
    bool failed;         /* a case had an error */
} bench;

cudaError_t bench_open(bench *b, bool tiny);
void bench_close(bench *b);

/* Puts one piece of work into the stream; turn chooses the set of buffers. Called while the stream is
 * captured too. */
typedef cudaError_t (*bench_work)(void *ctx, uint32_t turn, cudaStream_t stream);

typedef struct bench_time { /* of one piece of work */
    double us, p10_us, p90_us;
} bench_time;

cudaError_t bench_measure(bench *b, bench_work work, void *ctx, uint32_t sets, bench_time *out);

/* One figure. key names what was done, mode which variant of ours did it; report.py puts the ceilings beside
 * it. */
typedef struct bench_figure {
    char key[96];
    const char *mode; /* "default", "deterministic", "serial", "own", "own_no_cluster", "gemm_lt",
                         "gemm_fixed" or "" */
    const char *unit; /* "TB/s", "GB/s", "TFLOP/s" or "us" */
    double value;
    const char *ceiling; /* "copy", "gemm" or "" */
    bench_time time;
} bench_figure;

void bench_print(const bench_figure *f);
/* An error line instead of a figure. True when e is cudaSuccess. */
bool bench_ok(bench *b, const char *key, const char *mode, cudaError_t e);

/* False, and a line that says so, when the device has no room for `bytes` more: the case does not fail for
 * that. */
bool bench_room(bench *b, const char *key, const char *mode, size_t bytes);
/* Device memory with random numbers of num_type bf16 in -1..1; NULL when there is no room. Free with
 * cudaFree. */
void *bench_random(bench *b, size_t count, uint64_t seed);
/* How many sets of `bytes` are needed; at least 1, at most `most`. */
uint32_t bench_sets(const bench *b, size_t bytes, uint32_t most);

#endif
