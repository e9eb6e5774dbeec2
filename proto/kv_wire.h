/* kv_wire - the frames on the pair channel between a prefill worker P and a decode worker D. One P x D pair
 * has one ZeroMQ channel (P: DEALER, D: ROUTER on an ephemeral port); a transport moves payload only.
 *
 *   P > D   HELLO                      opens the pair: incarnations, transport, layout
 *   D > P   RING{slots, slot_bytes}    the ring that D owns for this pair; the next part is its address
 *   D > P   REFUSED                    instead of RING; or later: D ended the pair
 *   P > D   SEGMENT* SEAL              per hand-off; it names its slot; over zmq the payload is the next part
 *   D > P   CREDIT{slot}               the slot is free again
 *   P > D   ABORT{req, attempt}        P gave up (CANCEL, DROP)
 *   D > P   ABORT{req, attempt}        stop sending this one
 *
 * The address of a ring is the transport's own; an empty one has no part. The message part after REFUSED and
 * ABORT is the reason, as text. Every frame carries its number in its direction (`seq`): a gap ends the pair,
 * and all its hand-offs are ABORTED. Fields are little endian, in host order of the x86-64 and arm64 machines
 * that Baton runs on. */
#ifndef BATON_PROTO_KV_WIRE_H
#define BATON_PROTO_KV_WIRE_H

#include <assert.h>
#include <stdint.h>

#define KV_WIRE_MAGIC   0x4e544142u /* "BATN" */
#define KV_WIRE_VERSION 3u

typedef enum kv_frame_kind {
    KV_HELLO = 1,
    KV_RING,
    KV_REFUSED,
    KV_SEGMENT,
    KV_SEAL,
    KV_CREDIT,
    KV_ABORT,
} kv_frame_kind;

/* Whose KV this is. */
typedef struct kv_identity {
    uint64_t epoch; /* coordinator's */
    uint64_t p_inc; /* incarnations */
    uint64_t d_inc;
    uint64_t req;
    uint32_t attempt;
    uint32_t zero;
} kv_identity;
static_assert(sizeof(kv_identity) == 40, "kv_identity crosses processes");

/* A part of one sequence's KV: rows (tokens) x layers x heads of keys and values. Begins on a page edge. */
typedef struct kv_piece {
    uint32_t token_begin, token_count;
    uint32_t layer_begin, layer_end;
    uint32_t head_begin, head_end;
} kv_piece;
static_assert(sizeof(kv_piece) == 24, "kv_piece crosses processes");

typedef struct kv_frame {
    uint32_t magic;
    uint16_t version;
    uint16_t kind;        /* kv_frame_kind */
    uint64_t seq;         /* 1, 2, ... per direction of the pair */
    kv_identity id;       /* HELLO, RING: req = attempt = 0 */
    uint32_t segment;     /* SEGMENT: 0, 1, ...; SEAL: how many there were */
    uint32_t slot;        /* SEGMENT, CREDIT; RING: slot count */
    kv_piece piece;       /* SEGMENT; SEAL: the whole hand-off */
    uint64_t bytes;       /* SEGMENT: payload bytes; RING: slot bytes */
    uint64_t checksum;    /* SEGMENT */
    uint64_t ids_hash;    /* SEGMENT, SEAL: hash of the ids up to the last row of piece */
    int32_t first_token;  /* SEAL: output token k that P sampled; the next part is its token_out */
    uint32_t finished;    /* SEAL: 1 = the first token ended the request: D releases */
    char transport[8];    /* HELLO: "shm", "zmq" */
    uint64_t layout_hash; /* HELLO: dtype, layers, kv heads, head dim, page size */
} kv_frame;
static_assert(sizeof(kv_frame) == 136, "kv_frame crosses processes");

#endif
