/* xfer_options - what a transfer thread is started with. Plain data; the strings are borrowed for xfer_new.
 */
#ifndef BATON_TRANSFER_XFER_OPTIONS_H
#define BATON_TRANSFER_XFER_OPTIONS_H

#include "engine/engine.h"
#include "net/curve.h"
#include "transfer/xport.h"

typedef struct xfer_options {
    engine_kv kv;
    bool receiver;          /* decode worker: binds the pair channel */
    const char *transport;  /* "shm", "zmq" or "nccl" */
    const curve_keys *keys; /* of the cluster; NULL: whoever reaches the channel may send */
    const char *bind_host;  /* D: address to bind and announce, e.g. "127.0.0.1" */
    uint32_t slots;         /* ring slots per pair */
    size_t slot_bytes;
    uint32_t link_ctas;          /* nccl: blocks of the GPU that its copies may take; 0: as it likes */
    size_t segment_bytes;        /* target: layers are grouped to at least this much */
    uint32_t layers_ring;        /* capacity of the device thread's ring */
    uint64_t pair_timeout_ns;    /* HELLO without RING, SEGMENT without CREDIT for so long: the pair ends */
    bool overlap;                /* false: segments leave only after SEAL (to measure what overlap gains) */
    bool checksums;              /* false only by the test hook */
    const xport_ops *test_xport; /* test hook: instead of the one that `transport` names; NULL = none */
    int32_t test_flip_segment; /* test hook: flip one byte of this segment's payload after its checksum; -1 =
                                  never */
} xfer_options;

#endif
