/* cases - what gpu_bench measures, one group per file. Each prints its figures; an error of a case is a line
 * of its own and the next case goes on. */
#ifndef BATON_BENCH_GPU_CASES_H
#define BATON_BENCH_GPU_CASES_H

#include "bench/gpu/timer.h"

/* Copy, 8192^3 product, graph nodes, host link */
void bench_ceilings(bench *b);
/* Causal attention of 16 ki prompt tokens */
void bench_prefill(bench *b);
/* Paged attention, one query row per sequence */
void bench_decode(bench *b);
/* The layer shapes of Llama-3.1-8B, our kernel and cuBLASLt */
void bench_linear(bench *b);
/* Norm, silu_mul, sample, kv_gather, kv_scatter */
void bench_rows(bench *b);

/* An empty kernel of one warp: what a node of a graph costs by itself (empty.cu). */
cudaError_t launch_empty(cudaStream_t stream);

#endif
