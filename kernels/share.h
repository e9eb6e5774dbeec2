/* share - memory of a GPU that a process on the same host maps: what the transport `ipc` stands on.
 *
 * The owner makes it and exports a file descriptor; a peer imports that and maps the same bytes. Both hold
 * them: memory lives until the last of the two has closed it, so that whoever is late writes into memory that
 * nobody reads, and never into somebody else's.
 *
 * A table of backend_ops, NULL where the backend computes in the host's memory. Thread: the transfer thread,
 * but for `check` and `uuid`, which any may call. */
#ifndef BATON_KERNELS_SHARE_H
#define BATON_KERNELS_SHARE_H

#include "base/status.h"
#include "kernels/ops.h"

#include <stddef.h>

#define SHARE_UUID_BYTES 16u

typedef struct device device;
/* One side's mapping. */
typedef struct gpu_share gpu_share;

typedef struct share_ops {
    /* ST_UNSUPPORTED with the reason when this device's memory cannot be shared. */
    status (*check)(device *d, errbuf *eb);
    /* Which GPU this is: the same number in every process of the host. */
    void (*uuid)(const device *d, unsigned char out[SHARE_UUID_BYTES]);
    /* ST_OK: this device can write memory of the GPU `uuid`, which is its own or a peer. ST_UNSUPPORTED says
     * why not (not visible here, no path between the two). */
    status (*reach)(device *d, const unsigned char uuid[SHARE_UUID_BYTES], errbuf *eb);
    /* The owner: zeroed memory of at least `bytes`, counted as this device's (memory_fraction). *fd is the
     * caller's to close, which ends nothing that is mapped. ST_NOMEM names the size. Caller frees with close.
     */
    status (*create)(device *d, size_t bytes, gpu_share **out, int *fd, errbuf *eb);
    /* The peer: maps what `fd` (borrowed) stands for, made by `create` on the GPU `uuid` with the same
     * `bytes`. ST_PEER when it is no such thing. Caller frees with close. */
    status (*map)(device *d, int fd, size_t bytes, const unsigned char uuid[SHARE_UUID_BYTES],
                  gpu_share **out, errbuf *eb);
    /* Where it begins here, 512-byte aligned, and how a copy has to treat it: MEMORY_DEVICE on this GPU, else
     * MEMORY_PEER. Borrowed. */
    void *(*at)(const gpu_share *s);
    memory_kind (*in)(const gpu_share *s);
    /* Waits for no copy: the caller has seen those that touch it return. A device that hangs keeps the
     * mapping. NULL is fine. */
    void (*close)(device *d, gpu_share *s);
} share_ops;

#endif
