/* wait - waiting for the GPU, but never for ever: what CUDA offers for it knows no deadline. */
#ifndef BATON_KERNELS_CUDA_WAIT_H
#define BATON_KERNELS_CUDA_WAIT_H

#include "base/status.h"

#include <cuda_runtime_api.h>

#define WAIT_MAX_S 60u /* no step and no copy takes that long, unless the GPU hangs */

/* Waits until a recorded event is done. ST_DEVICE: *error says what failed. ST_TIMEOUT: the GPU hangs. From
 * then on every call that waits by itself (to free memory does) could last for ever. Any thread. */
status wait_event(cudaEvent_t event, cudaError_t *error);

#endif
