/* warp - what the warp functions of device.cuh compute, for all 32 lanes at once (block.cpp brings the lanes
 * together).
 */
#ifndef BATON_TESTS_CUDA_HOST_WARP_H
#define BATON_TESTS_CUDA_HOST_WARP_H

#include "kernels/cuda/device.cuh"

/* operands[l] is lane l's struct of cuda_host.h for `kind`. */
void warp_compute(cuda_host_kind kind, void *const operands[32]);
/* "warp_get", for messages. */
const char *warp_kind_name(cuda_host_kind kind);

#endif
