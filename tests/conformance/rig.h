/* rig - both ends of hand-offs in one process: page memory with known content, waiting with deadlines, and
 * raw peers that break the rules.
 *
 * Content of each element is hash(salt, layer, K or V, head, position, dim), so a test knows every byte that
 * has to arrive. Memory that was never written is RIG_BLANK. The test's thread plays the loop thread and, at
 * a sender, the device thread. */
#ifndef BATON_TESTS_CONFORMANCE_RIG_H
#define BATON_TESTS_CONFORMANCE_RIG_H

#include "tests/test.h"

#include "tests/conformance/xport_slow.h"

#include "kv/handoff.h"
#include "transfer/pair.h"
#include "transfer/xfer.h"

#define RIG_BLANK      0xee
#define RIG_TOKENS_MAX 1024u
#define RIG_EPOCH      77u

/* One process's end: a transfer thread over its own page memory. */
typedef struct rig_side {
    xfer *x;
    engine_kv kv;
    uint64_t inc;
    uint32_t slow_turns; /* rig_nap: turns more than a transport needs that does everything at once */
} rig_side;

typedef struct rig_options {
    const char *transport;
    bool receiver;
    uint64_t inc;
    kv_layout layout;         /* zero: rig_layout(DT_F16) */
    uint32_t page_count;      /* 0: 256 */
    uint32_t slots;           /* 0: 8 */
    size_t slot_bytes;        /* 0: 64 KiB */
    size_t segment_bytes;     /* 0: 4 KiB */
    uint64_t pair_timeout_ns; /* 0: 20 s */
    bool hold;                /* overlap off */
    bool trusting;            /* checksums off */
    const backend_ops *ops;   /* NULL: rig_backend */
    uint32_t gpu;             /* number of it, where there are several */
    int flip;                 /* number of the segment to corrupt, plus 1; 0: none */
    const curve_keys *keys;   /* NULL: in the clear */
} rig_options;

/* 6 layers, 2 heads of 16 */
kv_layout rig_layout(dtype type);

/* And X_EPOCH */
void rig_open(rig_side *s, const rig_options *o);
void rig_close(rig_side *s);
/* A sender p of incarnation RIG_P_INC and a receiver d of RIG_D_INC, alike in everything else. */
#define RIG_P_INC 0x1111u
#define RIG_D_INC 0x2222u
void rig_open_both(rig_side *p, rig_side *d, rig_options o);
void rig_close_both(rig_side *p, rig_side *d);

/* One hand-off: ids are made of req, pages begin at first_page and go backwards through every second page. */
typedef struct rig_work {
    kv_identity id;
    uint32_t count;
    int32_t ids[RIG_TOKENS_MAX];
    uint32_t pages[RIG_TOKENS_MAX / 16 + 1]; /* one more than the rows need: the decoder's first token */
    uint32_t page_count;
    uint32_t begin; /* 0; else the first row that travels: rig_expect, rig_dest, rig_wrong, rig_spilled */
    uint32_t here;  /* 0; else rows that the sender has when it offers: rig_offer writes them */
} rig_work;
rig_work rig_work_of(const rig_side *p, const rig_side *d, uint64_t req, uint32_t attempt, uint32_t count,
                     uint32_t first_page);

void rig_offer(rig_side *p, const rig_work *w);
/* Posted, not yet obeyed: as when RESERVED and DEST are fast */
void rig_expect(rig_side *d, const rig_work *w);
void rig_dest(rig_side *p, const rig_work *w, const char *endpoint);
void rig_seal(rig_side *p, const rig_work *w);
/* And waits for X_DROPPED, skipping what was on the way */
void rig_drop(rig_side *s, uint64_t req);
/* Writes rows of one layer and reports them, as the device thread does. */
void rig_layer(rig_side *p, const rig_work *w, uint32_t begin, uint32_t count, uint32_t layer);
/* All chunks behind what was here, all layers */
void rig_compute(rig_side *p, const rig_work *w, uint32_t chunk);
/* What rig_seal says the first token is */
token_out rig_first(const rig_work *w);

