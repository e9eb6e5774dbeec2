/* pairs - what prefill workers told about their pairs to decode workers: by which transport, how fast when it
 * was tried, or why it is not there. For people: nothing is decided by it.
 *
 * Thread: the coordinator's loop. */
#ifndef BATON_COORDINATOR_PAIRS_H
#define BATON_COORDINATOR_PAIRS_H

#include "ctl/ctl.h"

#include <stdbool.h>

#define PAIRS_MAX 4096u /* of more the first are known */

typedef struct pair_fact {
    uint64_t p_inc, d_inc;
    char transport[8]; /* "" when it ended before there was one */
    bool open;
    uint64_t latency_ns, bytes_per_s; /* 0: not measured */
    char why[96];                     /* it is not open */
} pair_fact;

typedef struct pairs {
    pair_fact *items; /* [count] of capacity; owned */
    uint32_t count, capacity;
} pairs;

void pairs_done(pairs *p);
/* A later word about a pair replaces the earlier one; figures stay when it brings none and the transport is
 * the same. */
void pairs_put(pairs *p, uint64_t p_inc, const ctl_pair *told);
/* Those of a worker that is gone */
void pairs_forget(pairs *p, uint64_t inc);

#endif
