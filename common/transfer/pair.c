#include "transfer/pair.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct pair_held {
    pair_held *next;
    chan_msg msg;
    bool there; /* it may be taken */
};

static kv_frame frame_of(kv_frame_kind kind, const kv_identity *id) {
    return (kv_frame){.kind = (uint16_t)kind, .id = *id};
}

static pair *pair_alloc(const pair_setup *setup, const kv_identity *id, uint64_t now_ns) {
    pair *p = xcalloc(1, sizeof *p);
    p->setup = setup;
    p->hello_ns = now_ns;
    p->held_tail = &p->held;
    list_init(&p->due);
    p->id = (kv_identity){.epoch = id->epoch, .p_inc = id->p_inc, .d_inc = id->d_inc};
    p->fd = -1;
    return p;
}

static pair_held *unhold(pair *p) {
    pair_held *h = p->held;
    p->held = h->next;
    if (p->unpulled == h) p->unpulled = h->next;
    if (!p->held) p->held_tail = &p->held;
    p->held_count--;
    return h;
}

static void close_ring(pair *p) {
    if (p->ring) p->xport->close(p->ring);
    p->ring = NULL;
}

void pair_close_ring(pair *p) {
    PRE(p);
    PRE(p->ended);
    close_ring(p);
}

void pair_free(pair *p) {
    if (!p) return;
    CHECK(p->due.count == 0);
    chan_close(&p->own);
    while (p->held) {
        pair_held *h = unhold(p);
        chan_msg_done(&h->msg);
        free(h);
    }
    close_ring(p);
    free(p->endpoint);
    free(p->free_slots);
    free(p->taken_ns);
    free(p->pushed);
    free(p->probe.slots);
    free(p);
}

status pair_send(pair *p, kv_frame *frame, zmq_msg_t *part) {
    PRE(p);
    PRE(p->link);
    PRE(frame);
    frame->magic = KV_WIRE_MAGIC;
    frame->version = KV_WIRE_VERSION;
    frame->seq = ++p->seq_out;
    if (frame->kind == KV_SEGMENT && fault_at(FAULT_P_LOSE)) {
        if (part) zmq_msg_close(part);
        return ST_OK;
    }
    return chan_send(p->link, &p->route, frame, part);
}

status pair_count(pair *p, const kv_frame *frame, errbuf *eb) {
    PRE(p);
    PRE(frame);
    if (frame->seq != p->seq_in + 1)
        return errf(eb, ST_CORRUPT, "frame %llu where %llu is the next: frames were lost",
                    (unsigned long long)frame->seq, (unsigned long long)p->seq_in + 1);
    p->seq_in++;
    return ST_OK;
}

/* A frame with a part of plain bytes; 0 of them: without one. */
static status send_bytes(pair *p, kv_frame *f, const void *bytes, size_t count) {
    if (!count) return pair_send(p, f, NULL);
    zmq_msg_t part;
    CHECK(zmq_msg_init_size(&part, count) == 0);
    memcpy(zmq_msg_data(&part), bytes, count);
    return pair_send(p, f, &part);
}

status pair_send_text(pair *p, kv_frame_kind kind, const kv_identity *id, const char *why) {
    PRE(id);
    PRE(why);
    kv_frame f = frame_of(kind, id);
    return send_bytes(p, &f, why, strlen(why));
}

status pair_connect(pair **out, const pair_setup *setup, const char *endpoint, const kv_identity *id,
                    uint32_t can, uint64_t now_ns, errbuf *eb) {
    PRE(out);
    PRE(setup);
    PRE(endpoint);
    PRE(id);
    pair *p = pair_alloc(setup, id, now_ns);
    p->endpoint = xstrdup(endpoint);
    p->link = &p->own;
    kv_frame hello = frame_of(KV_HELLO, &p->id);
    hello.layout_hash = setup->layout_hash;
    kv_hello own = setup->menu.own;
    own.can = can;
    status st =
        chan_connect(&p->own, setup->zmq, endpoint, setup->keyed ? &setup->keys : NULL, setup->dead_ms, eb);
    if (st != ST_OK) goto fail;
    st = send_bytes(p, &hello, &own, sizeof own);
    if (st != ST_OK) {
        errf(eb, st, "pair channel: HELLO to %s does not leave", endpoint);
        goto fail;
    }
    *out = p;
    return ST_OK;

fail:
    pair_free(p);
    return st;
}

