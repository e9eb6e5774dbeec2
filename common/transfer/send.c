/* The sending half: offers, what the device thread has computed of them, and their way to a receiver.
 *
 *   X_OFFER -> offered --X_DEST--> reserved --first segment--> copying --SEAL--> (sent) --X_DROP--> gone
 *                  ^                    \________ aborted <________/   |
 *                  |_______________________ X_DEST, new identity ______|
 *
 * Rows are computed chunk by chunk from 0 up, and within a chunk layer by layer, so what is ready is "rows
 * below full_rows, and chunk_layers layers of the next chunk_count rows". Sending walks behind that. Nothing
 * is remembered per segment, hence a second receiver is served from the start with another grouping. A
 * gather copies out of the pages in one go, so no page is touched outside a call.
 *
 * What is parked costs nothing: an offer is looked at when something is said about it (a report, a command, a
 * frame), and stands in its pair's list of due ones only while it may have a segment to send. Of those the
 * oldest has the slots first. */
#include "transfer/send.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "kv/handoff.h"
#include "transfer/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPORTS_PER_TURN 256u

typedef struct outgoing {
    list_link by_age; /* of xfer */
    list_link due;    /* of its pair: it may have something to send */
    sm sm;
    uint64_t req, stamp; /* reports with an older stamp are of an earlier offer */
    uint32_t token_count;
    uint32_t *pages;    /* [kv_pages_for(token_count)] */
    uint64_t *ids_hash; /* [kv_pages_for(token_count) + 1] up to each page's end */
    uint32_t full_rows; /* rows [0, full_rows) have all layers */
    uint64_t full_step,
        chunk_step; /* the last that computed rows of them, or of the chunk; a gather waits for it */
    uint32_t chunk_count,
        chunk_layers; /* rows [full_rows, + chunk_count) have [0, chunk_layers); 0 = none begun */
    bool garbled;     /* the device thread's reports made no sense: never send */
    bool sealed;
    bool finished;
    token_out first; /* valid when sealed */
    /* towards the current receiver; reset by each X_DEST */
    kv_identity id;
    pair *pair;           /* NULL: none */
    uint32_t token_begin; /* the receiver holds the rows before it */
    handoff_cut cut;
    uint32_t segment;   /* next number */
    uint32_t announced; /* SEGMENTs that left: those below are with the receiver, or on the way */
    uint64_t bytes, first_ns;
    bool sent; /* SEAL left */
} outgoing;

static outgoing *find(const xfer *x, uint64_t req) {
    return u64_map_get(&x->by_req, req);
}

static outgoing *first(const xfer *x) {
    list_link *l = list_first(&x->by_age);
    return l ? LIST_ITEM(l, outgoing, by_age) : NULL;
}

static outgoing *next(const xfer *x, const outgoing *o) {
    list_link *l = list_next(&x->by_age, &o->by_age);
    return l ? LIST_ITEM(l, outgoing, by_age) : NULL;
}

static void outgoing_free(outgoing *o) {
    free(o->pages);
    free(o->ids_hash);
    free(o);
}

static bool active(const outgoing *o) {
    return o->sm.state == HANDOFF_RESERVED || o->sm.state == HANDOFF_COPYING;
}

/* It may have something to send. Offers have stamps in the order of their age. */
static void make_due(outgoing *o) {
    if (!active(o) || o->sent || o->due.next) return;
    list *due = &o->pair->due;
    list_link *at = list_last(due);
    while (at && LIST_ITEM(at, outgoing, due)->stamp > o->stamp) at = list_prev(due, at);
    list_add_after(due, at, &o->due);
}

static void undue(outgoing *o) {
    if (o->due.next) list_remove(&o->pair->due, &o->due);
}

static void fail(xfer *x, outgoing *o, const char *why) {
    PRE(active(o));
    sm_move(&o->sm, HANDOFF_ABORTED, x->turn_ns);
    undue(o);
    o->pair = NULL;
    xfer_count(&x->failures, 1);
    xfer_event e = {
        .kind = X_FAILED, .id = o->id, .bytes = o->bytes, .segments = o->announced, .segment = o->segment};
    e.first_ns = o->first_ns;
    e.device = x->device_failed;
    snprintf(e.why, sizeof e.why, "%s", why);
    log_debug("kv.xfer", "send failed", "req=%" PRIu64 " attempt=%u segment=%u why=\"%s\"", o->req,
              o->id.attempt, o->segment, e.why);
    xfer_emit(x, &e);
}

