/* gemm_lt - matrix products by cuBLASLt: the fast path of linear for many rows, when results may depend on
 * their number.
 *
 * The algorithm is chosen once per (bucket of rows, n, k, mode) and kept; workspace is allocated once. The
 * emulation of the tests has its own implementation of this header. */
#ifndef BATON_KERNELS_CUDA_GEMM_LT_H
#define BATON_KERNELS_CUDA_GEMM_LT_H

#include "base/status.h"
#include "kernels/cuda/launch.h"

typedef struct gemm_lt gemm_lt;

#define GEMM_LT_WORKSPACE_BYTES ((size_t)64 << 20) /* of GPU memory, from gemm_lt_new to gemm_lt_free */

status gemm_lt_new(gemm_lt **out, cudaStream_t stream, errbuf *eb);
void gemm_lt_free(gemm_lt *g);
/* out = x w^T with fp32 sums; mode LINEAR_ACT or LINEAR_F32, type NUM_BF16 or NUM_F16. ST_DEVICE names the
 * shape and the library's error. The first call of a bucket measures candidates and waits for the stream,
 * unless the stream is being captured: then the heuristic's first is taken. ST_TIMEOUT: that wait reached its
 * deadline (wait.h). */
status gemm_lt_linear(gemm_lt *g, const linear_args *a, errbuf *eb);

#endif
