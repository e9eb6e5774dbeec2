#include "base/ring.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct ring {
    _Alignas(64) _Atomic uint32_t head; /* next to pop; written by the consumer */
    _Alignas(64) _Atomic uint32_t tail; /* next to push; written by the producer */
    _Alignas(64) uint32_t mask;         /* slot_count - 1 */
    uint32_t item_bytes;
    int fd; /* eventfd, non-blocking */
    unsigned char *items;
};

status ring_new(ring **out, uint32_t slot_count, uint32_t item_bytes, errbuf *eb) {
    PRE(out);
    PRE(slot_count > 0);
    PRE(slot_count <= 1u << 20);
    PRE(item_bytes > 0);
    uint32_t slots = 1;
    while (slots < slot_count) slots *= 2;
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0) return errf(eb, ST_IO, "ring: eventfd: %s", strerror(errno));
    ring *r = aligned_alloc(64, (sizeof *r + 63) / 64 * 64);
    CHECK(r);
    memset(r, 0, sizeof *r);
    r->mask = slots - 1;
    r->item_bytes = item_bytes;
    r->fd = fd;
    r->items = xcalloc(slots, item_bytes);
    *out = r;
    return ST_OK;
}

void ring_free(ring *r) {
    if (!r) return;
    close(r->fd);
    free(r->items);
    free(r);
}

status ring_push(ring *r, const void *item) {
    PRE(r);
    PRE(item);
    uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    uint32_t head = atomic_load_explicit(&r->head, memory_order_acquire);
    if (tail - head > r->mask) return ST_AGAIN;
    memcpy(r->items + (size_t)(tail & r->mask) * r->item_bytes, item, r->item_bytes);
    atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
    uint64_t one = 1;
    ssize_t n =
        write(r->fd, &one, sizeof one); /* EAGAIN: the counter is full, so the consumer is awake anyway */
    (void)n;
    return ST_OK;
}

status ring_pop(ring *r, void *item) {
    PRE(r);
    PRE(item);
    uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);
    if (head == tail) return ST_AGAIN;
    memcpy(item, r->items + (size_t)(head & r->mask) * r->item_bytes, r->item_bytes);
    atomic_store_explicit(&r->head, head + 1, memory_order_release);
    return ST_OK;
}

uint32_t ring_count(const ring *r) {
    PRE(r);
    return atomic_load_explicit(&((ring *)r)->tail, memory_order_acquire) -
           atomic_load_explicit(&((ring *)r)->head, memory_order_acquire);
}

int ring_fd(const ring *r) {
    PRE(r);
    return r->fd;
}

void ring_ack(ring *r) {
    PRE(r);
    uint64_t count;
    ssize_t n = read(r->fd, &count, sizeof count);
    (void)n;
}

status ring_wait(ring *r, uint64_t timeout_ns) {
    PRE(r);
    if (ring_count(r)) return ST_OK;
    struct pollfd p = {.fd = r->fd, .events = POLLIN};
    int ms = (int)MIN((timeout_ns + NS_PER_MS - 1) / NS_PER_MS, 60000u);
    int n = poll(&p, 1, ms);
    if (n <= 0) return ST_TIMEOUT;
    ring_ack(r);
    return ST_OK;
}
