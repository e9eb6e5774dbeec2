/* kv_wire - the frames on the pair channel between a prefill worker P and a decode worker D. One P x D pair
 * has one ZeroMQ channel (P: DEALER, D: ROUTER on an ephemeral port); a transport moves payload only.
 *
 *   P > D   HELLO                      opens the pair: incarnations, layout; the next part is a kv_hello
 *   D > P   RING{slots, slot_bytes}    the ring that D owns for this pair, and its transport, which D picks
 *                                      of those that HELLO says P can; the next part is the ring's address
 *   D > P   REFUSED                    instead of RING; or later: D ended the pair
 *   P > D   SEGMENT* SEAL              per hand-off; it names its slot; over zmq the payload is the next part
 *   P > D   PROBE                      like a SEGMENT, of nobody's KV: the pair is tried before it is needed
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
#include <stdbool.h>
#include <stdint.h>

#define KV_WIRE_MAGIC   0x4e544142u /* "BATN" */
#define KV_WIRE_VERSION 4u

typedef enum kv_frame_kind {
    KV_HELLO = 1,
    KV_RING,
    KV_REFUSED,
    KV_SEGMENT,
    KV_SEAL,
    KV_CREDIT,
    KV_ABORT,
    KV_PROBE,
} kv_frame_kind;

/* The ways in which a payload may travel, as bits of kv_hello.can. */
enum { KV_BY_SHM = 1, KV_BY_ZMQ = 2, KV_BY_IPC = 4, KV_BY_NCCL = 8, KV_BY_TEST = 1 << 30 };

/* Where a process is and what it can: decides over a pair's transport. */
typedef struct kv_hello {
    uint64_t host;         /* alike: processes that see each other's memory files */
    unsigned char gpu[16]; /* the device's number on its host; zeros: it computes in the host's memory */
    uint32_t can;          /* set of KV_BY_ */
    uint32_t asked;        /* 1: this process was told which one to use, and can means that one */
} kv_hello;
static_assert(sizeof(kv_hello) == 32, "kv_hello crosses processes");

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
    uint32_t slot;        /* SEGMENT, PROBE, CREDIT; RING: slot count */
    kv_piece piece;       /* SEGMENT, PROBE; SEAL: the whole hand-off */
    uint64_t bytes;       /* SEGMENT, PROBE: payload bytes; RING: slot bytes */
    uint64_t checksum;    /* SEGMENT, PROBE */
    uint64_t ids_hash;    /* SEGMENT, SEAL: hash of the ids up to the last row of piece */
    int32_t first_token;  /* SEAL: output token k that P sampled; the next part is its token_out */
    uint32_t finished;    /* SEAL: 1 = the first token ended the request: D releases */
    char transport[8];    /* RING: "shm", "zmq", "ipc", "nccl" */
    uint64_t layout_hash; /* HELLO: dtype, layers, kv heads, head dim, page size */
} kv_frame;
static_assert(sizeof(kv_frame) == 136, "kv_frame crosses processes");

/* It names a slot, whose payload belongs to it. */
static inline bool kv_frame_has_payload(const kv_frame *f) {
    return f->kind == KV_SEGMENT || f->kind == KV_PROBE;
}

#endif