/* Tells the receiver that no more of this comes. */
static void abort_at_peer(xfer *x, outgoing *o, const char *why) {
    if (!active(o) || !o->pair || o->sent || o->pair->ended) return;
    if (pair_send_text(o->pair, KV_ABORT, &o->id, why))
        xfer_end_pair(x, o->pair, "the receiver does not read");
}

static void forget(xfer *x, outgoing *o) {
    undue(o);
    CHECK(u64_map_take(&x->by_req, o->req) == o);
    list_remove(&x->by_age, &o->by_age);
    outgoing_free(o);
}

static void drop(xfer *x, uint64_t req) {
    outgoing *o = find(x, req);
    if (!o) return;
    abort_at_peer(x, o, "the sender dropped it");
    forget(x, o);
}

/* An offer carries its number (xfer_post) where other commands name a peer. */
static void offer(xfer *x, const xfer_cmd *c) {
    PRE(c->id_count > 0);
    PRE(c->page_count >= kv_pages_for(c->id_count));
    PRE(handoff_may_start(c->rows_here, c->id_count));
    drop(x, c->id.req);
    outgoing *o = xcalloc(1, sizeof *o);
    sm_init(&o->sm, &handoff_sm, x->turn_ns);
    o->req = c->id.req;
    o->stamp = c->peer_inc;
    o->token_count = c->id_count;
    o->full_rows = c->rows_here; /* of steps that have ended: no gather waits for them */
    o->pages = xmemdup(c->pages, kv_pages_for(c->id_count) * sizeof *o->pages);
    for (uint32_t i = 0; i < kv_pages_for(c->id_count); i++) PRE(o->pages[i] < x->opt.kv.page_count);
    o->ids_hash = xfer_page_hashes(c->ids, c->id_count);
    list_add_last(&x->by_age, &o->by_age);
    u64_map_put(&x->by_req, o->req, o);
}

static void drop_all(xfer *x) {
    for (outgoing *o; (o = first(x));) forget(x, o);
    x->receivers.count = 0; /* of the session that ends */
}

static pair *pair_to(xfer *x, const kv_identity *id, const char *endpoint, errbuf *eb) {
    for (pair *p = x->pairs; p; p = p->next)
        if (!p->ended && p->id.d_inc == id->d_inc && !strcmp(p->endpoint, endpoint)) return p;
    if (x->pair_count >= XFER_PAIRS_MAX) {
        errf(eb, ST_NOMEM, "already %u receivers", x->pair_count);
        return NULL;
    }
    pair *p = NULL;
    const receiver *r = receivers_add(&x->receivers, id->d_inc, endpoint);
    uint32_t can = x->setup.menu.own.can & ~(r ? r->shunned : 0);
    if (pair_connect(&p, &x->setup, endpoint, id, can, x->awake_ns, eb)) return NULL;
    xfer_add_pair(x, p);
    return p;
}

static void dest(xfer *x, const xfer_cmd *c) {
    PRE(c->endpoint);
    outgoing *o = find(x, c->id.req);
    if (!o) return; /* dropped meanwhile */
    bool again = o->sm.state != HANDOFF_OFFERED && kv_identity_same(&o->id, &c->id);
    if (again && active(o)) return;
    abort_at_peer(x, o, "another receiver was chosen");
    undue(o);

    sm_init(&o->sm, &handoff_sm, x->turn_ns);
    sm_move(&o->sm, HANDOFF_RESERVED, x->turn_ns);
    o->id = c->id;
    o->pair = NULL;
    o->token_begin = c->token_begin;
    o->cut = (handoff_cut){.begin = c->token_begin};
    o->segment = o->announced = 0;
    o->bytes = o->first_ns = 0;
    o->sent = false;

    errbuf eb = {0};
    if (again) {
        fail(x, o, "this attempt failed already");
    } else if (!x->own.p_inc || c->id.epoch != x->own.epoch || c->id.p_inc != x->own.p_inc) {
        fail(x, o, "the destination names another epoch or sender");
    } else if (o->garbled) {
        fail(x, o, "layer reports out of order");
    } else if (!handoff_may_start(o->token_begin, o->token_count)) {
        fail(x, o, "the receiver wants it from a row where no hand-off can start");
    } else {
        o->pair = pair_to(x, &c->id, c->endpoint, &eb);
        if (o->pair)
            make_due(o);
        else
            fail(x, o, eb.text);
    }
}

