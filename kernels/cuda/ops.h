/* ops - the slots of backend_ops that compute: which kernels each is made of on this device, in this mode.
 * Device thread. */
#ifndef BATON_KERNELS_CUDA_OPS_H
#define BATON_KERNELS_CUDA_OPS_H

#include "kernels/cuda/gpu.h"

status cuda_attend_setup(device *d, const attend_setup *s, errbuf *eb);
/* Undoes attend_setup, or as much of it as there is. */
void cuda_attend_done(device *d);
status cuda_embed(device *d, const op_embed *a);
status cuda_norm(device *d, const op_norm *a);
status cuda_linear(device *d, const op_linear *a);
status cuda_attend(device *d, const op_attend *a);
status cuda_gate_up(device *d, const op_gate_up *a);
status cuda_layer_mark(device *d, uint32_t layer);
status cuda_head_norm(device *d, const op_head_norm *a);

#endif
