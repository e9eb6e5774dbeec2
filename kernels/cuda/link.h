/* link - backend_ops.link by NCCL (kernels/link.h).
 *
 * A link is a non-blocking communicator of two ranks and a stream. NCCL opens it on a thread of its own, and
 * puts each send and receive into the stream on one as well: until CommGetAsyncError says that this is done,
 * the communicator takes no other call, and an event that was recorded would be before the copy. So a link
 * keeps a queue and gives NCCL one after the other.
 *
 *   begun --Send, Recv--> (in progress) --> given: event recorded --> done
 *
 * The first send and receive connect the two, for which NCCL wants both ends; `ready` passes a few bytes
 * first, so that later ones are given at once, whatever the peer does.
 *
 * The end: CommAbort waits for NCCL's threads and frees memory, which waits for whatever the GPU is doing; on
 * a peer that is frozen, or another pair's copy, that may take long. A thread of its own does it, for each
 * link. Thread: the transfer thread, but for that one. */
#ifndef BATON_KERNELS_CUDA_LINK_H
#define BATON_KERNELS_CUDA_LINK_H

#include "kernels/cuda/gpu.h"

extern const link_ops cuda_link;

/* The device's part: the library once it is wanted, and links that are not gone yet. Any thread. */
typedef struct links links;
void links_new(device *d);
/* Waits for those that were given up, for a bounded time: false when some are left, and the device has to
 * stay. */
bool links_free(device *d);

#endif
