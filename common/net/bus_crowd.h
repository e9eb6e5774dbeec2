/* bus_crowd - the TCP connections of a bus that listens, in bounds: how many, how long without a session, and
 * how much of messages that have no end yet. ZeroMQ bounds a frame, not the frames of a message, and nothing
 * else.
 *
 * The socket's monitor tells each connection's descriptor, which is ZeroMQ's. Here it is asked only for what
 * the kernel knows of it (whose it is, bytes received), and shut down; ZeroMQ sees that as the peer's end. A
 * cookie of the kernel's says whether it is still the same socket.
 *
 * Private to bus.c. */
#ifndef BATON_NET_BUS_CROWD_H
#define BATON_NET_BUS_CROWD_H

#include "net/bus_conn.h"
#include "net/bus_limits.h"
#include "net/strangers.h"

typedef struct bus_crowd {
    bus_limits limits;
    uint16_t port;      /* of the bus */
    strangers *refused; /* told of each that is ended */
    const char *at;     /* for them. Borrowed */
} bus_crowd;

/* A connection has come: it, or one that is idle, may have to go. */
void bus_crowd_enter(const bus_crowd *w, conn_table *t, life *l, uint64_t now_ns);
/* Now and then, when all that waits was delivered. */
void bus_crowd_check(const bus_crowd *w, conn_table *t, uint64_t now_ns);

#endif
