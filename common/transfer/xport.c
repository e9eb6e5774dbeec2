#include "transfer/xport.h"

#include "base/mem.h"

status xport_check_nothing(const backend_ops *ops, device *dev, errbuf *eb) {
    (void)dev, (void)eb;
    PRE(ops);
    return ST_OK;
}

status xport_ready_at_once(xport_ring *r, errbuf *eb) {
    (void)eb;
    PRE(r);
    return ST_OK;
}

status xport_move_at_once(xport_ring *r, uint32_t slot, size_t bytes, errbuf *eb) {
    (void)slot, (void)bytes, (void)eb;
    PRE(r);
    return ST_OK;
}

status xport_moved_at_once(xport_ring *r, uint32_t slot, errbuf *eb) {
    (void)slot, (void)eb;
    PRE(r);
    return ST_OK;
}

bool xport_no_part(xport_ring *r, uint32_t slot, size_t bytes, xport_part *out) {
    (void)slot, (void)bytes, (void)out;
    PRE(r);
    return false;
}

void xport_check_setup(const xport_setup *s) {
    PRE(s->slots > 0);
    PRE(s->slots <= XPORT_SLOTS_MAX);
    PRE(s->slot_bytes > 0);
    PRE(s->slot_bytes <= XPORT_SLOT_BYTES_MAX);
    PRE(s->slot_bytes % 64 == 0);
}

bool xport_in_ring(const xport_setup *s, uint32_t slot, size_t bytes) {
    return slot < s->slots && bytes <= s->slot_bytes;
}

status xport_wants_gpu(const char *transport, const backend_ops *ops, errbuf *eb) {
    return errf(eb, ST_UNSUPPORTED,
                "transport %s copies between GPUs, and backend %s has none: take shm on one host, zmq "
                "between hosts",
                transport, ops->name);
}
