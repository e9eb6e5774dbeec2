/* handoff - one KV hand-off as a state machine and its bookkeeping: which segments came, whether they cover
 * the prompt. Pure.
 *
 *   OFFERED -> RESERVED -> COPYING -> VERIFIED -> RELEASED;   any that is not an end -> ABORTED
 *
 * The sender (P) keeps one per prompt, from PREFILL to RELEASE; the receiver (D) one per RESERVE; the
 * coordinator one per attempt (its stamps are the stage times). Identity and checksum seeds:
 * proto/kv_wire.h. */
#ifndef BATON_KV_HANDOFF_H
#define BATON_KV_HANDOFF_H

#include "base/sm.h"
#include "base/status.h"
#include "kv/kv_layout.h"
#include "proto/kv_wire.h"

typedef enum handoff_state {
    HANDOFF_OFFERED,
    HANDOFF_RESERVED,
    HANDOFF_COPYING,
    HANDOFF_VERIFIED,
    HANDOFF_RELEASED,
    HANDOFF_ABORTED,
} handoff_state;

extern const sm_def handoff_sm;

/* Hash of ids[0..count), chained so that the hash of a longer prefix continues the shorter one's:
 * h = kv_ids_hash(h, ids + a, b - a) with h started as KV_IDS_HASH_START. */
#define KV_IDS_HASH_START 0x9e3779b97f4a7c15ull
uint64_t kv_ids_hash(uint64_t start, const int32_t *ids, uint32_t count);
/* Seed of a segment's checksum: its identity and the hash of the token ids up to the end of its rows. */
uint64_t kv_segment_seed(const kv_identity *id, uint32_t segment, const kv_piece *piece, uint64_t ids_hash);
/* Whether both name the same attempt of the same request between the same two incarnations. */
bool kv_identity_same(const kv_identity *a, const kv_identity *b);

/* How P cuts work into segments: rows [begin, begin + count) have layers [0, layers_done) computed;
 * layer_sent of them left already. Returns the next piece to send: the fewest layers that reach target_bytes
 * (or what is left, once layers_done == layout->layers), but never more than slot_bytes: a layer larger than
 * that is split into rows on page edges. False when nothing is due yet. slot_bytes holds at least one page's
 * rows of one layer. */
typedef struct handoff_cut {
    uint32_t begin, count; /* the chunk's rows */
    uint32_t layers_done;  /* computed so far */
    uint32_t layer_sent;   /* layers fully sent */
    uint32_t row_sent;     /* rows of the current layer group already sent (when rows are split) */
    uint32_t group_end;    /* end of the current layer group; 0 = none open */
} handoff_cut;
bool handoff_cut_next(handoff_cut *cut, const kv_layout *layout, size_t target_bytes, size_t slot_bytes,
                      kv_piece *out);

/* What D has of one hand-off: rows x layers covered, in order per (chunk piece). */
typedef struct handoff_recv handoff_recv;
/* Rows [token_begin, token_end) travel: D holds those before. token_begin: on a page edge, below token_end.
 * Caller frees with handoff_recv_free. */
handoff_recv *handoff_recv_new(const kv_layout *layout, uint32_t token_begin, uint32_t token_end);
/* Whether a hand-off of so many rows may start at this one. */
bool handoff_may_start(uint32_t token_begin, uint32_t token_end);
void handoff_recv_free(handoff_recv *r);
/* A segment that came. ST_CORRUPT when it leaves the rows, overlaps what came before, or its number is not
 * the next. Called before the payload is scattered, because it is the bounds check; a wrong checksum
 * afterwards ends the whole hand-off. */
status handoff_recv_add(handoff_recv *r, uint32_t segment, const kv_piece *piece, errbuf *eb);
/* At SEAL: `whole` is what the sender says to have sent, segment_count segments came, and every row of every
 * layer exactly once. ST_CORRUPT names what is missing. */
status handoff_recv_seal(const handoff_recv *r, uint32_t segment_count, const kv_piece *whole, errbuf *eb);

#endif