static void peer(xfer *x, const xfer_cmd *c) {
    PRE(c->endpoint);
    receiver *r = receivers_add(&x->receivers, c->peer_inc, c->endpoint);
    if (r) r->call = true;
}

static bool knows(const xfer *x, const layer_report *r) {
    const outgoing *o = find(x, r->rows.req);
    return o && o->stamp <= r->stamp;
}

static void layer(xfer *x, const layer_report *r) {
    outgoing *o = find(x, r->rows.req);
    if (!o || o->stamp > r->stamp || o->garbled) return;
    uint32_t layers = x->opt.kv.layout.layers;
    uint32_t end = r->rows.begin + r->rows.count;
    bool good = r->rows.begin == o->full_rows && r->rows.count > 0 && end <= o->token_count;
    good = good && (end % KV_PAGE_TOKENS == 0 || end == o->token_count);
    good = good && (o->chunk_count == 0 || o->chunk_count == r->rows.count);
    good = good && r->rows.layer < layers && r->rows.layer >= o->chunk_layers;
    if (!good) {
        o->garbled = true;
        log_error("kv.xfer", "layer reports out of order", "req=%" PRIu64 " rows=%u+%u layer=%u full=%u",
                  o->req, r->rows.begin, r->rows.count, r->rows.layer, o->full_rows);
        abort_at_peer(x, o, "layer reports out of order");
        if (active(o)) fail(x, o, "layer reports out of order");
        return;
    }
    o->chunk_count = r->rows.count;
    o->chunk_layers = r->rows.layer + 1;
    o->chunk_step = r->step;
    if (o->pair) make_due(o);
    if (o->chunk_layers < layers) return;
    o->full_rows = end;
    o->full_step = r->step;
    o->chunk_count = o->chunk_layers = 0;
}

/* A way that failed before it had carried anything is not tried again, while there is another. */
static void shun(xfer *x, const pair *p) {
    receiver *r = receivers_find(&x->receivers, p->id.d_inc);
    if (!r || p->lost || p->credited || x->device_failed) return;
    if (!p->xport) { /* D refused: perhaps what was left */
        r->shunned = 0;
        return;
    }
    uint32_t own = x->setup.menu.own.can, shunned = r->shunned | (p->xport->bit & ~(uint32_t)KV_BY_ZMQ);
    if (shunned == r->shunned || !(own & ~shunned)) return;
    r->shunned = shunned;
    r->call = true;
}

static void tell_open(xfer *x, const pair *p) {
    xfer_emit(
        x, &(xfer_event){.kind = X_PAIR, .id = p->id, .pair = {.transport = p->xport->name, .open = true}});
}

static void tell_ended(xfer *x, const pair *p, const char *why) {
    xfer_event e = {.kind = X_PAIR, .id = p->id, .pair.transport = p->xport ? p->xport->name : ""};
    e.device = x->device_failed;
    snprintf(e.why, sizeof e.why, "%s", why);
    xfer_emit(x, &e);
}

static void pair_ended(xfer *x, pair *p, const char *why) {
    shun(x, p);
    tell_ended(x, p, why);
    for (outgoing *o = first(x); o; o = next(x, o))
        if (o->pair == p && active(o)) fail(x, o, why);
}

/* Opens the next run of rows for cutting: all that are complete, or else the chunk that is being computed, as
 * far as it lies behind the rows that the receiver holds. */
static bool next_run(outgoing *o, uint32_t layers) {
    uint32_t begin = o->cut.begin + o->cut.count;
    uint32_t chunk_end = o->full_rows + o->chunk_count;
    if (begin < o->full_rows)
        o->cut = (handoff_cut){.begin = begin, .count = o->full_rows - begin, .layers_done = layers};
    else if (begin < chunk_end)
        o->cut = (handoff_cut){.begin = begin, .count = chunk_end - begin, .layers_done = o->chunk_layers};
    else
        return false;
    return true;
}

static bool all_sent(const outgoing *o, uint32_t layers) {
    return o->cut.begin + o->cut.count == o->token_count && o->cut.layer_sent == layers;
}

