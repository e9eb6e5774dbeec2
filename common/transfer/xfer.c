/* The transfer thread: its start and end, its rings, and its turn.
 *
 *   loop thread --commands--> [ turn: commands, layer reports, frames, send, overdue? ] --events--> loop
 *   device thread --layers-->
 *
 * A turn never blocks; between turns the thread waits in zmq_poll, which knows that ZeroMQ's descriptors are
 * edge-triggered (it asks ZMQ_EVENTS before it sleeps), for the rings' eventfds and all sockets and
 * monitors, with a deadline. Nothing is judged overdue before the sockets were read, and by a clock that
 * stands still while the process is stopped, so a process that wakes up from SIGSTOP hears its peers first.
 *
 * Layer reports and commands come by two rings, which have no order between them. A report therefore carries
 * how many offers had been made before it: one that is newer than an unknown offer means that the offer is
 * still in the command ring. */
#include "transfer/xfer.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "kv/handoff.h"
#include "transfer/recv.h"
#include "transfer/send.h"
#include "transfer/xfer_core.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMANDS_MAX  1024u
#define EVENTS_MAX    1024u
#define HANDOFFS_HINT 256u            /* at once, before the index of requests grows */
#define POST_LIMIT_NS (60 * NS_PER_S) /* a transfer thread that takes no command for so long is broken */
#define IDLE_MS       1000
#define WAITING_MS    50 /* while a peer owes us something */
#define ASK_MS        1  /* while something is under way that has no descriptor to wait for */
/* A turn that took longer than its wait and this was a stopped process. */
#define SLACK_NS (200 * NS_PER_MS)

/* ---- the thread ---- */

static void tick(xfer *x, uint64_t waited_max_ns) {
    uint64_t now_ns = clock_now_ns();
    x->awake_ns += MIN(now_ns - x->turn_ns, waited_max_ns + SLACK_NS);
    x->turn_ns = now_ns;
}

static void turn(xfer *x) {
    xfer_drain_commands(x);
    x->role->turn(x);
    xfer_judge_pairs(x);
    xfer_reap_pairs(x);
    xfer_flush_events(x);
}

static int wait_ms(const xfer *x) {
    int ms = IDLE_MS;
    if (x->late_events) return ASK_MS;
    if (ring_count(x->layers) || ring_count(x->commands)) return 0;
    for (const pair *p = x->pairs; p; p = p->next) {
        if (pair_polls(p)) return ASK_MS;
        if (pair_waits(p)) ms = WAITING_MS;
    }
    return ms;
}

static void wait_for_work(xfer *x, int ms) {
    zmq_pollitem_t items[2 + 2 * XFER_PAIRS_MAX];
    items[0] = (zmq_pollitem_t){.fd = ring_fd(x->commands), .events = ZMQ_POLLIN};
    items[1] = (zmq_pollitem_t){.fd = ring_fd(x->layers), .events = ZMQ_POLLIN};
    int count = 2 + x->role->wait_items(x, items + 2);
    int ready = zmq_poll(items, count, ms);
    CHECK(ready >= 0 || errno == EINTR);
    if (ready > 0 && items[0].revents) ring_ack(x->commands);
    if (ready > 0 && items[1].revents) ring_ack(x->layers);
}

static void *run(void *ctx) {
    xfer *x = ctx;
    log_as(x->log_name);
    x->turn_ns = clock_now_ns();
    x->awake_ns = 1;
    sem_post(&x->started);
    for (;;) {
        turn(x);
        if (x->stopping) break;
        int ms = wait_ms(x);
        wait_for_work(x, ms);
        tick(x, (uint64_t)ms * NS_PER_MS);
    }
    return NULL;
}

/* ---- life ---- */

static uint64_t layout_hash(const kv_layout *l) {
    const int32_t words[] = {(int32_t)l->type, (int32_t)l->layers, (int32_t)l->kv_heads, (int32_t)l->head_dim,
                             (int32_t)KV_PAGE_TOKENS};
    return kv_ids_hash(KV_IDS_HASH_START, words, ARRAY_LEN(words));
}

