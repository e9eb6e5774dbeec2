#include "transfer/pair.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static kv_frame frame_of(kv_frame_kind kind, const kv_identity *id) {
    return (kv_frame){.kind = (uint16_t)kind, .id = *id};
}

static pair *pair_alloc(const pair_setup *setup, const kv_identity *id) {
    pair *p = xcalloc(1, sizeof *p);
    p->setup = setup;
    p->id = (kv_identity){.epoch = id->epoch, .p_inc = id->p_inc, .d_inc = id->d_inc};
    p->fd = -1;
    return p;
}

void pair_free(pair *p) {
    if (!p) return;
    chan_close(&p->own);
    if (p->ring) p->setup->xport->close(p->ring);
    free(p->endpoint);
    free(p->free_slots);
    free(p->taken_ns);
    free(p);
}

status pair_send(pair *p, kv_frame *frame, zmq_msg_t *part) {
    PRE(p);
    PRE(p->link);
    PRE(frame);
    frame->magic = KV_WIRE_MAGIC;
    frame->version = KV_WIRE_VERSION;
    frame->seq = ++p->seq_out;
    return chan_send(p->link, &p->route, frame, part);
}

status pair_send_text(pair *p, kv_frame_kind kind, const kv_identity *id, const char *why) {
    PRE(id);
    PRE(why);
    kv_frame f = frame_of(kind, id);
    size_t count = strlen(why);
    zmq_msg_t part;
    CHECK(zmq_msg_init_size(&part, count) == 0);
    memcpy(zmq_msg_data(&part), why, count);
    return pair_send(p, &f, &part);
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

status pair_connect(pair **out, const pair_setup *setup, const char *endpoint, const kv_identity *id,
                    uint64_t now_ns, errbuf *eb) {
    PRE(out);
    PRE(setup);
    PRE(endpoint);
    PRE(id);
    pair *p = pair_alloc(setup, id);
    p->endpoint = xstrdup(endpoint);
    p->link = &p->own;
    p->hello_ns = now_ns;
    kv_frame hello = frame_of(KV_HELLO, &p->id);
    memcpy(hello.transport, setup->xport->name, strnlen(setup->xport->name, sizeof hello.transport - 1));
    hello.layout_hash = setup->layout_hash;
    status st = chan_connect(&p->own, setup->zmq, endpoint, eb);
    if (st) goto fail;
    st = pair_send(p, &hello, NULL);
    if (st) {
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
    if (strncmp(f->transport, setup->xport->name, sizeof f->transport) != 0)
        return errf(eb, ST_INVALID, "the receiver's transport is %s, not %.7s", setup->xport->name,
                    f->transport);
    if (f->layout_hash != setup->layout_hash)
        return errf(eb, ST_INVALID, "the receiver's KV layout (dtype, layers, heads, page size) differs");
    return ST_OK;
}

status pair_accept(pair **out, const pair_setup *setup, chan *link, const chan_msg *m, const kv_identity *own,
                   errbuf *eb) {
    PRE(out);
    PRE(setup);
    PRE(link);
    PRE(m);
    PRE(own);
    status st = check_hello(setup, &m->frame, own, eb);
    if (st) return st;
    pair *p = pair_alloc(setup, &m->frame.id);
    p->link = link;
    p->route = m->route;
    p->fd = m->fd;
    p->seq_in = 1;
    p->slots = setup->slots;
    p->slot_bytes = setup->slot_bytes;
    kv_frame ring = frame_of(KV_RING, &p->id);
    st = setup->xport->create(&p->ring, p->slots, p->slot_bytes, &ring, eb);
    if (st) goto fail;
    st = pair_send(p, &ring, NULL);
    if (st) {
        errf(eb, st, "the sender is gone");
        goto fail;
    }
    p->open = true;
    *out = p;
    return ST_OK;

fail:
    pair_free(p);
    return st;
}

status pair_ring(pair *p, const kv_frame *frame, errbuf *eb) {
    PRE(p);
    PRE(frame);
    if (p->open) return errf(eb, ST_CORRUPT, "a second ring for one pair");
    if (frame->slot == 0 || frame->slot > XPORT_SLOTS_MAX || frame->bytes % 64 ||
        frame->bytes > XPORT_SLOT_BYTES_MAX || frame->bytes < p->setup->slot_bytes_min)
        return errf(eb, ST_CORRUPT, "a ring of %u slots of %llu bytes, want 1..%u of %zu..%zu", frame->slot,
                    (unsigned long long)frame->bytes, XPORT_SLOTS_MAX, p->setup->slot_bytes_min,
                    XPORT_SLOT_BYTES_MAX);
    status st = p->setup->xport->open(&p->ring, frame, eb);
    if (st) return st;
    p->slots = frame->slot;
    p->slot_bytes = frame->bytes;
    p->free_slots = xcalloc(p->slots, sizeof *p->free_slots);
    p->taken_ns = xcalloc(p->slots, sizeof *p->taken_ns);
    for (uint32_t i = 0; i < p->slots; i++) p->free_slots[i] = p->slots - 1 - i;
    p->free_count = p->slots;
    p->open = true;
    return ST_OK;
}

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

status pair_credit(pair *p, uint32_t slot, errbuf *eb) {
    PRE(p);
    if (!p->open || slot >= p->slots || p->taken_ns[slot] == 0)
        return errf(eb, ST_CORRUPT, "credit for slot %u, which is not out", slot);
    p->taken_ns[slot] = 0;
    p->free_slots[p->free_count++] = slot;
    return ST_OK;
}

bool pair_waits(const pair *p) {
    PRE(p);
    return !p->open || p->free_count < p->slots;
}

status pair_judge(const pair *p, uint64_t timeout_ns, uint64_t now_ns, errbuf *eb) {
    PRE(p);
    if (!pair_waits(p)) return ST_OK;
    uint64_t since_ns = p->open ? now_ns : p->hello_ns;
    if (p->open)
        for (uint32_t i = 0; i < p->slots; i++)
            if (p->taken_ns[i] && p->taken_ns[i] < since_ns) since_ns = p->taken_ns[i];
    if (now_ns - since_ns < timeout_ns) return ST_OK;
    return errf(eb, ST_TIMEOUT, "no %s from the receiver for %llu ms", p->open ? "credit" : "ring",
                (unsigned long long)((now_ns - since_ns) / NS_PER_MS));
}
