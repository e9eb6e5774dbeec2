/* zmq - the payload travels as a message part, for pairs on different hosts.
 *
 * ZeroMQ reads the bytes of a zero-copy message later, on its own thread. So the sender gathers into a
 * staging ring of the size that the receiver granted, and a slot is written again only after its CREDIT. When
 * a pair ends, messages may still wait inside ZeroMQ; the staging memory is therefore counted: one reference
 * for the ring, one per message.
 *
 * The receiver keeps no ring: what has arrived is bounded by the credits. It has one aligned slot, into which
 * a part is copied that ZeroMQ put at an odd address. */
#include "transfer/xport.h"

#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

typedef struct staging {
    _Atomic uint32_t refs;
    unsigned char *bytes; /* [slots, slot_bytes] */
} staging;

struct xport_ring {
    uint32_t slots;
    size_t slot_bytes;
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
    staging_put(r->stage);
    free(r->bounce);
    free(r);
}

static status inline_create(xport_ring **out, uint32_t slots, size_t slot_bytes, kv_frame *frame,
                            errbuf *eb) {
    PRE(out);
    PRE(frame);
    PRE(slots > 0);
    PRE(slots <= XPORT_SLOTS_MAX);
    PRE(slot_bytes > 0);
    PRE(slot_bytes <= XPORT_SLOT_BYTES_MAX);
    PRE(slot_bytes % 64 == 0);
    xport_ring *r = xcalloc(1, sizeof *r);
    r->slots = slots;
    r->slot_bytes = slot_bytes;
    r->bounce = aligned_alloc(64, slot_bytes);
    if (!r->bounce) {
        inline_close(r);
        return errf(eb, ST_NOMEM, "zmq ring: no memory for a slot of %zu bytes; lower handoff.slot_kb",
                    slot_bytes);
    }
    frame->kind = KV_RING;
    frame->slot = slots;
    frame->bytes = slot_bytes;
    *out = r;
    return ST_OK;
}

static status inline_open(xport_ring **out, const kv_frame *frame, errbuf *eb) {
    PRE(out);
    PRE(frame);
    PRE(frame->slot > 0);
    PRE(frame->slot <= XPORT_SLOTS_MAX);
    PRE(frame->bytes <= XPORT_SLOT_BYTES_MAX);
    size_t total = (size_t)frame->slot * frame->bytes;
    xport_ring *r = xcalloc(1, sizeof *r);
    r->slots = frame->slot;
    r->slot_bytes = frame->bytes;
    r->stage = xcalloc(1, sizeof *r->stage);
    atomic_store_explicit(&r->stage->refs, 1, memory_order_relaxed);
    r->stage->bytes = aligned_alloc(64, total);
    if (!r->stage->bytes) {
        inline_close(r);
        return errf(eb, ST_NOMEM,
                    "zmq ring: no memory for %zu bytes of staging; lower handoff.ring_slots or slot_kb",
                    total);
    }
    *out = r;
    return ST_OK;
}

static void *inline_stage(xport_ring *r, uint32_t slot) {
    PRE(r);
    PRE(r->stage);
    PRE(slot < r->slots);
    return r->stage->bytes + (size_t)slot * r->slot_bytes;
}

static void inline_part(xport_ring *r, uint32_t slot, size_t bytes, void *zmq_msg) {
    PRE(bytes <= r->slot_bytes);
    PRE(zmq_msg);
    atomic_fetch_add_explicit(&r->stage->refs, 1, memory_order_relaxed);
    CHECK(zmq_msg_init_data(zmq_msg, inline_stage(r, slot), bytes, part_gone, r->stage) == 0);
}

static const void *inline_payload(xport_ring *r, uint32_t slot, size_t bytes, const void *part,
                                  size_t part_bytes) {
    if (slot >= r->slots || bytes > r->slot_bytes || !part || part_bytes != bytes) return NULL;
    if ((uintptr_t)part % 8 == 0) return part;
    memcpy(r->bounce, part, bytes);
    return r->bounce;
}

const xport_ops xport_zmq = {
    .name = "zmq",
    .create = inline_create,
    .open = inline_open,
    .close = inline_close,
    .stage = inline_stage,
    .part = inline_part,
    .payload = inline_payload,
};
