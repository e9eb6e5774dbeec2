/* The receiving half: what is expected, and the check that makes KV out of bytes.
 *
 *   X_EXPECT -> reserved --first segment--> copying --SEAL, all there--> verified (forgotten)
 *   any --> aborted --X_DROP--> gone
 *
 * A segment is looked at in this order: is its identity expected; is it the next, within the prompt, and new
 * (handoff_recv_add, which is also the bounds check); are the token ids the same; does the payload have its
 * size; then scatter into the reserved pages, which computes the checksum on the way; is that right. The
 * first "no" aborts the hand-off on both sides. The slot is credited in any case: credits belong to the
 * pair, not to the hand-off. A frame of an unknown identity (late, or of a confused peer) only earns an
 * ABORT: its payload is brought in like any other and thrown away.
 *
 * A hand-off has no deadline here: how long it may take is the coordinator's to judge (its lease, its
 * X_DROP); a sender that dies is noticed by its connection. Only a payload that was announced, and the ring,
 * have the pair's deadline. */
#include "transfer/recv.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "kv/handoff.h"
#include "transfer/probe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* It travels as it lies in memory: both sides are built from one source. */
static_assert(sizeof(token_out) == 180, "token_out crosses processes");

typedef struct incoming {
    list_link by_age; /* of xfer */
    sm sm;
    kv_identity id;
    uint32_t token_count;
    uint32_t *pages;     /* [kv_pages_for(token_count)] or more; NULL once aborted */
    uint64_t *ids_hash;  /* [kv_pages_for(token_count) + 1]; likewise */
    handoff_recv *cover; /* likewise */
    pair *pair;          /* of its first segment; NULL before and once aborted */
    uint32_t segments;
    uint64_t bytes, first_ns;
} incoming;

static incoming *find(const xfer *x, uint64_t req) {
    return u64_map_get(&x->by_req, req);
}

static incoming *first(const xfer *x) {
    list_link *l = list_first(&x->by_age);
    return l ? LIST_ITEM(l, incoming, by_age) : NULL;
}

static incoming *next(const xfer *x, const incoming *in) {
    list_link *l = list_next(&x->by_age, &in->by_age);
    return l ? LIST_ITEM(l, incoming, by_age) : NULL;
}

static void let_go(incoming *in) {
    free(in->pages);
    free(in->ids_hash);
    handoff_recv_free(in->cover);
    in->pages = NULL;
    in->ids_hash = NULL;
    in->cover = NULL;
    in->pair = NULL;
}

static void forget(xfer *x, incoming *in) {
    CHECK(u64_map_take(&x->by_req, in->id.req) == in);
    list_remove(&x->by_age, &in->by_age);
    let_go(in);
    free(in);
}

static void tell_sender(xfer *x, pair *p, const kv_identity *id, const char *why) {
    if (p && !p->ended && pair_send_text(p, KV_ABORT, id, why))
        xfer_end_pair(x, p, "the sender does not read");
}

static void fail(xfer *x, incoming *in, uint32_t segment, const char *why) {
    PRE(!sm_ended(&in->sm));
    sm_move(&in->sm, HANDOFF_ABORTED, x->turn_ns);
    xfer_event e = {
        .kind = X_FAILED, .id = in->id, .bytes = in->bytes, .segments = in->segments, .segment = segment};
    e.first_ns = in->first_ns;
    e.device = x->device_failed;
    snprintf(e.why, sizeof e.why, "%s", why);
    let_go(in);
    xfer_count(&x->failures, 1);
    log_debug("kv.xfer", "receive failed", "req=%" PRIu64 " attempt=%u segment=%u why=\"%s\"", in->id.req,
              in->id.attempt, segment, e.why);
    xfer_emit(x, &e);
}

