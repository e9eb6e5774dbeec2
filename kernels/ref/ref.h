/* ref - the oracle: every op as the plain loops of its definition, fp32 in and out, sums in double. Never
 * optimised; what the other backends compute is judged by it. One thread, host memory; KV in all three types.
 */
#ifndef BATON_KERNELS_REF_REF_H
#define BATON_KERNELS_REF_REF_H

#include "kernels/host/host.h"

extern const backend_ops ref_backend;
extern const host_kernels ref_kernels;

/* Row `row` of a weight matrix as floats, [cols]. */
void ref_weight_row(const tensor *t, uint32_t row, float *out);
/* Element `i` of KV memory of any type, and its writer. */
float ref_kv_get(const kv_layout *l, const void *tile, size_t i);
void ref_kv_set(const kv_layout *l, void *tile, size_t i, float value);

status ref_embed(device *d, const host_embed *a);
status ref_rmsnorm(device *d, const host_rmsnorm *a);
status ref_linear(device *d, const host_linear *a);
status ref_rope(device *d, const host_rope *a);
status ref_kv_write(device *d, const host_kv_write *a);
status ref_attention(device *d, const host_attention *a);
status ref_act_mul(device *d, const host_act_mul *a);
status ref_add(device *d, const host_add *a);
status ref_kv_gather(device *d, const op_kv_copy *a);
status ref_kv_scatter(device *d, const op_kv_copy *a);

#endif