/* The next event, which must be of this kind and request. */
xfer_event rig_wait(rig_side *s, xfer_event_kind kind, uint64_t req);
/* The next event about a pair; those about hand-offs before it are skipped. */
xfer_event rig_wait_pair(rig_side *s);
/* No event waits, after the thread made at least one more turn */
void rig_nothing(rig_side *s);
/* The thread makes a turn and does what it can (by an X_DROP that nobody knows) */
void rig_nap(rig_side *s);

/* Elements of rows [begin, count) in w's pages that differ from the content with w's salt. */
uint32_t rig_wrong(const rig_side *s, const rig_work *w);
/* Bytes of w's pages that were written although no row of w lies there. */
uint32_t rig_spilled(const rig_side *s, const rig_work *w);
/* None of w's pages was touched */
bool rig_blank(const rig_side *s, const rig_work *w);
void rig_paint(rig_side *s, const rig_work *w, int byte);
bool rig_painted(const rig_side *s, const rig_work *w, int byte);

/* A peer made of bare frames. raw_call: a sender that calls d, up to RING. raw_listen / raw_answer: a
 * receiver. */
typedef struct raw_peer {
    void *zmq;
    pair_setup setup;
    pair *p;
    chan router;
    char endpoint[CHAN_ENDPOINT_MAX];
    engine_kv kv; /* borrowed from a rig_side: what it gathers from */
} raw_peer;
void raw_open(raw_peer *r, const rig_side *like, const char *transport, uint32_t slots, size_t slot_bytes);
void raw_close(raw_peer *r);
void raw_call(raw_peer *r, const char *endpoint, const kv_identity *id);
/* The next frame; text may be NULL */
kv_frame raw_read(raw_peer *r, char text[CHAN_TEXT_MAX]);
/* Now */
bool raw_reads_nothing(raw_peer *r);
#define RIG_KV_HEADS 2u
/* Rows [begin, begin + count) x layers [layer_begin, layer_end). */
static inline kv_piece rig_piece(uint32_t begin, uint32_t count, uint32_t layer_begin, uint32_t layer_end) {
    return (kv_piece){begin, count, layer_begin, layer_end, 0, RIG_KV_HEADS};
}
kv_frame raw_segment(raw_peer *r, const rig_work *w, uint32_t segment, kv_piece piece, uint32_t slot);
/* False: the transport itself knows that the ring is gone. */
bool raw_push(raw_peer *r, const kv_frame *f);
void raw_announce(raw_peer *r, kv_frame *f);
/* Both: with its payload from the slot */
void raw_send_segment(raw_peer *r, kv_frame *f);
void raw_listen(raw_peer *r);
/* Takes HELLO, answers RING */
kv_frame raw_answer(raw_peer *r, uint64_t d_inc, bool with_ring);
void raw_credit(raw_peer *r, uint32_t slot);

/* xport_slow by its name; NULL for those of the product */
const xport_ops *rig_test_xport(const char *name);
/* Turns until everything has moved that a slow transport of SLOW_TURNS has under way one after the other: a
 * ring, a push, a pull. */
#define RIG_SLOW_TURNS (4 * SLOW_TURNS)
/* Likewise between GPUs, where what is begun is asked about a few times. */
#define RIG_GPU_TURNS 100u
/* The one whose memory a transport joins: `cuda` between GPUs, else `ref`. */
const backend_ops *rig_backend(const char *transport);

/* Runs a test once per transport; its name is *state. */
/* clang-format off */
#define WITH(test, name) {#test " [" name "]", test, NULL, NULL, (void *)name}
#if BATON_CUDA /* emulated */
#define BETWEEN_GPUS(test) WITH(test, "ipc"), WITH(test, "nccl")
#define EACH(test) WITH(test, "shm"), WITH(test, "zmq"), BETWEEN_GPUS(test), WITH(test, "slow")
#else
#define EACH(test) WITH(test, "shm"), WITH(test, "zmq"), WITH(test, "slow")
#endif
/* clang-format on */

#endif