static bool next_piece(const xfer *x, outgoing *o, kv_piece *piece) {
    const kv_layout *layout = &x->opt.kv.layout;
    bool run_sent = o->cut.count == 0 || o->cut.layer_sent == layout->layers;
    if (run_sent && !next_run(o, layout->layers)) return false;
    bool complete = o->cut.begin + o->cut.count <= o->full_rows;
    o->cut.layers_done = complete ? layout->layers : o->chunk_layers;
    return handoff_cut_next(&o->cut, layout, x->opt.segment_bytes, o->pair->slot_bytes, piece);
}

/* Gathers one piece into a slot and puts its payload on its way. ST_DEVICE: this hand-off failed. Else: the
 * pair has to end. */
static status push_piece(xfer *x, outgoing *o, uint32_t slot, const kv_piece *piece, errbuf *eb) {
    pair *p = o->pair;
    const kv_layout *layout = &x->opt.kv.layout;
    kv_frame f = {.kind = KV_SEGMENT, .id = o->id, .segment = o->segment, .slot = slot};
    f.piece = *piece;
    f.bytes = kv_piece_bytes(layout, piece);
    f.ids_hash = o->ids_hash[kv_piece_pages(piece)];

    xport_place stage = p->xport->stage(p->ring, slot);
    op_kv_copy copy = {.layout = layout, .kv = x->opt.kv.base, .pages = o->pages, .wire = stage.at};
    copy.wire_in = stage.in;
    copy.piece = *piece;
    copy.step = piece->token_begin + piece->token_count <= o->full_rows ? o->full_step : o->chunk_step;
    copy.seed = kv_segment_seed(&f.id, f.segment, piece, f.ids_hash);
    copy.checksum = &f.checksum;
    bool damage = x->opt.test_flip_segment >= 0 && f.segment == (uint32_t)x->opt.test_flip_segment;
    if (fault_at(FAULT_P_FLIP)) damage = true;
    (void)fault_at(FAULT_P_SEGMENT);
    bool on_host = stage.in == MEMORY_HOST || stage.in == MEMORY_PINNED;
    /* The sign of a value: whoever does not check gets wrong numbers, yet finite ones. */
    size_t damage_at = (f.bytes / 2) | 3;
    if (damage && !on_host) copy.damage_at = damage_at;
    if (x->opt.kv.ops->kv_gather(x->opt.kv.dev, &copy)) return ST_DEVICE;
    if (damage && on_host) ((unsigned char *)stage.at)[damage_at] ^= 0x80;
    status st = pair_push(p, &f, eb);
    if (st == ST_OK) o->segment++;
    return st == ST_DEVICE ? ST_PEER : st;
}

static status send_seal_frame(xfer *x, outgoing *o) {
    kv_frame f = {.kind = KV_SEAL, .id = o->id, .segment = o->segment};
    f.piece = kv_piece_of(&x->opt.kv.layout, o->token_begin, o->token_count - o->token_begin, 0,
                          x->opt.kv.layout.layers);
    f.ids_hash = o->ids_hash[kv_pages_for(o->token_count)];
    f.first_token = o->first.id;
    f.finished = o->finished;
    zmq_msg_t part;
    CHECK(zmq_msg_init_size(&part, sizeof o->first) == 0);
    memcpy(zmq_msg_data(&part), &o->first, sizeof o->first);
    uint64_t now_ns = clock_now_ns();
    if (pair_send(o->pair, &f, &part)) return ST_PEER;
    o->sent = true;
    xfer_event e = {
        .kind = X_SENT, .id = o->id, .bytes = o->bytes, .segments = o->segment, .first_ns = o->first_ns};
    e.last_ns = now_ns;
    log_trace("kv.xfer", "seal", "req=%" PRIu64 " attempt=%u segments=%u bytes=%" PRIu64 " clock_ns=%" PRIu64,
              o->req, o->id.attempt, o->segment, o->bytes, e.last_ns);
    xfer_emit(x, &e);
    return ST_OK;
}

/* SEAL leaves when all segments have; it needs no slot. */
static void finish_handoff(xfer *x, outgoing *o) {
    pair *p = o->pair;
    if (!p || !active(o) || o->sent || !o->sealed || !p->open || p->ended) return;
    if (!all_sent(o, x->opt.kv.layout.layers) || o->announced < o->segment) return;
    if (send_seal_frame(x, o)) xfer_end_pair(x, p, "the receiver does not read");
}

