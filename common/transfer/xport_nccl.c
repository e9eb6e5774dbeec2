/* nccl - the payload goes from the memory of the sender's GPU to that of the receiver's by NCCL, for pairs on
 * different hosts.
 *
 *   P's slots --ncclSend--> (network) --ncclRecv--> D's slots (the ring)
 *
 * A pair has a channel of its own (kernels/link.h): a communicator of two ranks with a stream on either side,
 * whose id travels in RING. Its copies are matched by their order, which is the order of the SEGMENTs. A send
 * waits on the GPU until it is received, and so does a receive; the receiver therefore posts one only when
 * the SEGMENT has come, that is when the bytes are on their way, and does not take a part of the GPU from the
 * steps through a whole prefill. The SEGMENT leaves when the GPU has been given the send. A slot is free with
 * CREDIT, by when its bytes have been received.
 *
 * A pair that ends gives up its own communicator; what the GPU may still do touches nothing but the memory of
 * that channel. */
#include "transfer/xport.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* The library looks at all cards, links and plugins of its host for each communicator: a second or two where
 * all is well, and several have been reported. */
#define NCCL_OPEN_TIMES 6u
#define NCCL_MAGIC      0x6b6e696c6c63636eull

typedef struct nccl_address {
    uint64_t magic;
    char version[16]; /* of the receiver's library: both must have the same */
    unsigned char id[LINK_ID_BYTES];
} nccl_address;
static_assert(sizeof(nccl_address) == 152, "nccl_address crosses processes");
static_assert(sizeof(nccl_address) <= XPORT_ADDRESS_MAX, "an address has its bound");

struct xport_ring {
    xport_setup setup; /* slots, and whose device it is */
    gpu_link *link;
    uint64_t
        *number; /* [slots] of the newest copy from or to a slot, counted from 1; 0: none, or of no byte */
    uint64_t begun, given, done;
};

static status nccl_check(const backend_ops *ops, device *dev, errbuf *eb) {
    PRE(ops);
    if (ops->link) return ops->link->check(dev, eb);
    return xport_wants_gpu("nccl", ops, eb);
}

static void nccl_close(xport_ring *r) {
    if (!r) return;
    r->setup.ops->link->abort(r->link);
    free(r->number);
    free(r);
}

static status ring_open(xport_ring **out, const xport_setup *s, link_rank rank, const unsigned char *id,
                        errbuf *eb) {
    xport_check_setup(s);
    link_options o = {.rank = rank, .ctas = s->link_ctas, .bytes = (size_t)s->slots * s->slot_bytes};
    o.most = s->slots + 1; /* see nccl_push */
    memcpy(o.id, id, sizeof o.id);
    gpu_link *link;
    status st = s->ops->link->open(s->dev, &o, &link, eb);
    if (st == ST_NOMEM)
        return errf(eb, st, "no GPU memory for a pair's %zu bytes: lower handoff.ring_slots or slot_kb",
                    o.bytes);
    if (st != ST_OK) return st;
    xport_ring *r = xcalloc(1, sizeof *r);
    r->setup = *s;
    r->link = link;
    r->number = xcalloc(s->slots, sizeof *r->number);
    *out = r;
    return ST_OK;
}

static status nccl_create(xport_ring **out, const xport_setup *s, xport_address *address, errbuf *eb) {
    PRE(out);
    PRE(s);
    PRE(address);
    status st = nccl_check(s->ops, s->dev, eb);
    if (st != ST_OK) return st;
    nccl_address a = {.magic = NCCL_MAGIC};
    strncpy(a.version, s->ops->link->version(s->dev), sizeof a.version - 1);
    st = s->ops->link->draw(s->dev, a.id, eb);
    if (st == ST_OK) st = ring_open(out, s, LINK_RECEIVER, a.id, eb);
    if (st != ST_OK) return st;
    memcpy(address->bytes, &a, sizeof a);
    address->count = sizeof a;
    return ST_OK;
}

