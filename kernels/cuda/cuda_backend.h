/* cuda_backend - the backend `cuda`: the operations of ops.h on one NVIDIA GPU of compute capability 8.0 or
 * newer.
 *
 * What runs on the device are the .cu files of this folder (launch.h) and cuBLASLt (gemm_lt.h); what runs on
 * the host is C: the opened GPU, its memory and its faults (gpu.c, wait.c), weights (weights.c), a step's
 * tables and recorded steps (step.c, decode_plan.c), the ops (ops.c), tokens (samples.c), hand-offs
 * (kv_stage.c). Only the table, cuda_backend.c, knows them all, and nobody in this folder includes it. */
#ifndef BATON_KERNELS_CUDA_CUDA_BACKEND_H
#define BATON_KERNELS_CUDA_CUDA_BACKEND_H

#include "kernels/backend.h"

extern const backend_ops cuda_backend;

#endif