static status check_hello(const pair_setup *setup, const kv_frame *f, const kv_identity *own, errbuf *eb) {
    if (!own->d_inc || f->id.epoch != own->epoch || f->id.d_inc != own->d_inc)
        return errf(eb, ST_PEER, "the receiver is not the incarnation that was called");
    if (f->layout_hash != setup->layout_hash)
        return errf(eb, ST_INVALID, "the receiver's KV layout (dtype, layers, heads, page size) differs");
    return ST_OK;
}

static xport_setup ring_setup(const pair *p) {
    return (xport_setup){.ops = p->setup->menu.ops,
                         .dev = p->setup->menu.dev,
                         .slots = p->slots,
                         .slot_bytes = p->slot_bytes,
                         .link_ctas = p->setup->link_ctas};
}

static status send_ring(pair *p, const xport_address *address) {
    PRE(address->count <= XPORT_ADDRESS_MAX);
    kv_frame f = frame_of(KV_RING, &p->id);
    f.slot = p->slots;
    f.bytes = p->slot_bytes;
    memcpy(f.transport, p->xport->name, strnlen(p->xport->name, sizeof f.transport - 1));
    return send_bytes(p, &f, address->bytes, address->count);
}

/* Begins a ring of the best transport of which one can be had. */
static status create_ring(pair *p, kv_hello peer, xport_address *address, errbuf *eb) {
    errbuf first = {0};
    xport_setup ring = ring_setup(p);
    for (;;) {
        p->xport = menu_pick(&p->setup->menu, &peer, first.text[0] ? NULL : eb);
        if (!p->xport) break;
        errbuf why = {0};
        status st = p->xport->create(&p->ring, &ring, address, &why);
        if (st == ST_OK) return ST_OK;
        if (!first.text[0]) errf(&first, st, "%s", why.text);
        log_warn("kv.xfer", "no ring by this transport", "transport=%s peer=%" PRIx64 " why=\"%s\"",
                 p->xport->name, p->id.p_inc, why.text);
        peer.can &= ~p->xport->bit;
    }
    return first.text[0] ? errf(eb, ST_NOMEM, "%s", first.text) : ST_INVALID;
}

static zmq_msg_t *zmq_part(const chan_msg *m) {
    return (zmq_msg_t *)&m->part; /* ZeroMQ's readers take no pointer to const */
}

status pair_accept(pair **out, const pair_setup *setup, const chan_msg *m, const kv_identity *own,
                   uint64_t now_ns, errbuf *eb) {
    PRE(out);
    PRE(setup);
    PRE(setup->router);
    PRE(m);
    PRE(own);
    status st = check_hello(setup, &m->frame, own, eb);
    if (st != ST_OK) return st;
    pair *p = pair_alloc(setup, &m->frame.id, now_ns);
    p->link = setup->router;
    p->route = m->route;
    p->fd = m->fd;
    p->seq_in = 1;
    p->slots = setup->slots;
    p->slot_bytes = setup->slot_bytes;
    p->taken_ns = xcalloc(p->slots, sizeof *p->taken_ns);
    kv_hello peer;
    xport_address address = {0};
    if (zmq_msg_size(zmq_part(m)) != sizeof peer) {
        st = errf(eb, ST_CORRUPT, "a HELLO that does not say what the sender can");
        goto fail;
    }
    memcpy(&peer, zmq_msg_data(zmq_part(m)), sizeof peer);
    st = create_ring(p, peer, &address, eb);
    if (st != ST_OK) goto fail;
    st = send_ring(p, &address);
    if (st != ST_OK) {
        errf(eb, st, "the sender is gone");
        goto fail;
    }
    *out = p;
    return ST_OK;

fail:
    pair_free(p);
    return st;
}