static void seal(xfer *x, const xfer_cmd *c) {
    outgoing *o = find(x, c->id.req);
    if (!o) return;
    (void)fault_at(FAULT_P_FIRST_TOKEN);
    o->sealed = true;
    o->first = c->first;
    o->finished = c->finished;
    if (o->pair) make_due(o);
    finish_handoff(x, o);
}

static void on_announced(xfer *x, pair *p, const kv_frame *f, uint64_t now_ns) {
    if (f->kind == KV_PROBE) return;
    xfer_count(&x->segments, 1);
    xfer_count(&x->bytes, f->bytes);
    log_trace("kv.xfer", "segment sent",
              "req=%" PRIu64 " attempt=%u segment=%u rows=%u+%u layers=%u..%u bytes=%" PRIu64
              " clock_ns=%" PRIu64,
              f->id.req, f->id.attempt, f->segment, f->piece.token_begin, f->piece.token_count,
              f->piece.layer_begin, f->piece.layer_end, f->bytes, now_ns);
    outgoing *o = find(x, f->id.req);
    if (!o || o->pair != p || !kv_identity_same(&o->id, &f->id)) return; /* it was dropped, or failed */
    if (!o->first_ns) o->first_ns = now_ns;
    o->announced++;
    o->bytes += f->bytes;
    finish_handoff(x, o);
}

/* Sends the SEGMENTs whose payload is on its way, of whatever hand-off: what was pushed is announced. */
static void announce(xfer *x, pair *p) {
    errbuf eb = {0};
    kv_frame f;
    status st = ST_OK;
    while (st == ST_OK && !p->ended && p->push_count) {
        uint64_t now_ns = clock_now_ns();
        st = pair_announce(p, &f, &eb);
        if (st == ST_OK) on_announced(x, p, &f, now_ns);
    }
    if (st && st != ST_AGAIN) xfer_end_pair(x, p, eb.text);
}

/* Sends what is due of one hand-off, as far as the slots go. */
static void pump_one(xfer *x, pair *p, outgoing *o) {
    errbuf eb = {0};
    status st = ST_OK;
    kv_piece piece;
    uint32_t slot;
    bool held_back = !x->opt.overlap && !o->sealed;
    while (st == ST_OK && !p->ended && p->free_count > 0) {
        if (held_back || !next_piece(x, o, &piece)) {
            undue(o);
            return;
        }
        CHECK(pair_take_slot(p, &slot, x->awake_ns) == ST_OK);
        if (o->sm.state == HANDOFF_RESERVED) sm_move(&o->sm, HANDOFF_COPYING, x->turn_ns);
        st = push_piece(x, o, slot, &piece, &eb);
        if (st == ST_OK) announce(x, p);
    }
    if (st == ST_DEVICE) {
        xfer_device_failed(x, &eb);
        abort_at_peer(x, o, "the sender's device failed");
        if (active(o)) fail(x, o, eb.text);
        xfer_end_pair(x, p, "device error"); /* the slot that was taken will never be credited */
    } else if (st != ST_OK) {
        xfer_end_pair(x, p, eb.text);
    }
}

/* Oldest hand-off first. */
static void pump(xfer *x, pair *p) {
    list_link *oldest;
    while (p->open && !p->ended && p->free_count > 0 && (oldest = list_first(&p->due)))
        pump_one(x, p, LIST_ITEM(oldest, outgoing, due));
}

static void on_frame(xfer *x, pair *p, chan_msg *m) {
    errbuf eb = {0};
    char why[CHAN_TEXT_MAX];
    if (pair_count(p, &m->frame, &eb)) {
        xfer_end_pair(x, p, eb.text);
        return;
    }
    switch (m->frame.kind) {
    case KV_RING:
        if (pair_ring(p, m, &eb)) xfer_end_pair(x, p, eb.text);
        break;
    case KV_CREDIT:
        if (pair_credit(p, m->frame.slot, &eb))
            xfer_end_pair(x, p, eb.text);
        else
            probe_credit(p, m->frame.slot);
        break;
    case KV_REFUSED:
        chan_msg_text(m, why);
        xfer_end_pair(x, p, why);
        break;
    case KV_ABORT: {
        outgoing *o = find(x, m->frame.id.req);
        chan_msg_text(m, why);
        if (o && o->pair == p && active(o) && kv_identity_same(&o->id, &m->frame.id)) fail(x, o, why);
        break;
    }
    default:
        xfer_end_pair(x, p, "a frame that a receiver does not send");
        break;
    }
}

