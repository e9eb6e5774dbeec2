/* kv_stage - segments of a hand-off between page memory and wire memory (ops.h, op_kv_copy).
 *
 * Thread: the transfer thread gathers and scatters; the device thread makes, warms and frees, while there is
 * none, and marks layers. */
#ifndef BATON_KERNELS_CUDA_KV_STAGE_H
#define BATON_KERNELS_CUDA_KV_STAGE_H

#include "kernels/cuda/gpu.h"

/* Makes d->stage. */
status kv_stage_new(device *d, errbuf *eb);
void kv_stage_free(device *d);
/* Runs both kernels once, before there is a transfer thread: CUDA loads a kernel when it is first launched,
 * for which it may stop everything else on the GPU, and takes memory. */
status kv_stage_warm(device *d, errbuf *eb);
/* backend_ops.kv_gather and kv_scatter */
status cuda_kv_gather(device *d, const op_kv_copy *a);
status cuda_kv_scatter(device *d, const op_kv_copy *a);

#endif