static void drop(xfer *x, uint64_t req) {
    incoming *in = find(x, req);
    if (!in) return;
    tell_sender(x, in->pair, &in->id, "the receiver dropped it");
    /* Telling may have ended the pair and with it this hand-off, but only X_DROP removes it from the list. */
    forget(x, in);
}

static void expect(xfer *x, const xfer_cmd *c) {
    PRE(handoff_may_start(c->token_begin, c->id_count));
    PRE(c->page_count >= kv_pages_for(c->id_count));
    for (uint32_t i = 0; i < c->page_count; i++) PRE(c->pages[i] < x->opt.kv.page_count);
    drop(x, c->id.req);
    incoming *in = xcalloc(1, sizeof *in);
    sm_init(&in->sm, &handoff_sm, x->turn_ns);
    sm_move(&in->sm, HANDOFF_RESERVED, x->turn_ns);
    in->id = c->id;
    in->token_count = c->id_count;
    in->pages = xmemdup(c->pages, c->page_count * sizeof *in->pages);
    in->ids_hash = xfer_page_hashes(c->ids, c->id_count);
    in->cover = handoff_recv_new(&x->opt.kv.layout, c->token_begin, c->id_count);
    list_add_last(&x->by_age, &in->by_age);
    u64_map_put(&x->by_req, in->id.req, in);
}

static void drop_all(xfer *x) {
    for (incoming *in; (in = first(x));) forget(x, in);
}

static void peer_gone(xfer *x, uint64_t p_inc) {
    for (incoming *in = first(x); in; in = next(x, in))
        if (in->id.p_inc == p_inc && !sm_ended(&in->sm))
            fail(x, in, in->segments, "the sender left the cluster");
}

static incoming *find_exact(const xfer *x, const kv_identity *id) {
    incoming *in = find(x, id->req);
    return in && kv_identity_same(&in->id, id) ? in : NULL;
}

static void pair_ended(xfer *x, pair *p, const char *why) {
    if (!p->lost) (void)pair_send_text(p, KV_REFUSED, &p->id, why); /* a peer that is gone needs no answer */
    for (incoming *in = first(x); in; in = next(x, in))
        if (in->pair == p && !sm_ended(&in->sm)) fail(x, in, in->segments, why);
    /* And those of which a first segment was announced. */
    const pair_held *at = NULL;
    const kv_frame *f;
    while ((f = pair_held_frame(p, &at))) {
        incoming *in = f->kind == KV_SEGMENT ? find_exact(x, &f->id) : NULL;
        if (in && !in->pair && !sm_ended(&in->sm)) fail(x, in, in->segments, why);
    }
}

/* Checks and scatters one segment. */
static status take_segment(xfer *x, incoming *in, pair *p, chan_msg *m, errbuf *eb) {
    const kv_frame *f = &m->frame;
    const kv_layout *layout = &x->opt.kv.layout;
    if (in->pair && in->pair != p) return errf(eb, ST_CORRUPT, "it came over two pairs");
    in->pair = p;
    if (in->sm.state == HANDOFF_RESERVED) {
        (void)fault_at(FAULT_D_RESERVED);
        sm_move(&in->sm, HANDOFF_COPYING, x->turn_ns);
        in->first_ns = clock_now_ns();
    }
    const kv_piece *piece = &f->piece;
    status st = handoff_recv_add(in->cover, f->segment, piece, eb);
    if (st != ST_OK) return st;
    if (f->ids_hash != in->ids_hash[kv_piece_pages(piece)])
        return errf(eb, ST_CORRUPT, "it is of other token ids");
    size_t bytes = kv_piece_bytes(layout, piece);
    xport_place wire = {0};
    if (f->bytes == bytes)
        wire = p->xport->payload(p->ring, f->slot, bytes, m->has_part ? zmq_msg_data(&m->part) : NULL,
                                 zmq_msg_size(&m->part));
    if (!wire.at) return errf(eb, ST_CORRUPT, "%" PRIu64 " bytes of payload, want %zu", f->bytes, bytes);

    uint64_t checksum = 0;
    op_kv_copy copy = {.layout = layout, .kv = x->opt.kv.base, .pages = in->pages, .wire = wire.at};
    copy.wire_in = wire.in;
    copy.piece = *piece;
    copy.seed = kv_segment_seed(&f->id, f->segment, piece, f->ids_hash);
    copy.checksum = &checksum;
    if (x->opt.kv.ops->kv_scatter(x->opt.kv.dev, &copy)) {
        xfer_device_failed(x, eb);
        return ST_DEVICE;
    }
    (void)fault_at(FAULT_D_SEGMENT);
    if (checksum != f->checksum && x->opt.checksums) {
        xfer_count(&x->crc_errors, 1);
        return errf(eb, ST_CORRUPT, "segment %u: checksum mismatch", f->segment);
    }
    in->segments++;
    in->bytes += bytes;
    xfer_count(&x->segments, 1);
    xfer_count(&x->bytes, bytes);
    log_trace("kv.xfer", "segment verified",
              "req=%" PRIu64 " attempt=%u segment=%u rows=%u+%u layers=%u..%u bytes=%zu clock_ns=%" PRIu64,
              f->id.req, f->id.attempt, f->segment, piece->token_begin, piece->token_count,
              piece->layer_begin, piece->layer_end, bytes, clock_now_ns());
    return ST_OK;
}

