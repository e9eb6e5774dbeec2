/* xfer_core - what the files of the transfer thread share: the struct, the sending half (send.c) and the
 * receiving half (recv.c).
 *
 * A process is a sender or a receiver, never both. Everything below the line in struct xfer belongs to the
 * transfer thread. */
#ifndef BATON_TRANSFER_XFER_CORE_H
#define BATON_TRANSFER_XFER_CORE_H

#include "base/ring.h"
#include "transfer/pair.h"
#include "transfer/xfer.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#define XFER_PAIRS_MAX         256u
#define XFER_MESSAGES_PER_TURN 64u /* from one socket, before commands are looked at again */

typedef struct outgoing outgoing; /* send.c: one offer of a sender */
typedef struct incoming incoming; /* recv.c: one expectation of a receiver */

/* One report of the device thread. */
typedef struct layer_report {
    uint64_t req;
    uint64_t stamp; /* offers made before it */
    uint32_t begin, count, layer;
} layer_report;

typedef struct event_node {
    struct event_node *next;
    xfer_event event;
} event_node;

struct xfer {
    xfer_options opt;
    char endpoint[CHAN_ENDPOINT_MAX];
    pair_setup setup;
    ring *commands; /* loop > xfer: xfer_cmd *, owned by the consumer */
    ring *layers;   /* device > xfer: layer_report */
    ring *events;   /* xfer > loop: xfer_event */
    pthread_t thread;
    bool running;
    sem_t started;
    _Atomic uint64_t offers; /* X_OFFERs posted: tells reports of an earlier offer of the same request from
                                those of the newest */
    _Atomic uint64_t segments, bytes, failures, pairs_opened, crc_errors, strays;
    /* ---- transfer thread ---- */
    chan router;        /* D */
    kv_identity own;    /* epoch, and p_inc or d_inc: of this process; 0 before X_EPOCH */
    uint64_t awake_ns;  /* a clock that stands still while the process is stopped: silence is judged by it */
    uint64_t turn_ns;   /* clock_now_ns of this turn */
    uint64_t judged_ns; /* awake_ns of the last look at overdue pairs */
    pair *pairs;
    uint32_t pair_count;
    outgoing *outgoing; /* oldest first */
    incoming *incoming;
    event_node *late_events, **late_tail; /* found no room in `events` */
    bool device_failed;
    bool stopping;
};

/* xfer.c */
void xfer_emit(xfer *x, const xfer_event *e);
void xfer_add_pair(xfer *x, pair *p);
/* Ends a pair once: tells the peer, fails its hand-offs. It is freed at the end of the turn. */
void xfer_end_pair(xfer *x, pair *p, const char *why);
/* Hashes of ids up to each page's end, [0] = of none. Caller frees with free. */
uint64_t *xfer_page_hashes(const int32_t *ids, uint32_t count);
void xfer_drain_commands(xfer *x);
static inline void xfer_count(_Atomic uint64_t *counter, uint64_t by) {
    atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

/* After a copy that answered ST_DEVICE: notes it, and gives the device's own text. */
void xfer_device_failed(xfer *x, errbuf *eb);

/* send.c: the sender */
void send_offer(xfer *x, const xfer_cmd *c, uint64_t stamp);
void send_dest(xfer *x, const xfer_cmd *c);
void send_seal(xfer *x, const xfer_cmd *c);
void send_drop(xfer *x, uint64_t req);
void send_drop_all(xfer *x);
bool send_knows(const xfer *x, const layer_report *r);
void send_layer(xfer *x, const layer_report *r);
void send_pair_ended(xfer *x, const pair *p, const char *why);
/* Frames from D */
void send_read(xfer *x, pair *p);
/* Sends what is due, oldest hand-off first */
void send_pump(xfer *x);

/* recv.c: the receiver */
void recv_expect(xfer *x, const xfer_cmd *c);
void recv_drop(xfer *x, uint64_t req);
void recv_drop_all(xfer *x);
void recv_pair_ended(xfer *x, const pair *p, const char *why);
void recv_peer_gone(xfer *x, uint64_t p_inc);
/* Frames from all P, and lost connections */
void recv_read(xfer *x);

#endif
