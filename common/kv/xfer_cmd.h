/* xfer_cmd - what the transfer thread is told about hand-offs, and what it tells: commands, events, counters.
 * Plain data.
 *
 * The thread itself is transfer/xfer.h. It owns the contents of pages between X_EXPECT and X_VERIFIED
 * (decode) and only reads those between X_OFFER and X_DROPPED (prefill): pages may be given back only after
 * X_DROPPED. */
#ifndef BATON_KV_XFER_CMD_H
#define BATON_KV_XFER_CMD_H

#include "proto/kv_wire.h"
#include "token/sampling.h"

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
    X_PEER,   /* P: a receiver joined: {peer_inc, endpoint}. A pair to it is opened and tried before it is
                 needed; X_PAIR tells how that went */
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
    /* X_EXPECT, X_DEST: rows before it are at D already; on a page edge, below id_count */
    uint32_t token_begin;
    uint32_t rows_here; /* X_OFFER: rows before it have all layers already; on a page edge, below id_count */
    const char *endpoint; /* X_DEST, X_PEER */
    token_out first;      /* X_SEAL: output token k that P sampled, with its logprobs */
    bool finished;        /* X_SEAL: it ended the request */
} xfer_cmd;

/* Rows [begin, begin + count) of a request have layers [0, layer] done, or issued. */
typedef struct layer_rows {
    uint64_t req;
    uint32_t begin, count, layer;
} layer_rows;

typedef enum xfer_event_kind {
    X_SENT,     /* P: SEAL left; bytes, segments. X_FAILED may follow: D refused it, or the pair ended before
                   X_DROP */
    X_VERIFIED, /* D: all of it is here and right; first_token, finished, bytes, segments. The transfer thread
                   has forgotten it */
    X_FAILED,  /* both: this hand-off ended; segment, why. Its pages are untouched from now on after X_DROP */
    X_DROPPED, /* both */
    X_PAIR,    /* P: the pair to the receiver id.d_inc was tried, or ended (why); pair */
} xfer_event_kind;

/* What became of a pair. */
typedef struct xfer_pair {
    const char *transport; /* static; "" when it ended before D had picked one */
    bool open;
    uint64_t latency_ns; /* of one smallest segment, from its gather to its credit: median; 0: not measured */
    double bytes_per_s;  /* of full segments; 0: not measured */
} xfer_pair;

typedef struct xfer_event {
    xfer_event_kind kind;
    kv_identity id;
    uint64_t bytes;
    uint32_t segments;
    uint32_t segment; /* X_FAILED */
    /* X_FAILED, X_PAIR: by then this side's device had failed; nothing can be computed here any more */
    bool device;
    token_out first;            /* X_VERIFIED */
    bool finished;              /* X_VERIFIED */
    uint64_t first_ns, last_ns; /* local clock: first segment sent/received, SEAL sent/verified */
    char why[160];
    xfer_pair pair; /* X_PAIR */
} xfer_event;

/* Counters since start, readable from the loop thread. */
typedef struct xfer_stats {
    uint64_t segments, bytes, failures, pairs_opened, crc_errors;
    uint64_t strays; /* D: frames of hand-offs that are not expected (late, or another identity) */
} xfer_stats;

#endif