/* Whose hand-off a frame is about, when it is one that still takes frames. */
static incoming *expected(xfer *x, pair *p, const kv_frame *f) {
    incoming *in = find_exact(x, &f->id);
    if (!in) {
        /* The reservation was posted before the sender could hear of it, but perhaps after this turn read the
         * commands. Among them may be one that ends this pair. */
        xfer_drain_commands(x);
        if (p->ended) return NULL;
        in = find_exact(x, &f->id);
    }
    if (!in) {
        xfer_count(&x->strays, 1);
        if (f->kind != KV_ABORT)
            tell_sender(x, p, &f->id, "the receiver does not expect this request and attempt");
        return NULL;
    }
    return sm_ended(&in->sm) ? NULL : in;
}

/* Reads the monitor: which pairs lost their connection. What they had sent before is still to be read. */
static bool note_lost(xfer *x) {
    int fd;
    while (chan_lost(&x->router, &fd) == ST_OK)
        for (pair *p = x->pairs; p; p = p->next)
            if (p->fd == fd && !p->ended) p->lost = true;
    for (const pair *p = x->pairs; p; p = p->next)
        if (p->lost && !p->ended) return true;
    return false;
}

/* A sender that is gone needs no credit: what it had announced is taken all the same. The monitor tells of
 * its end before ZeroMQ refuses to send to it. */
static void give_slot(xfer *x, pair *p, const kv_frame *segment) {
    if (p->ended || !pair_give_slot(p, segment)) return;
    note_lost(x);
    if (!p->lost) xfer_end_pair(x, p, "the sender does not read");
}

static void on_segment(xfer *x, pair *p, chan_msg *m) {
    errbuf eb = {0};
    const kv_frame *f = &m->frame;
    incoming *in = expected(x, p, f);
    if (in && take_segment(x, in, p, m, &eb)) {
        kv_identity id = in->id;
        fail(x, in, f->segment, eb.text);
        tell_sender(x, p, &id, eb.text);
    }
    give_slot(x, p, f);
}

/* It goes on to the coordinator, which ends the session of a worker that tells of what is no token. */
static bool is_token(const token_out *t) {
    if (t->id < 0 || t->fin > FINISH_LENGTH || t->top_count > SAMPLING_LOGPROBS_MAX) return false;
    for (uint32_t i = 0; i < t->top_count; i++)
        if (isnan(t->top[i].logprob)) return false;
    return true;
}

