/* gemm_lt - matrix products by cuBLASLt, in one of two ways:
 *
 * - timed: the fast path of linear for many rows, when results may depend on their number. The algorithm is
 *   chosen once per (bucket of rows, n, k, mode, bias or none), by timing, and kept.
 * - fixed: the rows of prompts in deterministic mode. One algorithm per (n, k, mode, bias or none), whatever
 * the number of rows, chosen without a clock and kept only if a row's bits are the same among few and many
 * rows.
 *
 * Workspace is allocated once. The emulation of the tests has its own implementation of this header. */
#ifndef BATON_KERNELS_CUDA_GEMM_LT_H
#define BATON_KERNELS_CUDA_GEMM_LT_H

#include "base/status.h"
#include "kernels/cuda/launch.h"

typedef struct gemm_lt gemm_lt;
typedef enum gemm_lt_way { GEMM_LT_TIMED, GEMM_LT_FIXED } gemm_lt_way;

#define GEMM_LT_WORKSPACE_BYTES ((size_t)64 << 20) /* of GPU memory, from gemm_lt_new to gemm_lt_free */
#define GEMM_LT_NAME_BYTES      40u

/* ST_UNSUPPORTED: there is no library. ST_DEVICE: it does not work here. ST_NOMEM: no GPU memory. */
status gemm_lt_new(gemm_lt **out, gemm_lt_way way, cudaStream_t stream, errbuf *eb);
void gemm_lt_free(gemm_lt *g);
/* out = x w^T (+ bias, of LINEAR_ACT) with fp32 sums; mode LINEAR_ACT or LINEAR_F32, type NUM_BF16 or
 * NUM_F16. ST_DEVICE names the shape and the library's error. ST_TIMEOUT: a wait reached its deadline
 * (wait.h).
 *
 * Timed: the first call of a bucket measures candidates and waits for the stream, unless the stream is being
 * captured: then the heuristic's first is taken.
 * Fixed: the first call of a shape tests candidates and waits for the stream, which must not be captured; its
 * rows should be the most that will come, since they are part of the test, which takes GPU memory for some
 * 250 rows while it lasts. ST_NOMEM: there is none. ST_UNSUPPORTED: no candidate
 * passed, now or then; out holds nothing, and the shape is for another kernel. */
status gemm_lt_linear(gemm_lt *g, const linear_args *a, errbuf *eb);

/* Fixed: version of the library and hash of what was chosen so far: "lt13.1.0-1f2e3d4c". Equal names give
 * equal bits. */
void gemm_lt_name(const gemm_lt *g, char out[GEMM_LT_NAME_BYTES]);
/* Shapes so far: while that number stays, so does the name. */
uint32_t gemm_lt_shapes(const gemm_lt *g);

#endif
