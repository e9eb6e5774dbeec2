/* xfer - the transfer thread: sends KV segments (prefill), receives, verifies and scatters them (decode).
 *
 * The loop thread talks to it by commands and events over two SPSC rings; the device thread of a prefill
 * worker tells it by a third ring which layers of which rows are done. It owns the contents of pages between
 * X_EXPECT and X_VERIFIED (decode) and only reads those between X_OFFER and X_DROPPED (prefill): the loop
 * thread may give pages back only after X_DROPPED.
 *
 * The structs below are all that pure worker code (and the virtual-time test, which plays this thread) sees.
 */
#ifndef BATON_TRANSFER_XFER_H
#define BATON_TRANSFER_XFER_H

#include "base/status.h"
#include "engine/engine.h"
#include "kv/handoff.h"

typedef enum xfer_cmd_kind {
    X_EPOCH,  /* a new session: {id.epoch, own incarnation in id.p_inc or id.d_inc}; drops everything else */
    X_OFFER,  /* P: ids (prompt ++ output) and pages of a prompt that will be computed; keeps copies. Replaces
               * an earlier offer of the request, whose last step must have ended (its layer reports name the
               * request only) */
    X_DEST,   /* P: where to send it: endpoint, id (full identity). From then on segments leave. Again with
               * another id: from the start; again with the same: ignored, or X_FAILED when that one failed */
    X_SEAL,   /* P: the prompt is finished: first_token, finished. Sent after the last segment */
    X_EXPECT, /* D: pages and ids of a reservation, id (full identity). Replaces an earlier one */
    X_DROP,   /* both: forget {req}; answered by X_DROPPED when no page of it is touched any more. Unknown:
                 likewise */
    X_PEER_GONE, /* both: the peer with incarnation `peer_inc` left the cluster: close its pair; its hand-offs
                    fail */
    X_CMD_COUNT
} xfer_cmd_kind;

typedef struct xfer_cmd {
    xfer_cmd_kind kind;
    kv_identity id;
    uint64_t peer_inc;
    const int32_t *ids; /* borrowed for xfer_post; copied */
    uint32_t id_count;
    const uint32_t *pages; /* likewise */
    uint32_t page_count;
    const char *endpoint; /* X_DEST */
    token_out first;      /* X_SEAL: output token k that P sampled, with its logprobs */
    bool finished;        /* X_SEAL: it ended the request */
} xfer_cmd;

typedef enum xfer_event_kind {
    X_SENT,     /* P: SEAL left; bytes, segments. X_FAILED may follow: D refused it, or the pair ended before
                   X_DROP */
    X_VERIFIED, /* D: all of it is here and right; first_token, finished, bytes, segments. The transfer thread
                   has forgotten it */
    X_FAILED,  /* both: this hand-off ended; segment, why. Its pages are untouched from now on after X_DROP */
    X_DROPPED, /* both */
} xfer_event_kind;

typedef struct xfer_event {
    xfer_event_kind kind;
    kv_identity id;
    uint64_t bytes;
    uint32_t segments;
    uint32_t segment; /* X_FAILED */
    bool device; /* X_FAILED: by then this side's device had failed; nothing can be computed here any more */
    token_out first;            /* X_VERIFIED */
    bool finished;              /* X_VERIFIED */
    uint64_t first_ns, last_ns; /* local clock: first segment sent/received, SEAL sent/verified */
    char why[160];
} xfer_event;

typedef struct xfer xfer;

typedef struct xfer_options {
    engine_kv kv;
    bool receiver;         /* decode worker: binds the pair channel */
    const char *transport; /* "shm" or "zmq" */
    const char *bind_host; /* D: address to bind and announce, e.g. "127.0.0.1" */
    uint32_t slots;        /* ring slots per pair */
    size_t slot_bytes;
    size_t segment_bytes;      /* target: layers are grouped to at least this much */
    uint32_t layers_ring;      /* capacity of the device thread's ring */
    uint64_t pair_timeout_ns;  /* HELLO without RING, SEGMENT without CREDIT for so long: the pair ends */
    bool overlap;              /* false: segments leave only after SEAL (to measure what overlap gains) */
    bool checksums;            /* false only by the test hook */
    int32_t test_flip_segment; /* test hook: flip one byte of this segment's payload after its checksum; -1 =
                                  never */
} xfer_options;

/* Starts the thread (returns after it runs). Caller frees with xfer_free, which stops it. */
status xfer_new(xfer **out, const xfer_options *opt, errbuf *eb);
void xfer_free(xfer *x);
/* D: bound pair channel. Borrowed */
const char *xfer_endpoint(const xfer *x);
/* Loop thread; bounded wait for room in the ring */
void xfer_post(xfer *x, const xfer_cmd *cmd);
/* Readable when events wait */
int xfer_fd(const xfer *x);
/* Loop thread; ST_AGAIN = none. When the fd is readable, call until then */
status xfer_next(xfer *x, xfer_event *out);
/* Device thread (P): rows [begin, begin + count) of req now have layers [0, layer] done. */
void xfer_layer_done(xfer *x, uint64_t req, uint32_t begin, uint32_t count, uint32_t layer);

/* Counters since start, readable from the loop thread. */
typedef struct xfer_stats {
    uint64_t segments, bytes, failures, pairs_opened, crc_errors;
    uint64_t strays; /* D: frames of hand-offs that are not expected (late, or another identity) */
} xfer_stats;
xfer_stats xfer_stats_of(const xfer *x);

#endif
