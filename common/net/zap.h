/* zap - the doorkeeper of the CURVE listeners of one ZeroMQ context: libzmq asks it about each client that
 * has proved its key (RFC 27), and it lets in the one key of curve_keys.peer.
 *
 * Opened before the context's first listener is bound, and closed after the last one: libzmq lets everybody
 * in where nobody answers. Thread: whoever waits for `socket`; a client waits as long. */
#ifndef BATON_NET_ZAP_H
#define BATON_NET_ZAP_H

#include "net/curve.h"
#include "net/strangers.h"

typedef struct zap {
    void *socket; /* REP; readable when somebody asks to be let in. NULL: closed */
    unsigned char allowed[32];
} zap;

/* ST_IO */
status zap_open(zap *z, void *zmq, const curve_keys *k, errbuf *eb);
/* Accepts a zeroed one */
void zap_close(zap *z);
/* Answers who waits; whom it refuses is noted. at: of the listener, for the log. */
void zap_turn(zap *z, strangers *refused, const char *at);

#endif
