/* bus - ZeroMQ sockets inside a loop: framed, numbered, with connections that are noticed when they die.
 *
 * A server (ROUTER) has connections by identity; a client (DEALER) has one. Messages are numbered per
 * connection and direction (protocol rule 13): a gap, or a reconnect, ends the session: `lost` is called once
 * and everything later from that connection is ignored until it opens anew (its first message has number 1).
 * A socket monitor reports a dead TCP connection at once. ROUTER_MANDATORY = 1, DONTWAIT
 * everywhere; a send that would block is queued up to a bound of messages and of memory (bus_conn.h), beyond
 * which the session ends: a peer that does not read is gone. ZeroMQ descriptors are edge-triggered: every
 * read event drains until nothing is left, and after the sends of a turn ZMQ_EVENTS is asked once before the
 * loop waits; that lives here only.
 *
 * Thread: the loop's. The transfer thread has sockets of its own (transfer/chan.h). */
#ifndef BATON_NET_BUS_H
#define BATON_NET_BUS_H

#include "base/status.h"
#include "net/bus_limits.h"
#include "net/curve.h"
#include "net/handshake.h"
#include "net/loop.h"

#include <stddef.h>

typedef struct bus bus;

typedef struct bus_handler {
    void *ctx;
    /* conn: the bus's number of the connection, never reused. bytes: borrowed for the call. */
    void (*message)(void *ctx, uint64_t conn, const void *bytes, size_t count);
    void (*lost)(void *ctx, uint64_t conn, const char *why);
} bus_handler;

/* endpoint "tcp://127.0.0.1:8001" or with port * / 0 for any. ST_IO names the endpoint and the remedy ("port
 * 8001 is in use: ..."). keys: copied; NULL: whoever reaches the endpoint may speak, in the clear. limits:
 * copied; NULL: for tests, where nobody is a stranger. */
status bus_listen(bus **out, loop *l, const char *endpoint, const curve_keys *keys, const bus_limits *limits,
                  const bus_handler *h, errbuf *eb);
/* Connects (ZeroMQ retries in the background). conn is 1 in each session; after `lost` one may bus_reconnect.
 */
status bus_connect(bus **out, loop *l, const char *endpoint, const curve_keys *keys, const bus_handler *h,
                   errbuf *eb);
/* A fresh socket and session; numbers start again */
status bus_reconnect(bus *b, errbuf *eb);
/* What was sent from a server, and ZeroMQ has taken, leaves first, if that takes no longer than 2 s. */
void bus_free(bus *b);

/* Copies. ST_PEER when the connection is not known (any more), or its queue is full: `lost` follows, never
 * from inside this call. */
status bus_send(bus *b, uint64_t conn, const void *bytes, size_t count);
/* Since when (clock_now_ns) messages wait for this connection and none of them could leave; 0 = none waits. A
 * peer that reads slowly moves this forward; one that does not read leaves it. */
uint64_t bus_stuck_since(const bus *b, uint64_t conn);
/* Forget a connection without calling lost; its peer is told, and calls lost */
void bus_drop(bus *b, uint64_t conn);
/* The bound endpoint with its real port. Borrowed */
const char *bus_endpoint(const bus *b);
/* Of a client's last handshake, until one succeeds; `lost` tells the same as words. */
refusal bus_refused(const bus *b);
/* Reads everything that is waiting now and delivers it. Called by the loop; also callable before judging
 * silence (rule 14). */
void bus_drain(bus *b);

#endif
