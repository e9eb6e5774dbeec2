/* ring - a bounded queue of fixed-size items between exactly two threads, one that pushes and one that pops.
 *
 * Single producer, single consumer, no locks: head and tail are atomics on their own cache lines. An eventfd
 * wakes the consumer: ring_fd() becomes readable when items may be waiting; the consumer calls ring_ack()
 * once, then pops until ST_AGAIN. A full ring is back-pressure (ST_AGAIN), never a drop. */
#ifndef BATON_BASE_RING_H
#define BATON_BASE_RING_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct ring ring;

/* slot_count is rounded up to a power of two. ST_IO when no eventfd can be had. Caller frees with ring_free.
 */
status ring_new(ring **out, uint32_t slot_count, uint32_t item_bytes, errbuf *eb);
void ring_free(ring *r);

/* Producer: copies; ST_AGAIN when full; wakes the consumer */
status ring_push(ring *r, const void *item);
/* Consumer: copies; ST_AGAIN when empty */
status ring_pop(ring *r, void *item);
/* Either side; a snapshot */
uint32_t ring_count(const ring *r);
/* For poll/libevent; owned by the ring */
int ring_fd(const ring *r);
/* Consumer: clears the eventfd before popping */
void ring_ack(ring *r);
/* Consumer: blocks until an item may be there or timeout_ns passed (ST_TIMEOUT). */
status ring_wait(ring *r, uint64_t timeout_ns);

#endif