status pair_ring(pair *p, chan_msg *m, errbuf *eb) {
    PRE(p);
    PRE(m);
    const kv_frame *f = &m->frame;
    xport_address address = {.count = zmq_msg_size(&m->part)};
    char name[sizeof f->transport + 1] = {0};
    if (p->ring) return errf(eb, ST_CORRUPT, "a second ring for one pair");
    memcpy(name, f->transport, sizeof f->transport);
    p->xport = menu_find(&p->setup->menu, name);
    if (!p->xport) return errf(eb, ST_CORRUPT, "a ring by '%s', which this sender did not offer", name);
    if (f->slot == 0 || f->slot > XPORT_SLOTS_MAX || f->bytes % 64 || f->bytes > XPORT_SLOT_BYTES_MAX ||
        f->bytes < p->setup->slot_bytes_min)
        return errf(eb, ST_CORRUPT, "a ring of %u slots of %llu bytes, want 1..%u of %zu..%zu", f->slot,
                    (unsigned long long)f->bytes, XPORT_SLOTS_MAX, p->setup->slot_bytes_min,
                    XPORT_SLOT_BYTES_MAX);
    if (address.count > XPORT_ADDRESS_MAX)
        return errf(eb, ST_CORRUPT, "a ring whose address has %zu bytes, want at most %u", address.count,
                    XPORT_ADDRESS_MAX);
    memcpy(address.bytes, zmq_msg_data(&m->part), address.count);
    p->slots = f->slot;
    p->slot_bytes = f->bytes;
    xport_setup ring = ring_setup(p);
    status st = p->xport->open(&p->ring, &ring, &address, eb);
    if (st != ST_OK) return st;
    p->free_slots = xcalloc(p->slots, sizeof *p->free_slots);
    p->taken_ns = xcalloc(p->slots, sizeof *p->taken_ns);
    p->pushed = xcalloc(p->slots, sizeof *p->pushed);
    for (uint32_t i = 0; i < p->slots; i++) p->free_slots[i] = p->slots - 1 - i;
    p->free_count = p->slots;
    return ST_OK;
}

status pair_open(pair *p, errbuf *eb) {
    PRE(p);
    PRE(!p->open);
    if (!p->ring) return ST_AGAIN;
    status st = p->xport->ready(p->ring, eb);
    p->open = st == ST_OK;
    return st;
}

/* ---- P: slots and pushes ---- */

status pair_take_slot(pair *p, uint32_t *slot, uint64_t now_ns) {
    PRE(p);
    PRE(p->open);
    PRE(slot);
    PRE(now_ns > 0);
    if (p->free_count == 0) return ST_AGAIN;
    *slot = p->free_slots[--p->free_count];
    CHECK(p->taken_ns[*slot] == 0);
    p->taken_ns[*slot] = now_ns;
    return ST_OK;
}

static bool is_pushed(const pair *p, uint32_t slot) {
    for (uint32_t i = 0; i < p->push_count; i++)
        if (p->pushed[(p->push_first + i) % p->slots].frame.slot == slot) return true;
    return false;
}

status pair_credit(pair *p, uint32_t slot, errbuf *eb) {
    PRE(p);
    if (!p->open || slot >= p->slots || p->taken_ns[slot] == 0 || is_pushed(p, slot))
        return errf(eb, ST_CORRUPT, "credit for slot %u, which is not out", slot);
    p->taken_ns[slot] = 0;
    p->free_slots[p->free_count++] = slot;
    p->credited = true;
    return ST_OK;
}

status pair_push(pair *p, const kv_frame *segment, errbuf *eb) {
    PRE(p);
    PRE(segment);
    PRE(segment->slot < p->slots);
    PRE(p->taken_ns[segment->slot] > 0);
    PRE(segment->bytes <= p->slot_bytes);
    status st = p->xport->push(p->ring, segment->slot, segment->bytes, eb);
    if (st && st != ST_AGAIN) return st;
    CHECK(p->push_count < p->slots);
    p->pushed[(p->push_first + p->push_count++) % p->slots] =
        (pair_pushed){.frame = *segment, .on_its_way = st == ST_OK};
    return ST_OK;
}

status pair_announce(pair *p, kv_frame *out, errbuf *eb) {
    PRE(p);
    PRE(out);
    if (!p->push_count) return ST_AGAIN;
    pair_pushed *oldest = &p->pushed[p->push_first];
    kv_frame *f = &oldest->frame;
    if (!oldest->on_its_way) {
        status st = p->xport->pushed(p->ring, f->slot, eb);
        if (st != ST_OK) return st;
    }
    p->push_first = (p->push_first + 1) % p->slots;
    p->push_count--;
    zmq_msg_t part;
    xport_part x;
    bool inlined = p->xport->part(p->ring, f->slot, f->bytes, &x);
    if (inlined) CHECK(zmq_msg_init_data(&part, x.bytes, x.count, x.release, x.hint) == 0);
    if (pair_send(p, f, inlined ? &part : NULL)) return errf(eb, ST_PEER, "the receiver does not read");
    *out = *f;
    return ST_OK;
}

/* ---- D: arrivals and pulls ---- */

