/* share - share_ops of the backend `cuda`: virtual memory management (cuMemCreate), exported as a file
 * descriptor. Not cudaIpcGetMemHandle: to free memory that a peer still maps is undefined there, whereas here
 * each mapping holds the memory. Internal. */
#ifndef BATON_KERNELS_CUDA_SHARE_H
#define BATON_KERNELS_CUDA_SHARE_H

#include "kernels/share.h"

/* Finds out what the GPU can; that it cannot is no error. */
void shares_new(device *d);
/* Accepts a device without. What is shared must have been closed. */
void shares_free(device *d);

extern const share_ops cuda_share;

#endif
