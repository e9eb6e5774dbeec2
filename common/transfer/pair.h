/* pair - the channel between one sender P and one receiver D: who they are, the numbering, the ring and its
 * slots.
 *
 *   P: connecting --RING--> open        D: HELLO --> open
 *   either side: --> ended, and never opened again: the next one is a new pair
 *
 * Both directions number their frames; a gap ends the pair. Slots are the only credit: P takes a slot, sends
 * the SEGMENT that names it and has it back with CREDIT. The ring is D's and lives as long as the pair.
 * Thread: the transfer thread. */
#ifndef BATON_TRANSFER_PAIR_H
#define BATON_TRANSFER_PAIR_H

#include "transfer/chan.h"
#include "transfer/xport.h"

/* What all pairs of a process have in common. */
typedef struct pair_setup {
    void *zmq; /* context */
    const xport_ops *xport;
    uint64_t layout_hash;
    uint32_t slots;        /* D: of the rings that it makes */
    size_t slot_bytes;     /* likewise */
    size_t slot_bytes_min; /* a page's rows of one layer */
} pair_setup;

typedef struct pair {
    struct pair *next;
    const pair_setup *setup;  /* borrowed */
    kv_identity id;           /* epoch and incarnations; req = attempt = 0 */
    bool open;                /* the ring is there */
    bool lost;                /* D: its connection is gone; what had arrived is still to be read */
    bool ended;               /* waits to be freed at the end of the turn */
    uint64_t seq_out, seq_in; /* frames so far */
    xport_ring *ring;         /* D: owner; P: its view */
    uint32_t slots;
    size_t slot_bytes;
    chan *link;           /* P: &own; D: the shared ROUTER */
    chan own;             /* P */
    chan_route route;     /* D: P's connection */
    int fd;               /* D: likewise */
    char *endpoint;       /* P: D's */
    uint64_t hello_ns;    /* P: when HELLO left */
    uint32_t *free_slots; /* P: [slots], of which free_count are valid */
    uint32_t free_count;
    uint64_t *taken_ns; /* P: [slots] when the slot's SEGMENT left; 0 = free */
} pair;

/* P: connects and sends HELLO. Caller frees with pair_free. */
status pair_connect(pair **out, const pair_setup *setup, const char *endpoint, const kv_identity *id,
                    uint64_t now_ns, errbuf *eb);
/* D: answers HELLO from m with RING. The texts of ST_INVALID, ST_PEER and ST_NOMEM are for P. Caller frees
 * with pair_free. */
status pair_accept(pair **out, const pair_setup *setup, chan *link, const chan_msg *m, const kv_identity *own,
                   errbuf *eb);
void pair_free(pair *p);

/* Numbers, completes and sends. Takes ownership of part (may be NULL). ST_PEER: the pair has to end. */
status pair_send(pair *p, kv_frame *frame, zmq_msg_t *part);
status pair_send_text(pair *p, kv_frame_kind kind, const kv_identity *id, const char *why);
/* A frame that came: ST_CORRUPT when its number is not the next. */
status pair_count(pair *p, const kv_frame *frame, errbuf *eb);
/* P: RING came. */
status pair_ring(pair *p, const kv_frame *frame, errbuf *eb);

/* P: slots. pair_take_slot: ST_AGAIN = no credit. pair_credit: ST_CORRUPT for a slot that is not out. */
status pair_take_slot(pair *p, uint32_t *slot, uint64_t now_ns);
status pair_credit(pair *p, uint32_t slot, errbuf *eb);
/* P: ST_TIMEOUT when RING or a CREDIT is overdue. */
status pair_judge(const pair *p, uint64_t timeout_ns, uint64_t now_ns, errbuf *eb);
/* P: for RING or a CREDIT */
bool pair_waits(const pair *p);

#endif
