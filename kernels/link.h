/* link - a channel between the memories of two GPUs, of which each process has one end: what the transport
 * `nccl` stands on (a communicator of two ranks, with a stream of its own).
 *
 * Rank 0 receives and draws the id; rank 1 sends. Each end has memory of its own, from which it sends or into
 * which it receives; so memory that the hardware may still touch is nobody else's, however long it takes to
 * give up what is under way. Sends and receives are matched by their order and counted, nothing blocks, and
 * an end ends only with its own pair.
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

typedef enum link_rank { LINK_RECEIVER, LINK_SENDER } link_rank;

typedef struct link_options {
    unsigned char id[LINK_ID_BYTES];
    link_rank rank;
    uint32_t ctas; /* blocks of the GPU that its copies may take; 0: as the library likes */
    size_t bytes;  /* of this end's memory */
    uint32_t most; /* sends or receives at a time that are not done */
} link_options;

typedef struct link_ops {
    /* ST_UNSUPPORTED with the reason and the remedy when there is no library here, or one that is too old. */
    status (*check)(device *d, errbuf *eb);
    /* Of the library, after a check that answered ST_OK; both ends want the same: "2.28.9". Borrowed until
     * the device closes. */
    const char *(*version)(const device *d);
    /* The receiver draws what names the channel; it travels to the sender. */
    status (*draw)(device *d, unsigned char id[LINK_ID_BYTES], errbuf *eb);
    /* Begins to open this end. ST_NOMEM names the size. Caller frees with abort. */
    status (*open)(device *d, const link_options *o, gpu_link **out, errbuf *eb);
    /* ST_AGAIN until both ends are open and something has passed between them. */
    status (*ready)(gpu_link *l, errbuf *eb);
    /* This end's memory, 512-byte aligned, counted as the device's. Borrowed: valid until abort. */
    void *(*at)(const gpu_link *l);
    /* After ready, the sender and the receiver: the next one, of bytes that stay as they are until it is
     * done. ST_OK: begun. */
    status (*send)(gpu_link *l, size_t offset, size_t bytes, errbuf *eb);
    status (*recv)(gpu_link *l, size_t offset, size_t bytes, errbuf *eb);
    /* Moves things on. How many of those begun so far the GPU has been given, from where on they need nobody
     * to call this, and how many are done; both in the order in which they were begun. ST_PEER: the other
     * end, or the network, failed. */
    status (*progress)(gpu_link *l, uint64_t *given, uint64_t *done, errbuf *eb);
    /* At any time, also while it opens. Gives up what is under way and frees, behind the caller's back and
     * for as long as that takes; a device that is closed waits for it, for a bounded time. NULL is fine. */
    void (*abort)(gpu_link *l);
} link_ops;

#endif
