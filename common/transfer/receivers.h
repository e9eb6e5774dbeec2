/* receivers - P: the receivers of this session that it has heard of, whether it still has to call one, and
 * which transports failed towards it.
 *
 * A way that fails before anything came back by it is shunned: the next call does not offer it. Not shunned
 * are what ends with its connection, which is no fault of the way, and `zmq`, which is always the last one. A
 * receiver that has nothing to choose from any more is offered all again. Bounded: one that finds no room is
 * called without such memory. Thread: the transfer thread. */
#ifndef BATON_TRANSFER_RECEIVERS_H
#define BATON_TRANSFER_RECEIVERS_H

#include "transfer/chan.h"

#include <stdbool.h>
#include <stdint.h>

#define RECEIVERS_MAX 256u

typedef struct receiver {
    uint64_t inc;
    char endpoint[CHAN_ENDPOINT_MAX];
    uint32_t shunned; /* set of KV_BY_ */
    bool call;        /* open a pair to it as soon as there is none */
} receiver;

typedef struct receivers {
    receiver at[RECEIVERS_MAX];
    uint32_t count;
} receivers;

/* Heard of, there: finds or adds it. `endpoint` may be its own. NULL: no room. Borrowed until the next
 * receivers_add or _forget. */
receiver *receivers_add(receivers *r, uint64_t inc, const char *endpoint);
/* NULL: never heard of. Borrowed likewise. */
receiver *receivers_find(receivers *r, uint64_t inc);
void receivers_forget(receivers *r, uint64_t inc);

#endif
