/* zmq_monitor - what happens to the connections of a ZeroMQ socket, by file descriptor: who came, who is
 * gone.
 *
 * A monitor is a PAIR socket of its own, readable when events wait; it can be polled like any other. ZeroMQ
 * tells of an accepted connection before its first message can be read, and of a lost one before it refuses
 * to send to it.
 *
 * Thread: the owner of the monitored socket. */
#ifndef BATON_NET_ZMQ_MONITOR_H
#define BATON_NET_ZMQ_MONITOR_H

#include "base/status.h"

typedef struct zmq_monitor_event {
    int kind; /* one of ZMQ_EVENT_... */
    int fd;   /* the connection's; reused by the kernel at once. Of a handshake that failed: the error */
} zmq_monitor_event;

/* events: a set of ZMQ_EVENT_... NULL: zmq_errno() says why. Closed with zmq_monitor_close. */
void *zmq_monitor_open(void *zmq, void *socket, int events);
/* Before `socket` is closed; monitor may be NULL */
void zmq_monitor_close(void *monitor, void *socket);
/* ST_AGAIN: nothing more has happened. */
status zmq_monitor_next(void *monitor, zmq_monitor_event *out);

#endif