static status setup(xfer *x, errbuf *eb) {
    const xfer_options *o = &x->opt;
    size_t min = kv_segment_bytes(&o->kv.layout, KV_PAGE_TOKENS, 1);
    size_t slot_bytes = o->slot_bytes / 64 * 64;
    xport_menu menu;
    status st = menu_make(&menu, o->transport, o->kv.ops, o->kv.dev, o->test_xport, eb);
    if (st != ST_OK) return st;
    if (o->slots == 0 || o->slots > XPORT_SLOTS_MAX)
        return errf(eb, ST_INVALID, "ring of %u slots: want 1..%u", o->slots, XPORT_SLOTS_MAX);
    if (slot_bytes < min || slot_bytes > XPORT_SLOT_BYTES_MAX)
        return errf(eb, ST_INVALID, "ring slots of %zu bytes: want %zu (one page's rows of one layer) to %zu",
                    o->slot_bytes, min, XPORT_SLOT_BYTES_MAX);
    x->setup = (pair_setup){.menu = menu, .slots = o->slots, .slot_bytes = slot_bytes, .slot_bytes_min = min};
    x->setup.link_ctas = o->link_ctas;
    x->setup.dead_ms = (uint32_t)MAX(o->pair_timeout_ns / NS_PER_MS, 1);
    x->setup.router = &x->router;
    x->setup.layout_hash = layout_hash(&o->kv.layout);
    x->setup.keyed = o->keys;
    if (o->keys) x->setup.keys = *o->keys;
    x->setup.zmq = zmq_ctx_new();
    if (!x->setup.zmq) return errf(eb, ST_IO, "transfer thread: %s", zmq_strerror(errno));
    return x->role->open(x, eb);
}

status xfer_new(xfer **out, const xfer_options *opt, errbuf *eb) {
    PRE(out);
    PRE(opt);
    PRE(opt->transport);
    PRE(opt->layers_ring > 0);
    PRE(opt->pair_timeout_ns > 0);
    PRE(opt->bind_host || !opt->receiver);
    PRE(opt->kv.ops);
    PRE(opt->kv.base);
    PRE(opt->kv.layout.layers > 0);
    xfer *x = xcalloc(1, sizeof *x);
    x->opt = *opt;
    x->role = opt->receiver ? &recv_role : &send_role;
    x->noise = clock_random64();
    x->late_tail = &x->late_events;
    list_init(&x->by_age);
    u64_map_init(&x->by_req, HANDOFFS_HINT);
    CHECK(sem_init(&x->started, 0, 0) == 0);
    status st = setup(x, eb);
    if (st != ST_OK) goto fail;
    x->opt.transport = x->opt.bind_host = NULL; /* they are the caller's */
    x->opt.keys = NULL;
    st = ring_new(&x->commands, COMMANDS_MAX, sizeof(xfer_cmd *), eb);
    if (st != ST_OK) goto fail;
    st = ring_new(&x->layers, opt->layers_ring, sizeof(layer_report), eb);
    if (st != ST_OK) goto fail;
    st = ring_new(&x->events, EVENTS_MAX, sizeof(xfer_event), eb);
    if (st != ST_OK) goto fail;
    snprintf(x->log_name, sizeof x->log_name, "%s", log_name());
    int rc = pthread_create(&x->thread, NULL, run, x);
    if (rc) {
        st = errf(eb, ST_IO, "transfer thread: %s", strerror(rc));
        goto fail;
    }
    x->running = true;
    while (sem_wait(&x->started)) CHECK(errno == EINTR);
    *out = x;
    return ST_OK;

fail:
    xfer_free(x);
    return st;
}

uint64_t xfer_ring_bytes(const xfer *x) {
    PRE(x);
    if (!x->opt.receiver || !menu_find(&x->setup.menu, "shm")) return 0;
    return xport_shm_ring_bytes(x->setup.slots, x->setup.slot_bytes);
}

