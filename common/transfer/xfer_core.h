/* xfer_core - the ground that the files of the transfer thread stand on: its struct, its events, its pairs,
 * and the table of what a sender and a receiver do differently.
 *
 *        xfer.c  (thread, turn, life)
 *        /    \
 *   send.c    recv.c      one xfer_role each; a process is a sender or a receiver, never both
 *        \    /
 *      xfer_core.c        knows the role only by the table
 *
 * Everything below the line in struct xfer belongs to the transfer thread. */
#ifndef BATON_TRANSFER_XFER_CORE_H
#define BATON_TRANSFER_XFER_CORE_H

#include "base/list.h"
#include "base/ring.h"
#include "base/u64_map.h"
#include "kv/xfer_cmd.h"
#include "transfer/pair.h"
#include "transfer/receivers.h"
#include "transfer/xfer_options.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

/* Peers of one process at a time, fewer than a cluster may have workers: a sender has two sockets for each,
 * and a ZeroMQ context has 1,023. One more is refused by name, and its hand-off goes to another receiver. */
#define XFER_PAIRS_MAX         256u
#define XFER_MESSAGES_PER_TURN 64u /* from one socket, before commands are looked at again */

typedef struct xfer xfer;

/* What differs between the two sides. */
typedef struct xfer_role {
    /* Before the thread runs: its socket, when it has one for all pairs. */
    status (*open)(xfer *x, errbuf *eb);
    /* The part of an identity that is this process, and the incarnation that is the other side. */
    kv_identity (*own)(const kv_identity *id);
    uint64_t (*peer_inc)(const kv_identity *id);
    /* A command that only this side knows. */
    void (*command)(xfer *x, const xfer_cmd *c);
    void (*drop)(xfer *x, uint64_t req);
    void (*drop_all)(xfer *x);
    /* Its pairs were ended before. */
    void (*peer_gone)(xfer *x, uint64_t inc);
    /* Reports, frames, and what follows from them. */
    void (*turn)(xfer *x);
    /* Fails the hand-offs of a pair that ends, and tells the peer where that is due. */
    void (*pair_ended)(xfer *x, pair *p, const char *why);
    /* Sockets to wait for: writes them (at most 2 * XFER_PAIRS_MAX) and returns how many. */
    int (*wait_items)(const xfer *x, zmq_pollitem_t *items);
} xfer_role;

/* One report of the device thread. */
typedef struct layer_report {
    layer_rows rows;
    uint64_t step;
    uint64_t stamp; /* offers made before it */
} layer_report;

typedef struct event_node {
    struct event_node *next;
    xfer_event event;
} event_node;

struct xfer {
    xfer_options opt;
    const xfer_role *role;
    pair_setup setup;
    ring *commands; /* loop > xfer: xfer_cmd *, owned by the consumer */
    ring *layers;   /* device > xfer: layer_report */
    ring *events;   /* xfer > loop: xfer_event */
    pthread_t thread;
    char log_name[32]; /* of the worker */
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
    receivers receivers; /* P */
    uint64_t noise;      /* P: state of what probes are filled with */
    /* P: offers (struct outgoing of send.c); D: expectations (struct incoming of recv.c). Owned */
    list by_age;                          /* oldest first */
    u64_map by_req;                       /* the same ones */
    event_node *late_events, **late_tail; /* found no room in `events` */
    bool device_failed;
    bool stopping;
};

static inline void xfer_count(_Atomic uint64_t *counter, uint64_t by) {
    atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

/* ---- events ---- */
void xfer_emit(xfer *x, const xfer_event *e);
/* Events that found no room. */
void xfer_flush_events(xfer *x);
/* After a copy that answered ST_DEVICE: notes it, and gives the device's own text. */
void xfer_device_failed(xfer *x, errbuf *eb);
/* Hashes of ids up to each page's end, [0] = of none. Caller frees with free. */
uint64_t *xfer_page_hashes(const int32_t *ids, uint32_t count);

/* ---- pairs ---- */
void xfer_add_pair(xfer *x, pair *p);
/* Ends a pair once: its hand-offs fail. It is freed at the end of the turn. */
void xfer_end_pair(xfer *x, pair *p, const char *why);
/* Asks a ring that is not ready; ends the pair when it cannot be had. */
void xfer_open_pair(xfer *x, pair *p);
/* Ends those that keep something waiting for too long. */
void xfer_judge_pairs(xfer *x);
void xfer_reap_pairs(xfer *x);

/* ---- commands ---- */
void xfer_drain_commands(xfer *x);
void xfer_command_free(xfer_cmd *c);

#endif
