/* host_kinds - the kinds of operations that no backend has a fast way for: plain loops, fp32 in and out, sums
 * in double. Private to kernels/host. */
#ifndef BATON_KERNELS_HOST_KINDS_H
#define BATON_KERNELS_HOST_KINDS_H

#include "kernels/host/host_ops.h"

/* out = (x - mean) / sqrt(variance + eps) * weight; out may be x. */
void host_layer_norm(const host_rmsnorm *a);
/* x[r] += bias, [rows, dim] */
void host_add_bias(float *x, const float *bias, uint32_t rows, uint32_t dim);
/* host_rope of pairs (i, i + rope_dim / 2) */
void host_rope_halves(const host_rope *a);

#endif
