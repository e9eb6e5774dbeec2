/* bus_limits - what those may do who connect to a bus. Plain data. */
#ifndef BATON_NET_BUS_LIMITS_H
#define BATON_NET_BUS_LIMITS_H

#include <stddef.h>
#include <stdint.h>

/* What the kernel may hold of a connection that ZeroMQ has not read yet: it cannot be told from what ZeroMQ
 * holds. */
#define BUS_KERNEL_BYTES ((size_t)8 << 20)

typedef struct bus_limits {
    size_t message_max;                       /* bytes of a message; who announces more is hung up on */
    size_t unfinished_max;                    /* bytes of all messages that have no end yet */
    uint32_t conns_max, conns_per_client_max; /* TCP connections at once; of one address, 0: no bound */
    uint64_t idle_ns;                         /* a TCP connection without a session */
} bus_limits;

#endif
