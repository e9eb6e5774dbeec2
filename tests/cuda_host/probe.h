/* probe - kernels that use one facility of device.cuh each, rightly or wrongly, for the tests of the
 * emulation. */
#ifndef BATON_TESTS_CUDA_HOST_PROBE_H
#define BATON_TESTS_CUDA_HOST_PROBE_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

/* out[t] = what thread t of the only block saw; each function returns the launch's error. */
typedef enum probe_copy { COPY_WAITED, COPY_NOT_WAITED, COPY_NEWEST_NOT_WAITED, COPY_ZEROS } probe_copy;
typedef enum probe_error {
    ERROR_SHARED_OVERRUN,
    ERROR_APART,         /* half of a warp in another function */
    ERROR_EARLY_RETURN,  /* a lane returns before a shuffle */
    ERROR_BARRIER_APART, /* half of a warp in block_sync, half in a shuffle */
    ERROR_LOAD_UNALIGNED,
    ERROR_COPY_UNALIGNED,
    ERROR_ROW_UNALIGNED,
    ERROR_ROW_GLOBAL,
    ERROR_ROW_BANKS, /* rows of 32 bytes without a swizzle */
    ERROR_ONCE_SHARED,
    ERROR_PEER_GLOBAL,
    ERROR_PEER_MISSING,   /* a rank that the cluster does not have */
    ERROR_PEER_ENDED,     /* no cluster_leave */
    ERROR_BARRIERS_APART, /* one warp in block_sync, one in cluster_sync */
    ERROR_NEVER_WAITED,   /* a linked kernel, of which one thread does not call pdl_wait */
    ERROR_EARLY_LOAD,     /* and one that reads, writes, copies or counts before it */
    ERROR_EARLY_STORE,
    ERROR_EARLY_COPY,
    ERROR_EARLY_ATOMIC,
} probe_error;

/* a [16][16], b [16][8] and d [16][8] row by row; bf16 when `half` is false. d += a b, through the fragments
 * of one warp. */
cudaError_t probe_matrix(const uint16_t *a, const uint16_t *b, float *d, bool half);
/* M: four 8x8 matrices; r [32][4]. */
cudaError_t probe_load_matrix(const uint16_t *m, uint32_t *r, bool trans);
/* Out [4][32]: warp_get of lane 31 - l, warp_get_xor 5, warp_get_up 3 (each of 100 + l), warp_ballot(l % 3 ==
 * 0). */
cudaError_t probe_warp(uint32_t *out);
/* [32]: warp_get of the next lane, 8 bytes */
cudaError_t probe_warp_wide(uint64_t *out);
/* [32] words of shared memory that nobody wrote */
cudaError_t probe_shared(uint32_t *out);
/* [32][8] words: two copies a lane */
cudaError_t probe_copies(const void *from, uint32_t *out, probe_copy how);
/* [64]: thread t writes 1 + t and reads that of t - 32 (the other warp; own in the first) or, with lanes, of
 * t - 1. */
cudaError_t probe_order(float *out, bool lanes, bool barrier);
/* [128]: warps 1 and 3 return, the others meet in block_sync */
cudaError_t probe_early_return(uint32_t *out);
/* [blocks][32] in clusters of `cluster`: thread t of a block reads what thread t of each block of the cluster
 * wrote, 1 + its index in the grid, and adds. Of two warps, one returns at once; the other meets in
 * block_sync as often as its block's index says before it writes. sync: it also waits for the others to have
 * written. */
cudaError_t probe_cluster(uint32_t *out, unsigned cluster, unsigned blocks, bool sync);
/* Every block adds 1 + its index to its own word of out. */
cudaError_t probe_grid(uint32_t *out, dim3 grid, cudaStream_t stream);
/* Atomically, by each of 64 threads */
cudaError_t probe_add(uint32_t *p, uint32_t v, cudaStream_t stream);
cudaError_t probe_shape(unsigned grid, unsigned threads, size_t shared_bytes);
cudaError_t probe_broken(probe_error error, void *memory);

/* Conversions of the host side of device.cuh, without a launch. */
uint16_t probe_to_bf16(float x);
uint16_t probe_to_f16(float x);
float probe_from_f16(uint16_t bits);
float probe_exp2(float x);

#ifdef __cplusplus
}
#endif
#endif
