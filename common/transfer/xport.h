/* xport - the contract of a transport: how payload bytes of a segment get from P's staging into D's receive
 * ring.
 *
 *   P  open .. ready     stage -> (gather) -> push .. pushed -> SEGMENT ------> CREDIT: the slot is free
 *   D  create .. ready                                     SEGMENT -> pull .. pulled -> payload -> (scatter)
 *
 * Control frames (proto/kv_wire.h) always travel on the pair's ZeroMQ channel; a transport moves payload
 * only. Slots are the only credit: the sender uses slot i only between its CREDIT and the SEGMENT that names
 * it, and the receiver credits it when it has read the payload, or thrown it away.
 *
 * Nothing here blocks. What takes time is begun and then asked for (the dots above): `ready`, `pushed` and
 * `pulled` answer ST_AGAIN for as long as the pair's deadline allows. Any other error, of any function, ends
 * this pair and no other.
 *
 * Pushes are begun in the order in which their SEGMENTs leave, pulls in the order in which they came; that is
 * one order, and the oldest is asked for first, so a transport may match the two by counting. A hand-off that
 * is aborted does not change it: what was pushed is announced, what was announced is pulled, and the receiver
 * throws it away. P may push as soon as its own side is ready; a SEGMENT that reaches D before D's side is
 * ready waits there.
 *
 * One conformance suite runs on every transport (tests/conformance). Thread: the transfer thread. */
#ifndef BATON_TRANSFER_XPORT_H
#define BATON_TRANSFER_XPORT_H

#include "base/status.h"
#include "kernels/backend.h"
#include "proto/kv_wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Largest ring: slots, and bytes of one slot. What a peer announces is checked against these. */
#define XPORT_SLOTS_MAX      4096u
#define XPORT_SLOT_BYTES_MAX ((size_t)1 << 30)
#define XPORT_ADDRESS_MAX    256u

/* One side's view of one pair's receive ring; each transport has its own struct. */
typedef struct xport_ring xport_ring;

/* What a ring is made for. */
typedef struct xport_setup {
    const backend_ops *ops; /* of the device whose pages are copied: for pinning, or for memory of its own */
    device *dev;            /* borrowed until close */
    uint32_t slots;         /* 1..XPORT_SLOTS_MAX */
    size_t slot_bytes;      /* a multiple of 64, at most XPORT_SLOT_BYTES_MAX */
    uint32_t link_ctas;     /* nccl: blocks of the GPU that copies may take; 0: as the library likes */
} xport_setup;

/* How P finds D's ring: D's transport writes it, P's reads it, nobody else looks inside. */
typedef struct xport_address {
    unsigned char bytes[XPORT_ADDRESS_MAX];
    size_t count; /* 0: none is needed */
} xport_address;

/* Where a segment's payload lies. */
typedef struct xport_place {
    void *at;
    memory_kind in;
} xport_place;

/* A payload that travels inside its SEGMENT message. */
typedef struct xport_part {
    void *bytes; /* stay valid until `release`, even when the ring is closed before */
    size_t count;
    /* Called once, from any thread */
    void (*release)(void *bytes, void *hint);
    void *hint;
} xport_part;

typedef struct xport_ops {
    const char *name; /* "shm": as in the config and in RING; at most 7 letters */
    uint32_t bit;     /* its KV_BY_ */
    /* Its rings may take so many times the pair's deadline until they are ready; 0 is 1. */
    uint32_t open_times;
    /* Whether this process can use it: ST_UNSUPPORTED with the reason and the remedy. Any thread. */
    status (*check)(const backend_ops *ops, device *dev, errbuf *eb);
    /* D: begins the ring of a pair and writes its address, which is sent at once. ST_NOMEM names the size. */
    status (*create)(xport_ring **out, const xport_setup *s, xport_address *address, errbuf *eb);
    /* P: begins to open the ring at `address`, which came from a peer and is checked. ST_PEER when it cannot
     * be reached (other host, peer died), ST_CORRUPT when it is no address of this transport. */
    status (*open)(xport_ring **out, const xport_setup *s, const xport_address *address, errbuf *eb);
    /* Either side; until ST_OK nothing but `close` is called. */
    status (*ready)(xport_ring *r, errbuf *eb);
    /* Either side, at any time; NULL is fine. Pushes and pulls under way are given up: when it returns, no
     * byte of the ring is read or written any more, but for parts that are not released yet. */
    void (*close)(xport_ring *r);

    /* P: where to gather the payload of a segment that will use `slot`: 64-byte aligned, slot_bytes long. */
    xport_place (*stage)(xport_ring *r, uint32_t slot);
    /* P: the first `bytes` of the slot are staged, and stay as they are until CREDIT. ST_OK: SEGMENT may
     * leave, also where the bytes move only when D pulls. ST_AGAIN: when `pushed` says so. */
    status (*push)(xport_ring *r, uint32_t slot, size_t bytes, errbuf *eb);
    status (*pushed)(xport_ring *r, uint32_t slot, errbuf *eb);
    /* P: fills in what travels with the SEGMENT frame; false: nothing does. Asked once, when it leaves. */
    bool (*part)(xport_ring *r, uint32_t slot, size_t bytes, xport_part *out);

    /* D: a segment of so many bytes (at most slot_bytes) was announced in `slot`. ST_OK: the payload is
     * there. ST_AGAIN: when `pulled` says so. */
    status (*pull)(xport_ring *r, uint32_t slot, size_t bytes, errbuf *eb);
    status (*pulled)(xport_ring *r, uint32_t slot, errbuf *eb);
    /* D: the payload, 8-byte aligned. `part` is the message part, NULL when there was none. `at` is NULL when
     * the part is not what belongs there. Borrowed: valid until the next call and while the part is. */
    xport_place (*payload)(xport_ring *r, uint32_t slot, size_t bytes, const void *part, size_t part_bytes);
} xport_ops;

/* For the transports: asserts what xport_setup says; whether a payload of so many bytes can lie in a slot;
 * and the refusal of one that copies between GPUs where the backend has none. */
void xport_check_setup(const xport_setup *s);
bool xport_in_ring(const xport_setup *s, uint32_t slot, size_t bytes);
status xport_wants_gpu(const char *transport, const backend_ops *ops, errbuf *eb);

/* For a table's slots where a transport has nothing to do: usable anywhere, ready at once, on its way at
 * once, there at once, nothing inside the message. */
status xport_check_nothing(const backend_ops *ops, device *dev, errbuf *eb);
status xport_ready_at_once(xport_ring *r, errbuf *eb);
status xport_move_at_once(xport_ring *r, uint32_t slot, size_t bytes, errbuf *eb);
status xport_moved_at_once(xport_ring *r, uint32_t slot, errbuf *eb);
bool xport_no_part(xport_ring *r, uint32_t slot, size_t bytes, xport_part *out);

extern const xport_ops xport_ipc;
extern const xport_ops xport_shm;
/* Of the host's memory, for one pair */
uint64_t xport_shm_ring_bytes(uint32_t slots, size_t slot_bytes);
extern const xport_ops xport_zmq;
extern const xport_ops xport_nccl;
/* NULL when there is none of that name */
const xport_ops *xport_find(const char *name);

#endif