/* Waits, in steps of a millisecond and for a bounded time, until the item is in. */
static void push_bounded(ring *r, const void *item) {
    uint64_t deadline_ns = clock_now_ns() + POST_LIMIT_NS;
    while (ring_push(r, item)) {
        CHECK(clock_now_ns() < deadline_ns);
        poll(NULL, 0, 1);
    }
}

void xfer_free(xfer *x) {
    if (!x) return;
    if (x->running) {
        xfer_cmd *stop = NULL;
        push_bounded(x->commands, &stop);
        pthread_join(x->thread, NULL);
    }
    x->role->drop_all(x);
    for (pair *p = x->pairs; p; p = p->next) p->ended = true;
    xfer_reap_pairs(x);
    chan_close(&x->router);
    if (x->setup.zmq) zmq_ctx_term(x->setup.zmq);
    curve_wipe(&x->setup.keys);
    while (x->late_events) {
        event_node *n = x->late_events;
        x->late_events = n->next;
        free(n);
    }
    xfer_cmd *c = NULL;
    while (x->commands && ring_pop(x->commands, &c) == ST_OK)
        if (c) xfer_command_free(c);
    ring_free(x->commands);
    ring_free(x->layers);
    ring_free(x->events);
    u64_map_done(&x->by_req);
    sem_destroy(&x->started);
    free(x);
}

const char *xfer_endpoint(const xfer *x) {
    PRE(x);
    PRE(x->opt.receiver);
    return x->router.at;
}

void xfer_post(xfer *x, const xfer_cmd *cmd) {
    PRE(x);
    PRE(cmd);
    PRE(cmd->kind < X_CMD_COUNT);
    xfer_cmd *c = xmemdup(cmd, sizeof *cmd);
    c->ids = cmd->id_count ? xmemdup(cmd->ids, cmd->id_count * sizeof *cmd->ids) : NULL;
    c->pages = cmd->page_count ? xmemdup(cmd->pages, cmd->page_count * sizeof *cmd->pages) : NULL;
    c->endpoint = cmd->endpoint ? xstrdup(cmd->endpoint) : NULL;
    /* An offer carries its number where other commands name a peer. */
    if (c->kind == X_OFFER) c->peer_inc = atomic_fetch_add_explicit(&x->offers, 1, memory_order_acq_rel) + 1;
    push_bounded(x->commands, &c);
}

int xfer_fd(const xfer *x) {
    PRE(x);
    return ring_fd(x->events);
}

status xfer_next(xfer *x, xfer_event *out) {
    PRE(x);
    PRE(out);
    if (ring_pop(x->events, out) == ST_OK) return ST_OK;
    ring_ack(x->events);
    return ring_pop(x->events, out);
}

void xfer_layer_done(xfer *x, uint64_t step, const layer_rows *rows) {
    PRE(x);
    PRE(rows);
    PRE(!x->opt.receiver);
    layer_report r = {.rows = *rows, .step = step};
    r.stamp = atomic_load_explicit(&x->offers, memory_order_acquire);
    push_bounded(x->layers, &r);
}

xfer_stats xfer_stats_of(const xfer *x) {
    PRE(x);
    xfer *m = (xfer *)x; /* C17 atomics are not read through pointers to const */
    return (xfer_stats){
        .segments = atomic_load_explicit(&m->segments, memory_order_relaxed),
        .bytes = atomic_load_explicit(&m->bytes, memory_order_relaxed),
        .failures = atomic_load_explicit(&m->failures, memory_order_relaxed),
        .pairs_opened = atomic_load_explicit(&m->pairs_opened, memory_order_relaxed),
        .crc_errors = atomic_load_explicit(&m->crc_errors, memory_order_relaxed),
        .strays = atomic_load_explicit(&m->strays, memory_order_relaxed),
    };
}