static void read_frames(xfer *x, pair *p) {
    chan_msg m;
    for (uint32_t n = 0; n < XFER_MESSAGES_PER_TURN && !p->ended; n++) {
        status st = chan_recv(p->link, &m);
        if (st == ST_AGAIN) break;
        if (st != ST_OK) {
            xfer_end_pair(x, p, "the receiver sent what is no frame");
            break;
        }
        on_frame(x, p, &m);
        chan_msg_done(&m);
    }
    int fd;
    if (p->ended || chan_lost(p->link, &fd)) return;
    /* What it said before it went (REFUSED) has the better reason. */
    while (!p->ended && chan_recv(p->link, &m) == ST_OK) {
        on_frame(x, p, &m);
        chan_msg_done(&m);
    }
    p->lost = true;
    if (!p->ended) xfer_end_pair(x, p, "the connection to the receiver is lost");
}

static void drain_reports(xfer *x) {
    layer_report r;
    for (uint32_t n = 0; n < REPORTS_PER_TURN && ring_pop(x->layers, &r) == ST_OK; n++) {
        if (!knows(x, &r)) xfer_drain_commands(x);
        layer(x, &r);
    }
}

/* A receiver that is known and has no pair gets one before it is needed. */
static void call_receivers(xfer *x) {
    for (uint32_t i = 0; i < x->receivers.count; i++) {
        errbuf eb = {0};
        receiver *r = &x->receivers.at[i];
        if (!r->call) continue;
        r->call = false;
        kv_identity id = {.epoch = x->own.epoch, .p_inc = x->own.p_inc, .d_inc = r->inc};
        pair *p = pair_to(x, &id, r->endpoint, &eb);
        if (p && !p->open)
            p->probe.state = PROBE_DUE;
        else if (!p)
            log_warn("kv.xfer", "no pair to a receiver", "peer=%" PRIx64 " why=\"%s\"", r->inc, eb.text);
    }
}

static void turn(xfer *x) {
    drain_reports(x);
    call_receivers(x);
    for (pair *p = x->pairs; p; p = p->next) {
        read_frames(x, p);
        bool was_open = p->open;
        xfer_open_pair(x, p);
        if (p->open && !was_open && p->probe.state == PROBE_NONE) tell_open(x, p);
        announce(x, p);
        pump(x, p);
        probe_turn(x, p);
        announce(x, p);
    }
}

/* ---- the table ---- */

static status no_socket(xfer *x, errbuf *eb) {
    (void)x, (void)eb; /* each pair has its own */
    return ST_OK;
}

static kv_identity own(const kv_identity *id) {
    return (kv_identity){.epoch = id->epoch, .p_inc = id->p_inc};
}

static uint64_t peer_inc(const kv_identity *id) {
    return id->d_inc;
}

static void command(xfer *x, const xfer_cmd *c) {
    PRE(c->kind != X_EXPECT);
    if (c->kind == X_OFFER) offer(x, c);
    if (c->kind == X_DEST) dest(x, c);
    if (c->kind == X_SEAL) seal(x, c);
    if (c->kind == X_PEER) peer(x, c);
}

/* An offer outlives its receivers. */
static void peer_gone(xfer *x, uint64_t inc) {
    receivers_forget(&x->receivers, inc);
}

static int wait_items(const xfer *x, zmq_pollitem_t *items) {
    int count = 0;
    for (const pair *p = x->pairs; p; p = p->next) {
        items[count++] = (zmq_pollitem_t){.socket = p->own.socket, .events = ZMQ_POLLIN};
        items[count++] = (zmq_pollitem_t){.socket = p->own.monitor, .events = ZMQ_POLLIN};
    }
    return count;
}

const xfer_role send_role = {
    .open = no_socket,
    .own = own,
    .peer_inc = peer_inc,
    .command = command,
    .drop = drop,
    .drop_all = drop_all,
    .peer_gone = peer_gone,
    .turn = turn,
    .pair_ended = pair_ended,
    .wait_items = wait_items,
};