static status check_seal(const incoming *in, chan_msg *m, token_out *first, errbuf *eb) {
    const kv_frame *f = &m->frame;
    status st = handoff_recv_seal(in->cover, f->segment, &f->piece, eb);
    if (st != ST_OK) return st;
    if (f->ids_hash != in->ids_hash[kv_pages_for(in->token_count)])
        return errf(eb, ST_CORRUPT, "the seal is of other token ids");
    if (zmq_msg_size(&m->part) != sizeof *first) return errf(eb, ST_CORRUPT, "the seal has no token");
    memcpy(first, zmq_msg_data(&m->part), sizeof *first);
    if (!is_token(first) || first->id != f->first_token || f->finished > 1)
        return errf(eb, ST_CORRUPT, "the seal's token makes no sense");
    return ST_OK;
}

static void on_seal(xfer *x, pair *p, chan_msg *m) {
    errbuf eb = {0};
    token_out first = {0};
    incoming *in = expected(x, p, &m->frame);
    if (!in) return;
    if (check_seal(in, m, &first, &eb)) {
        kv_identity id = in->id;
        fail(x, in, in->segments, eb.text);
        tell_sender(x, p, &id, eb.text);
        return;
    }
    sm_move(&in->sm, HANDOFF_VERIFIED, x->turn_ns);
    xfer_event e = {
        .kind = X_VERIFIED, .id = in->id, .bytes = in->bytes, .segments = in->segments, .first = first};
    e.finished = m->frame.finished;
    e.first_ns = in->first_ns;
    e.last_ns = clock_now_ns();
    log_trace("kv.xfer", "seal", "req=%" PRIu64 " attempt=%u segments=%u bytes=%" PRIu64 " clock_ns=%" PRIu64,
              in->id.req, in->id.attempt, in->segments, in->bytes, e.last_ns);
    forget(x, in);
    (void)fault_at(FAULT_D_SEALED);
    xfer_emit(x, &e);
}

static void on_abort(xfer *x, pair *p, chan_msg *m) {
    char why[CHAN_TEXT_MAX];
    incoming *in = expected(x, p, &m->frame);
    if (!in) return;
    chan_msg_text(m, why);
    fail(x, in, in->segments, why);
}

static void on_frame(xfer *x, pair *p, chan_msg *m) {
    switch (m->frame.kind) {
    case KV_SEGMENT:
        on_segment(x, p, m);
        break;
    case KV_PROBE:
        probe_take(x, p, m);
        give_slot(x, p, &m->frame);
        break;
    case KV_SEAL:
        on_seal(x, p, m);
        break;
    case KV_ABORT:
        on_abort(x, p, m);
        break;
    default:
        xfer_end_pair(x, p, "a frame that a sender does not send");
        break;
    }
}

/* Takes the frames whose turn it is. */
static void take_frames(xfer *x, pair *p) {
    errbuf eb = {0};
    chan_msg m;
    status st = ST_OK;
    xfer_open_pair(x, p);
    while (st == ST_OK && !p->ended) {
        st = pair_next(p, &m, &eb);
        if (st != ST_OK) break;
        on_frame(x, p, &m);
        chan_msg_done(&m);
    }
    if (st && st != ST_AGAIN) xfer_end_pair(x, p, eb.text);
}

static void refuse(xfer *x, const chan_msg *m, const char *why) {
    kv_frame f = {
        .magic = KV_WIRE_MAGIC, .version = KV_WIRE_VERSION, .kind = KV_REFUSED, .seq = 1, .id = m->frame.id};
    zmq_msg_t part;
    size_t count = strlen(why);
    CHECK(zmq_msg_init_size(&part, count) == 0);
    memcpy(zmq_msg_data(&part), why, count);
    (void)chan_send(&x->router, &m->route, &f, &part); /* a caller that is gone needs no answer */
    log_warn("kv.xfer", "sender refused", "peer=%" PRIx64 " why=\"%s\"", m->frame.id.p_inc, why);
}

