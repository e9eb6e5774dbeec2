/* xport - the contract of a transport: how payload bytes of a segment get from P's staging into D's receive
 * ring.
 *
 * Control frames (proto/kv_wire.h) always travel on the pair's ZeroMQ channel; a transport moves payload
 * only. One conformance suite runs on every transport (tests/conformance). Slots are the only credit: the
 * sender uses slot i only between its CREDIT and the SEGMENT that names it. Thread: the transfer thread. No
 * slot function blocks. */
#ifndef BATON_TRANSFER_XPORT_H
#define BATON_TRANSFER_XPORT_H

#include "base/status.h"
#include "proto/kv_wire.h"

#include <stdbool.h>
#include <stddef.h>

/* One side's view of one pair's receive ring; each transport has its own struct. */
typedef struct xport_ring xport_ring;

typedef struct xport_ops {
    const char *name; /* "shm": as in the config and in HELLO */
    /* D: makes the ring for a pair and fills in `frame` (kind KV_RING) what P needs to reach it. ST_NOMEM
     * names the size. */
    status (*create)(xport_ring **out, uint32_t slots, size_t slot_bytes, kv_frame *frame, errbuf *eb);
    /* P: opens what `frame` describes. ST_PEER when it cannot be reached (other host, peer died). */
    status (*open)(xport_ring **out, const kv_frame *frame, errbuf *eb);
    void (*close)(xport_ring *r); /* either side; NULL is fine */
    /* P: where to gather the payload of a segment that will use `slot`: 64-byte aligned, slot_bytes long. */
    void *(*stage)(xport_ring *r, uint32_t slot);
    /* P: makes `zmq_msg` (an uninitialised zmq_msg_t) the part that travels after the SEGMENT frame. It
     * refers to the staged bytes, which stay valid until the message is gone even when the ring is closed
     * before. NULL: the payload is in D's ring already. */
    void (*part)(xport_ring *r, uint32_t slot, size_t bytes, void *zmq_msg);
    /* D: the payload of an arrived segment, 8-byte aligned. `part` is the message part, NULL when there was
     * none. NULL when sizes disagree. Borrowed: valid until the next call and while the part is. */
    const void *(*payload)(xport_ring *r, uint32_t slot, size_t bytes, const void *part, size_t part_bytes);
} xport_ops;

/* Largest ring: slots, and bytes of one slot. What a peer announces is checked against these. */
#define XPORT_SLOTS_MAX      4096u
#define XPORT_SLOT_BYTES_MAX ((size_t)1 << 30)

extern const xport_ops xport_shm;
extern const xport_ops xport_zmq;
/* NULL when there is none of that name */
const xport_ops *xport_find(const char *name);

#endif
