/* link - a channel between the memories of two GPUs, of which each process has one end: what the transport
 * `nccl` stands on (a communicator of two ranks, with a stream of its own).
 *
 * Rank 0 receives and draws the id; rank 1 sends. Sends and receives are matched by their order, nothing
 * blocks, and both ends end only together with their own pair: `abort` gives up whatever is under way.
 *
 * A table of backend_ops, NULL where there is no such library. Thread: the transfer thread, but for `check`
 * and `version`, which any may call. */
#ifndef BATON_KERNELS_LINK_H
#define BATON_KERNELS_LINK_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

#define LINK_ID_BYTES 128u

typedef struct device device;
typedef struct gpu_link gpu_link;

typedef struct link_ops {
    /* ST_UNSUPPORTED with the reason and the remedy when there is no library here, or one that is too old. */
    status (*check)(device *d, errbuf *eb);
    /* Of the library: "2.28.9"; "" when there is none. Static. */
    const char *(*version)(void);
    /* The receiver draws what names the channel; it travels to the sender. */
    status (*draw)(device *d, unsigned char id[LINK_ID_BYTES], errbuf *eb);
    /* Begins to open this end. ctas: blocks of the GPU that its copies may take, 0: as the library likes.
     * Caller frees with abort. */
    status (*open)(device *d, const unsigned char id[LINK_ID_BYTES], uint32_t rank, uint32_t ctas,
                   gpu_link **out, errbuf *eb);
    /* ST_AGAIN until both ends are open. */
    status (*ready)(gpu_link *l, errbuf *eb);
    /* After ready: put behind what was begun before. The memory is the device's and stays as it is until
     * that is done. ST_OK: begun. ST_AGAIN never. */
    status (*send)(gpu_link *l, const void *from, size_t bytes, errbuf *eb);
    status (*recv)(gpu_link *l, void *to, size_t bytes, errbuf *eb);
    /* Whether the oldest of what was begun, and not yet reported here, is done: ST_OK once for each. ST_PEER:
     * the other end, or the network, failed. */
    status (*done)(gpu_link *l, errbuf *eb);
    /* At any time, also while it opens: when it returns, memory given to it is touched no more. Bounded.
     * NULL is fine. */
    void (*abort)(gpu_link *l);
} link_ops;

#endif
