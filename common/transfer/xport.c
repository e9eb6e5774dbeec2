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
