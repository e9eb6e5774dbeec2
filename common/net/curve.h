/* curve - who may speak at a ZeroMQ socket: CURVE (encrypted, both ends prove a key), by libzmq.
 *
 *   DIR/cluster.key   the coordinator and its workers: all hold the same pair, and let in who holds it.
 *                     Control socket and data sockets.
 *   DIR/client.key    clients of the native socket: a pair of theirs, and the cluster's public key.
 *
 *   socket     listens with        lets in         who calls
 *   control    cluster's pair      cluster's key   workers
 *   data       cluster's pair      cluster's key   prefill workers
 *   native     cluster's pair      client's key    baton-ask, baton-ctl, baton-bench, programs
 *
 * So a client's key opens neither of the first two: it lacks the cluster's secret. CURVE by itself proves the
 * server to a client only; that the client holds a key that is let in is judged by zap.h. A file is one line
 * of Z85 text, which whoever may read it can use: it is refused when everybody can.
 *
 * Rejected: a key per worker with a list of all (who may read one of a cluster's hosts reads its config,
 * too); passwords (PLAIN travels in the clear). */
#ifndef BATON_NET_CURVE_H
#define BATON_NET_CURVE_H

#include "base/status.h"

#include <stdbool.h>

#define CURVE_TEXT 41 /* a key in Z85, with its NUL */
#define CURVE_DOOR "inproc://zeromq.zap.01"
/* More than what a message is longer by on the wire: a name, a nonce, flags and a code of authentication. */
#define CURVE_MESSAGE_BYTES 64

/* What one end needs. */
typedef struct curve_keys {
    char secret[CURVE_TEXT], own[CURVE_TEXT]; /* own: the public key of secret */
    char peer[CURVE_TEXT];                    /* the public key of who calls or is called */
} curve_keys;

/* Makes DIR (0700) when it is not there, and in it cluster.key and client.key (0600). ST_INVALID: one of them
 * is there already; nothing is written over. */
status curve_keygen(const char *dir, errbuf *eb);

/* A socket of a cluster, either end: key_file is a cluster.key. ST_INVALID names the file and the remedy. */
status curve_read_cluster(curve_keys *out, const char *key_file, errbuf *eb);
/* The native socket of a coordinator */
status curve_read_native(curve_keys *out, const char *key_file, const char *client_key_file, errbuf *eb);
/* A client of it */
status curve_read_client(curve_keys *out, const char *client_key_file, errbuf *eb);
void curve_wipe(curve_keys *k);

/* Before a socket is bound or connected. False: errno says why. A listener needs a zap in its context, or
 * libzmq lets everybody in. */
bool curve_listens(void *socket, const curve_keys *k);
bool curve_connects(void *socket, const curve_keys *k);

/* Compares in a time that does not depend on the bytes. */
bool curve_same(const void *a, const void *b, size_t count);

#endif
