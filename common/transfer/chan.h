/* chan - the ZeroMQ sockets under the pair channels: one ROUTER at a receiver, one DEALER per pair at a
 * sender.
 *
 * A peer whose host vanishes, or whose link is cut, is noticed by TCP: what was sent and not acknowledged for
 * dead_ms, or probes of an idle connection that nobody answered for about as long, end the connection, as a
 * reset does. A stopped process is not, for its kernel answers, unless it left the window shut for dead_ms:
 * then a credit is overdue, too.
 *
 * Nothing here blocks. A sender never reconnects: a broken connection is the end of its pair, and the socket
 * monitor says so at once. A receiver tells connections apart by file descriptor, which the kernel reuses:
 * `live` is the set of open ones, kept from the monitor, so that a message of a connection that died
 * meanwhile is known as such. Thread: the transfer thread. */
#ifndef BATON_TRANSFER_CHAN_H
#define BATON_TRANSFER_CHAN_H

#include "base/status.h"
#include "net/zap.h"
#include "proto/kv_wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <zmq.h>

#define CHAN_LIVE_MAX     1024u /* connections of a receiver */
#define CHAN_ENDPOINT_MAX 256u
#define CHAN_ROUTE_MAX    255u
#define CHAN_ITEMS        3
#define CHAN_TEXT_MAX     96u /* reason in REFUSED and ABORT, with its NUL */

typedef struct chan {
    void *socket;
    void *monitor;
    int *live; /* [CHAN_LIVE_MAX] receiver: open connections */
    uint32_t live_count;
    bool keyed;
    zap door;                   /* receiver, keyed: its turn is chan_lost's */
    strangers refused;          /* receiver */
    char at[CHAN_ENDPOINT_MAX]; /* receiver: bound */
} chan;

typedef struct chan_route {
    unsigned char bytes[CHAN_ROUTE_MAX];
    size_t count; /* 0 at a sender */
} chan_route;

typedef struct chan_msg {
    chan_route route; /* receiver: who sent it */
    int fd;           /* receiver: of the connection */
    kv_frame frame;
    zmq_msg_t part; /* the part after the frame; empty when there was none */
    bool has_part;
} chan_msg;

/* Binds to tcp://host:*; c->at is the real endpoint. Larger messages than message_bytes_max cut the
 * connection. */
status chan_listen(chan *c, void *zmq, const char *host, const curve_keys *keys, size_t message_bytes_max,
                   uint32_t dead_ms, errbuf *eb);
/* keys, here and above: copied; NULL: none is asked for */
status chan_connect(chan *c, void *zmq, const char *endpoint, const curve_keys *keys, uint32_t dead_ms,
                    errbuf *eb);
/* Accepts a zeroed or half-open one */
void chan_close(chan *c);

/* ST_AGAIN: nothing waits. ST_CORRUPT: something came that is no frame; it was dropped. Else: the caller ends
 * it with chan_msg_done. */
status chan_recv(chan *c, chan_msg *out);
void chan_msg_done(chan_msg *m);
/* *to becomes what *from was; *from still is to be ended, with an empty part. */
void chan_msg_move(chan_msg *to, chan_msg *from);
/* The text part, cut to fit; when there is none it says so. */
void chan_msg_text(chan_msg *m, char out[CHAN_TEXT_MAX]);
/* Takes ownership of part (may be NULL) in any case. ST_PEER: the peer is gone or does not read. */
status chan_send(chan *c, const chan_route *route, const kv_frame *frame, zmq_msg_t *part);

/* What to wait for; returns how many, at most CHAN_ITEMS. */
int chan_items(const chan *c, zmq_pollitem_t *items);
/* Lets in who knocks, and tells the next connection that was lost since the last call (its fd); ST_AGAIN:
 * none. */
status chan_lost(chan *c, int *fd);
bool chan_is_live(const chan *c, int fd);

#endif
