/* handshake - what a socket's monitor tells of handshakes that failed, in words: at a client why it is not
 * let in, at a listener whom it did not let in. */
#ifndef BATON_NET_HANDSHAKE_H
#define BATON_NET_HANDSHAKE_H

#include "net/zmq_monitor.h"

#include <stdbool.h>
#include <zmq.h>

#define HANDSHAKE_FAILED_EVENTS                                                                              \
    (ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |                            \
     ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
#define HANDSHAKE_EVENTS (HANDSHAKE_FAILED_EVENTS | ZMQ_EVENT_HANDSHAKE_SUCCEEDED)
/* A connection that has not said who it is within so much time is closed. It includes the wait for the answer
 * of a listener's loop (zap.h). */
#define HANDSHAKE_MS 10000

/* Of a client. Keys stay refused until somebody changes a config. Who is called may hang up so early that
 * nothing is known but that, whatever the reason. */
typedef enum refusal {
    NOT_REFUSED,
    REFUSED_KEY_WANTED,
    REFUSED_KEY_UNKNOWN,
    REFUSED_KEY,
    REFUSED_SILENTLY
} refusal;

/* e: one of HANDSHAKE_FAILED_EVENTS; keyed: this end has a key. */
refusal handshake_refusal(const zmq_monitor_event *e, bool keyed);
/* For people, of the other end ("it ...") */
const char *refusal_text(refusal why);
/* Of a listener. NULL: its zap has told */
const char *handshake_stranger(const zmq_monitor_event *e, bool keyed);

#endif
