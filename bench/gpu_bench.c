/* gpu_bench - speed of the kernels of backend cuda, as JSON lines, next to ceilings measured in the same
 * run.
 *
 *   gpu_bench [--tiny] [--serial] [GROUP]...  groups: ceilings prefill decode linear rows; by default all
 *   gpu_bench --here                          says whether it could run here: a kernel runs, cuBLASLt is
 * found
 *
 * Data is random, buffers rotate over more than three times the L2 cache, only useful bytes and operations
 * are counted. deploy/gpu-check.sh runs it and puts PyTorch's figures beside (bench/gpu/peers.py). --tiny
 * runs every line on small shapes: its figures mean nothing. --serial: no kernel begins before the one before
 * it has ended, to see what overlap is worth. */
#include "base/mem.h"
#include "bench/gpu/cases.h"
#include "kernels/cuda/gemm_lt.h"
#include "kernels/cuda/launch.h"

#include <stdio.h>
#include <string.h>

typedef struct group {
    const char *name;
    void (*run)(bench *b);
} group;

static const group groups[] = {
    {"ceilings", bench_ceilings}, {"prefill", bench_prefill}, {"decode", bench_decode},
    {"linear", bench_linear},     {"rows", bench_rows},
};

static const group *find(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(groups); i++)
        if (strcmp(groups[i].name, name) == 0) return &groups[i];
    return NULL;
}

/* False after an error that leaves the device unusable. */
static bool run(bench *b, const group *g) {
    g->run(b);
    return bench_ok(b, g->name, "", cudaDeviceSynchronize());
}

/* A driver older than the toolkit, a GPU for which there is no code, a missing library: known in a second. */
static bool can_run_here(void) {
    errbuf eb = {0};
    gemm_lt *lt = NULL;
    cudaError_t e = launch_empty(NULL);
    if (e == cudaSuccess) e = cudaDeviceSynchronize();
    if (e != cudaSuccess)
        fprintf(stderr, "gpu_bench: a kernel cannot run here: %s\n", cudaGetErrorString(e));
    else if (gemm_lt_new(&lt, GEMM_LT_TIMED, NULL, &eb) != ST_OK)
        fprintf(stderr, "gpu_bench: %s\n", eb.text);
    gemm_lt_free(lt);
    return e == cudaSuccess && !eb.text[0];
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--here") == 0) return can_run_here() ? 0 : 3;
    int first = 1;
    bool tiny = argc > first && strcmp(argv[first], "--tiny") == 0;
    first += tiny;
    bool serial = argc > first && strcmp(argv[first], "--serial") == 0;
    first += serial;
    launch_overlap(!serial);
    for (int i = first; i < argc; i++) {
        if (find(argv[i])) continue;
        fprintf(stderr,
                "gpu_bench: no group '%s'\nusage: gpu_bench [--tiny] [--serial] "
                "[ceilings|prefill|decode|linear|rows]...\n"
                "       gpu_bench --here\n",
                argv[i]);
        return 2;
    }
    int devices = 0;
    cudaError_t e = cudaGetDeviceCount(&devices);
    if (e != cudaSuccess || devices == 0) {
        fprintf(stderr, "gpu_bench: no CUDA device was found: %s\n",
                e == cudaSuccess ? "there is none" : cudaGetErrorString(e));
        return 3;
    }
    bench b;
    e = bench_open(&b, tiny);
    if (e != cudaSuccess) {
        fprintf(stderr, "gpu_bench: %s\n", cudaGetErrorString(e));
        bench_close(&b);
        return 1;
    }
    bool usable = true;
    for (int i = first; i < argc && usable; i++) usable = run(&b, find(argv[i]));
    for (size_t i = 0; first == argc && i < ARRAY_LEN(groups) && usable; i++) usable = run(&b, &groups[i]);
    bool failed = b.failed;
    bench_close(&b);
    return failed ? 1 : 0;
}