static status nccl_open_peer(xport_ring **out, const xport_setup *s, const xport_address *address,
                             errbuf *eb) {
    PRE(out);
    PRE(s);
    PRE(address);
    nccl_address a;
    if (address->count != sizeof a)
        return errf(eb, ST_CORRUPT, "nccl ring: an address of %zu bytes, want %zu", address->count, sizeof a);
    memcpy(&a, address->bytes, sizeof a);
    if (a.magic != NCCL_MAGIC) return errf(eb, ST_CORRUPT, "nccl ring: an address of something else");
    status st = nccl_check(s->ops, s->dev, eb);
    if (st != ST_OK) return st;
    const char *own = s->ops->link->version(s->dev);
    if (strncmp(a.version, own, sizeof a.version) != 0)
        return errf(eb, ST_PEER,
                    "the receiver has NCCL %.15s, and here is %s: install the same on both hosts", a.version,
                    own);
    return ring_open(out, s, LINK_SENDER, a.id, eb);
}

static status nccl_ready(xport_ring *r, errbuf *eb) {
    PRE(r);
    return r->setup.ops->link->ready(r->link, eb);
}

static xport_place nccl_stage(xport_ring *r, uint32_t slot) {
    PRE(r);
    PRE(slot < r->setup.slots);
    return (xport_place){.at = (char *)r->setup.ops->link->at(r->link) + slot * r->setup.slot_bytes,
                         .in = MEMORY_DEVICE};
}

/* Both counts, as of now. */
static status ask(xport_ring *r, errbuf *eb) {
    return r->setup.ops->link->progress(r->link, &r->given, &r->done, eb);
}

/* Whether that count has come to the slot's copy. */
static status reached(xport_ring *r, const uint64_t *count, uint32_t slot, errbuf *eb) {
    PRE(slot < r->setup.slots);
    status st = ask(r, eb);
    if (st != ST_OK) return st;
    return *count >= r->number[slot] ? ST_OK : ST_AGAIN;
}

static status nccl_pushed(xport_ring *r, uint32_t slot, errbuf *eb) {
    PRE(r);
    return reached(r, &r->given, slot, eb);
}

static status nccl_push(xport_ring *r, uint32_t slot, size_t bytes, errbuf *eb) {
    PRE(r);
    PRE(slot < r->setup.slots);
    PRE(bytes <= r->setup.slot_bytes);
    if (!bytes) {
        r->number[slot] = 0;
        return ST_OK;
    }
    status st = ask(r, eb);
    if (st != ST_OK) return st;
    /* A send begins when the one before it has ended, so of those whose slot came back only the newest may
     * not have been seen to end. */
    if (r->begun - r->done > r->setup.slots)
        return errf(eb, ST_PEER, "the receiver credits a segment that it has not received");
    r->number[slot] = ++r->begun;
    st = r->setup.ops->link->send(r->link, slot * r->setup.slot_bytes, bytes, eb);
    return st == ST_OK ? nccl_pushed(r, slot, eb) : st;
}

static status nccl_pulled(xport_ring *r, uint32_t slot, errbuf *eb) {
    PRE(r);
    return reached(r, &r->done, slot, eb);
}

static status nccl_pull(xport_ring *r, uint32_t slot, size_t bytes, errbuf *eb) {
    PRE(r);
    PRE(slot < r->setup.slots);
    PRE(bytes <= r->setup.slot_bytes);
    r->number[slot] = bytes ? ++r->begun : 0;
    if (!bytes) return ST_OK;
    status st = r->setup.ops->link->recv(r->link, slot * r->setup.slot_bytes, bytes, eb);
    return st == ST_OK ? nccl_pulled(r, slot, eb) : st;
}

static xport_place nccl_payload(xport_ring *r, uint32_t slot, size_t bytes, const void *part,
                                size_t part_bytes) {
    if (part || part_bytes || !xport_in_ring(&r->setup, slot, bytes)) return (xport_place){0};
    return nccl_stage(r, slot);
}

const xport_ops xport_nccl = {
    .name = "nccl",
    .bit = KV_BY_NCCL,
    .open_times = NCCL_OPEN_TIMES,
    .check = nccl_check,
    .create = nccl_create,
    .open = nccl_open_peer,
    .ready = nccl_ready,
    .close = nccl_close,
    .stage = nccl_stage,
    .push = nccl_push,
    .pushed = nccl_pushed,
    .part = xport_no_part,
    .pull = nccl_pull,
    .pulled = nccl_pulled,
    .payload = nccl_payload,
};