status pair_arrive(pair *p, chan_msg *m, uint64_t now_ns, errbuf *eb) {
    PRE(p);
    PRE(m);
    PRE(now_ns > 0);
    const kv_frame *f = &m->frame;
    if (kv_frame_has_payload(f)) {
        if (f->slot >= p->slots)
            return errf(eb, ST_CORRUPT, "a segment in a slot that the ring does not have");
        if (f->bytes > p->slot_bytes) return errf(eb, ST_CORRUPT, "a segment that is larger than its slot");
        if (p->taken_ns[f->slot]) return errf(eb, ST_CORRUPT, "a segment in a slot that is not credited");
        p->taken_ns[f->slot] = now_ns;
    }
    if (p->held_count >= PAIR_HELD_MAX) return errf(eb, ST_CORRUPT, "too many frames before a payload");
    pair_held *h = xcalloc(1, sizeof *h);
    chan_msg_move(&h->msg, m);
    h->there = !kv_frame_has_payload(f);
    *p->held_tail = h;
    p->held_tail = &h->next;
    if (!p->unpulled) p->unpulled = h;
    p->held_count++;
    return ST_OK;
}

/* Begins the pulls of all segments that came, in their order. */
static status begin_pulls(pair *p, errbuf *eb) {
    for (; p->unpulled; p->unpulled = p->unpulled->next) {
        pair_held *h = p->unpulled;
        if (h->there) continue;
        status st = p->xport->pull(p->ring, h->msg.frame.slot, h->msg.frame.bytes, eb);
        if (st && st != ST_AGAIN) return st;
        h->there = st == ST_OK;
    }
    return ST_OK;
}

status pair_next(pair *p, chan_msg *out, errbuf *eb) {
    PRE(p);
    PRE(out);
    if (!p->held || !p->open) return ST_AGAIN;
    status st = begin_pulls(p, eb);
    if (st != ST_OK) return st;
    if (!p->held->there) {
        st = p->xport->pulled(p->ring, p->held->msg.frame.slot, eb);
        if (st != ST_OK) return st;
    }
    pair_held *h = unhold(p);
    chan_msg_move(out, &h->msg);
    free(h);
    return ST_OK;
}

const kv_frame *pair_held_frame(const pair *p, const pair_held **at) {
    PRE(p);
    PRE(at);
    *at = *at ? (*at)->next : p->held;
    return *at ? &(*at)->msg.frame : NULL;
}

status pair_give_slot(pair *p, const kv_frame *segment) {
    PRE(p);
    PRE(segment);
    PRE(segment->slot < p->slots);
    PRE(p->taken_ns[segment->slot] > 0);
    p->taken_ns[segment->slot] = 0;
    kv_frame credit = frame_of(KV_CREDIT, &segment->id);
    credit.slot = segment->slot;
    credit.segment = segment->segment;
    return pair_send(p, &credit, NULL);
}

/* ---- waiting ---- */

bool pair_waits(const pair *p) {
    PRE(p);
    return !p->open || p->held_count || (p->free_slots && p->free_count < p->slots);
}

bool pair_polls(const pair *p) {
    PRE(p);
    return (p->ring && !p->open) || p->push_count || (p->open && p->held_count);
}

/* What has been waited for since then. */
static const char *overdue(const pair *p, uint64_t since_ns) {
    if (!p->ring) return "no ring from the receiver";
    if (!p->open) return "the ring is not ready";
    if (p->held_count) return "a payload is under way";
    bool pushing = p->push_count && p->taken_ns[p->pushed[p->push_first].frame.slot] == since_ns;
    return pushing ? "a segment is under way" : "no credit from the receiver";
}

status pair_judge(const pair *p, uint64_t timeout_ns, uint64_t now_ns, errbuf *eb) {
    PRE(p);
    if (!pair_waits(p)) return ST_OK;
    uint64_t since_ns = p->open ? now_ns : p->hello_ns;
    if (p->open)
        for (uint32_t i = 0; i < p->slots; i++)
            if (p->taken_ns[i] && p->taken_ns[i] < since_ns) since_ns = p->taken_ns[i];
    if (p->ring && !p->open && p->xport->open_times) timeout_ns *= p->xport->open_times;
    if (now_ns - since_ns < timeout_ns) return ST_OK;
    return errf(eb, ST_TIMEOUT, "%s for %llu ms", overdue(p, since_ns),
                (unsigned long long)((now_ns - since_ns) / NS_PER_MS));
}
