/* zmq - the payload travels as a message part, for pairs on different hosts.
 *
 * ZeroMQ reads the bytes of a zero-copy message later, on its own thread. So the sender gathers into a
 * staging ring of the size that the receiver granted, and a slot is written again only after its CREDIT. When
 * a pair ends, messages may still wait inside ZeroMQ; the staging memory is therefore counted: one reference
 * for the ring, one per message. It is pinned while the ring is open, when the device gains from it.
 *
 * The receiver keeps no ring: what has arrived is bounded by the credits. It has one aligned slot, into which
 * a part is copied that ZeroMQ put at an odd address. */
#include "transfer/xport.h"

#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct staging {
    _Atomic uint32_t refs;
    unsigned char *bytes; /* [slots, slot_bytes] */
} staging;

struct xport_ring {
    xport_setup setup;     /* slots, and whose device it is */
    memory_kind in;        /* P: the staging, as its device sees it */
    staging *stage;        /* P */
    unsigned char *bounce; /* D: [slot_bytes], for a part at an odd address */
};

static void staging_put(staging *s) {
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) > 1) return;
    free(s->bytes);
    free(s);
}

/* Called by ZeroMQ's thread when it has no more use for a part. */
static void part_gone(void *data, void *hint) {
    (void)data;
    staging_put(hint);
}

static void inline_close(xport_ring *r) {
    if (!r) return;
    if (r->in == MEMORY_PINNED) r->setup.ops->host_unpin(r->setup.dev, r->stage->bytes);
    staging_put(r->stage);
    free(r->bounce);
    free(r);
}

static xport_ring *ring_alloc(const xport_setup *s) {
    xport_check_setup(s);
    xport_ring *r = xcalloc(1, sizeof *r);
    r->setup = *s;
    r->in = MEMORY_HOST;
    return r;
}

static status inline_create(xport_ring **out, const xport_setup *s, xport_address *address, errbuf *eb) {
    PRE(out);
    PRE(s);
    PRE(address);
    xport_ring *r = ring_alloc(s);
    r->bounce = aligned_alloc(64, s->slot_bytes);
    if (!r->bounce) {
        inline_close(r);
        return errf(eb, ST_NOMEM, "zmq ring: no memory for a slot of %zu bytes; lower handoff.slot_kb",
                    s->slot_bytes);
    }
    address->count = 0;
    *out = r;
    return ST_OK;
}

static status inline_open(xport_ring **out, const xport_setup *s, const xport_address *address, errbuf *eb) {
    PRE(out);
    PRE(s);
    PRE(address);
    if (address->count)
        return errf(eb, ST_CORRUPT, "zmq ring: an address of %zu bytes, want none", address->count);
    size_t total = (size_t)s->slots * s->slot_bytes;
    xport_ring *r = ring_alloc(s);
    r->stage = xcalloc(1, sizeof *r->stage);
    atomic_store_explicit(&r->stage->refs, 1, memory_order_relaxed);
    r->stage->bytes = aligned_alloc(64, total);
    if (!r->stage->bytes) {
        inline_close(r);
        return errf(eb, ST_NOMEM,
                    "zmq ring: no memory for %zu bytes of staging; lower handoff.ring_slots or slot_kb",
                    total);
    }
    r->in = s->ops->host_pin(s->dev, r->stage->bytes, total);
    *out = r;
    return ST_OK;
}

static xport_place inline_stage(xport_ring *r, uint32_t slot) {
    PRE(r);
    PRE(r->stage);
    PRE(slot < r->setup.slots);
    return (xport_place){.at = r->stage->bytes + (size_t)slot * r->setup.slot_bytes, .in = r->in};
}

static bool inline_part(xport_ring *r, uint32_t slot, size_t bytes, xport_part *out) {
    PRE(bytes <= r->setup.slot_bytes);
    PRE(out);
    atomic_fetch_add_explicit(&r->stage->refs, 1, memory_order_relaxed);
    *out = (xport_part){
        .bytes = inline_stage(r, slot).at, .count = bytes, .release = part_gone, .hint = r->stage};
    return true;
}

static xport_place inline_payload(xport_ring *r, uint32_t slot, size_t bytes, const void *part,
                                  size_t part_bytes) {
    if (!part || part_bytes != bytes || !xport_in_ring(&r->setup, slot, bytes)) return (xport_place){0};
    if ((uintptr_t)part % 8 == 0) return (xport_place){.at = (void *)part, .in = MEMORY_HOST};
    memcpy(r->bounce, part, bytes);
    return (xport_place){.at = r->bounce, .in = MEMORY_HOST};
}

const xport_ops xport_zmq = {
    .name = "zmq",
    .bit = KV_BY_ZMQ,
    .check = xport_check_nothing,
    .create = inline_create,
    .open = inline_open,
    .ready = xport_ready_at_once,
    .close = inline_close,
    .stage = inline_stage,
    .push = xport_move_at_once,
    .pushed = xport_moved_at_once,
    .part = inline_part,
    .pull = xport_move_at_once,
    .pulled = xport_moved_at_once,
    .payload = inline_payload,
};
