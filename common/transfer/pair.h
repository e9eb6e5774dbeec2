/* pair - the channel between one sender P and one receiver D: who they are, the numbering, the ring and its
 * slots, and what is under way in them.
 *
 *   P: connecting --RING--> opening --ready--> open        D: HELLO --> opening --ready--> open
 *   either side: --> ended, and never opened again: the next one is a new pair
 *
 * Both directions number their frames; a gap ends the pair. Slots are the only credit: P takes a slot, sends
 * the SEGMENT that names it and has it back with CREDIT. The ring is D's and lives as long as the pair.
 *
 * A SEGMENT leaves when its payload is on its way (pair_push, pair_announce) and is taken when its payload is
 * there (pair_arrive, pair_next); frames behind it wait, so that both sides see one order. All waiting has
 * the pair's deadline (pair_judge). Thread: the transfer thread. */
#ifndef BATON_TRANSFER_PAIR_H
#define BATON_TRANSFER_PAIR_H

#include "base/list.h"
#include "transfer/chan.h"
#include "transfer/menu.h"

#define PAIR_HELD_MAX 16384u /* frames that wait at D for a payload before them: more is no honest sender */

/* What all pairs of a process have in common. */
typedef struct pair_setup {
    void *zmq;       /* context */
    xport_menu menu; /* and the device whose pages are copied */
    curve_keys keys; /* of the cluster, when keyed */
    bool keyed;
    uint32_t dead_ms; /* see chan.h */
    chan *router;     /* D: the socket that its pairs share */
    uint64_t layout_hash;
    uint32_t slots;        /* D: of the rings that it makes */
    size_t slot_bytes;     /* likewise */
    size_t slot_bytes_min; /* a page's rows of one layer */
    uint32_t link_ctas;    /* xport_setup */
} pair_setup;

/* P: a segment whose payload was pushed and whose frame has not left. */
typedef struct pair_pushed {
    kv_frame frame;
    bool on_its_way; /* the frame may leave */
} pair_pushed;

#define PROBE_ROUNDS 9u

/* NONE: it is not tried, as hand-offs wait for it already. */
typedef enum probe_state { PROBE_NONE, PROBE_DUE, PROBE_LATENCY, PROBE_SPEED, PROBE_PASSED } probe_state;

/* P: how the pair was tried, see probe.h. */
typedef struct probe {
    probe_state state;
    bool *slots;  /* [slots] with a probe in it; NULL before */
    uint32_t out; /* so many */
    uint32_t rounds;
    uint64_t rounds_ns[PROBE_ROUNDS];
    uint64_t sent_ns; /* the newest */
    uint64_t bytes;   /* sent in this state */
    uint64_t begin_ns, back_ns;
} probe;

/* D: a frame that came and whose turn it is not. */
typedef struct pair_held pair_held;

typedef struct pair {
    struct pair *next;
    const pair_setup *setup;  /* borrowed */
    kv_identity id;           /* epoch and incarnations; req = attempt = 0 */
    bool open;                /* the ring is ready */
    bool lost;                /* its connection is gone; at D what had arrived is still to be read */
    bool credited;            /* P: a payload came to D and back came its slot */
    bool ended;               /* waits to be freed at the end of the turn */
    uint64_t seq_out, seq_in; /* frames so far */
    uint64_t hello_ns;        /* when HELLO left, or came */
    const xport_ops *xport;   /* D's choice; NULL before RING */
    xport_ring *ring;         /* D: owner; P: its view. NULL before RING */
    uint32_t slots;
    size_t slot_bytes;
    uint64_t *taken_ns; /* [slots] P: since when it is taken; D: when its SEGMENT came; 0 = free */
    chan *link;         /* P: &own; D: the shared ROUTER */
    chan own;           /* P */
    chan_route route;   /* D: P's connection */
    int fd;             /* D: likewise */
    char *endpoint;     /* P: D's */
    /* P */
    uint32_t *free_slots; /* [slots], of which free_count are valid */
    uint32_t free_count;
    pair_pushed *pushed; /* [slots], a circle: push_count from push_first on, oldest first */
    uint32_t push_first, push_count;
    probe probe;
    list due; /* send.c: hand-offs that may have something to send, oldest first */
    /* D: frames that wait, oldest first */
    pair_held *held, **held_tail;
    pair_held *unpulled; /* the first whose pull was not begun; NULL: none */
    uint32_t held_count;
} pair;