static void on_hello(xfer *x, const chan_msg *m) {
    errbuf eb = {0};
    /* The monitor may still hold the end of an older connection that had the same descriptor: that came
     * before this. */
    note_lost(x);
    xfer_drain_commands(x); /* an epoch that the caller has heard of was posted before */
    if (!chan_is_live(&x->router, m->fd)) return;
    if (x->pair_count >= XFER_PAIRS_MAX) {
        refuse(x, m, "the receiver has too many senders");
        return;
    }
    /* A GPU may have room for one ring per sender, and not for the old one beside the new one. */
    for (pair *p = x->pairs; p; p = p->next) {
        if (p->id.p_inc == m->frame.id.p_inc) xfer_end_pair(x, p, "the sender opened another channel");
        if (p->ended) pair_close_ring(p);
    }
    pair *p = NULL;
    if (pair_accept(&p, &x->setup, m, &x->own, x->awake_ns, &eb)) {
        refuse(x, m, eb.text);
        return;
    }
    xfer_add_pair(x, p);
    xfer_open_pair(x, p);
}

static pair *pair_of(const xfer *x, const chan_route *route) {
    for (pair *p = x->pairs; p; p = p->next)
        if (!p->ended && p->route.count == route->count &&
            !memcmp(p->route.bytes, route->bytes, route->count))
            return p;
    return NULL;
}

static void on_message(xfer *x, chan_msg *m) {
    errbuf eb = {0};
    pair *p = pair_of(x, &m->route);
    if (!p) {
        if (m->frame.kind == KV_HELLO && m->frame.seq == 1)
            on_hello(x, m);
        else
            xfer_count(&x->strays, 1); /* of a pair that ended: its sender was told, or is gone */
        return;
    }
    if (pair_count(p, &m->frame, &eb) || pair_arrive(p, m, x->awake_ns, &eb))
        xfer_end_pair(x, p, eb.text);
    else
        take_frames(x, p);
}

static void turn(xfer *x) {
    for (pair *p = x->pairs; p; p = p->next)
        if (pair_polls(p)) take_frames(x, p);
    bool lost = note_lost(x);
    bool empty = false;
    /* A lost connection is judged only when everything that it brought was read: its seal may be the last
     * thing in the queue, and behind a payload that is still to come. */
    uint32_t limit = lost ? 64 * XFER_MESSAGES_PER_TURN : XFER_MESSAGES_PER_TURN;
    for (uint32_t n = 0; n < limit && !empty; n++) {
        chan_msg m;
        status st = chan_recv(&x->router, &m);
        if (st == ST_AGAIN) empty = true;
        if (st != ST_OK) continue;
        on_message(x, &m);
        chan_msg_done(&m);
    }
    if (!empty) return;
    for (pair *p = x->pairs; p; p = p->next)
        if (p->lost && !p->ended && !p->held_count)
            xfer_end_pair(x, p, "the connection to the sender is lost");
}

/* ---- the table ---- */

static status listen_for_senders(xfer *x, errbuf *eb) {
    size_t message_bytes_max = MAX(x->setup.slot_bytes, (size_t)4096);
    const curve_keys *keys = x->setup.keyed ? &x->setup.keys : NULL;
    return chan_listen(&x->router, x->setup.zmq, x->opt.bind_host, keys, message_bytes_max, x->setup.dead_ms,
                       eb);
}

static kv_identity own(const kv_identity *id) {
    return (kv_identity){.epoch = id->epoch, .d_inc = id->d_inc};
}

static uint64_t peer_inc(const kv_identity *id) {
    return id->p_inc;
}

static void command(xfer *x, const xfer_cmd *c) {
    PRE(c->kind == X_EXPECT);
    expect(x, c);
}

static int wait_items(const xfer *x, zmq_pollitem_t *items) {
    return chan_items(&x->router, items);
}

const xfer_role recv_role = {
    .open = listen_for_senders,
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