/* P: connects and sends HELLO, which offers the transports of `can`. Caller frees with pair_free. */
status pair_connect(pair **out, const pair_setup *setup, const char *endpoint, const kv_identity *id,
                    uint32_t can, uint64_t now_ns, errbuf *eb);
/* D: answers HELLO from m with RING, of the best transport that this side gets to begin a ring with. The
 * texts of ST_INVALID, ST_PEER and ST_NOMEM are for P. Caller frees with pair_free. */
status pair_accept(pair **out, const pair_setup *setup, const chan_msg *m, const kv_identity *own,
                   uint64_t now_ns, errbuf *eb);
void pair_free(pair *p);
/* Of a pair that has ended: its memory is back before pair_free, for the ring of the next one (nccl's as soon
 * as NCCL lets go of it). Not from within what reads the ring. */
void pair_close_ring(pair *p);

/* Numbers, completes and sends. Takes ownership of part (may be NULL). ST_PEER: the pair has to end. */
status pair_send(pair *p, kv_frame *frame, zmq_msg_t *part);
status pair_send_text(pair *p, kv_frame_kind kind, const kv_identity *id, const char *why);
/* A frame that came: ST_CORRUPT when its number is not the next. */
status pair_count(pair *p, const kv_frame *frame, errbuf *eb);
/* P: RING came. */
status pair_ring(pair *p, chan_msg *m, errbuf *eb);
/* Asks a ring that is not open: ST_OK once, when it has opened. ST_AGAIN: not yet, or there is none. */
status pair_open(pair *p, errbuf *eb);

/* P: slots. pair_take_slot: ST_AGAIN = no credit. pair_credit: ST_CORRUPT for a slot that is not out. */
status pair_take_slot(pair *p, uint32_t *slot, uint64_t now_ns);
status pair_credit(pair *p, uint32_t slot, errbuf *eb);
/* P: begins to move the staged payload of a SEGMENT, in a slot that was taken. */
status pair_push(pair *p, const kv_frame *segment, errbuf *eb);
/* P: sends the oldest SEGMENT that was pushed. ST_AGAIN: there is none, or its payload is under way. */
status pair_announce(pair *p, kv_frame *out, errbuf *eb);

/* D: a frame that was counted. Takes ownership of m's part on success only. ST_CORRUPT: a SEGMENT that no
 * slot can hold. */
status pair_arrive(pair *p, chan_msg *m, uint64_t now_ns, errbuf *eb);
/* D: the next frame whose turn it is; the payload of a SEGMENT is there. Caller ends it with chan_msg_done.
 * ST_AGAIN: there is none, or a payload is under way. */
status pair_next(pair *p, chan_msg *out, errbuf *eb);
/* D: the frames that wait, oldest first; `at` is NULL at the start and at the end. Borrowed: valid until the
 * next call of pair_next. */
const kv_frame *pair_held_frame(const pair *p, const pair_held **at);
/* D: the slot of a SEGMENT that was taken or thrown away is P's again. */
status pair_give_slot(pair *p, const kv_frame *segment);

/* Either side: ST_TIMEOUT when the ring, a push, a CREDIT or a pull is overdue. */
status pair_judge(const pair *p, uint64_t timeout_ns, uint64_t now_ns, errbuf *eb);
/* For anything that pair_judge judges. */
bool pair_waits(const pair *p);
/* For the transport, which has no descriptor to wait for: it has to be asked again soon. */
bool pair_polls(const pair *p);

#endif
