/* menu - which transports this process can use, and which of them a pair gets.
 *
 * P tells what it can and where it is (kv_hello), D picks. On one host that is `ipc` between GPUs that reach
 * each other, else `shm`; across hosts `nccl` between GPUs, else `zmq`. What a process was told to use
 * (handoff.transport) is all that it can, and is taken wherever the two are. A way that failed before it had
 * carried anything is not offered to that receiver again, but for `zmq`, which is the last one (receivers.h).
 *
 * "One host" is one kernel and one pid namespace: what shared memory needs. BATON_HOST_ID stands in its place
 * when it is set: processes with different texts count as on different hosts. */
#ifndef BATON_TRANSFER_MENU_H
#define BATON_TRANSFER_MENU_H

#include "transfer/xport.h"

typedef struct xport_menu {
    kv_hello own;
    const backend_ops *ops;
    device *dev;           /* borrowed */
    const xport_ops *test; /* test hook: the only one; NULL = none */
} xport_menu;

/* wanted: "auto", or the name of one. ST_INVALID for a name that is none; ST_UNSUPPORTED, with the reason and
 * the remedy, when this process cannot use the one that it was told to. */
status menu_make(xport_menu *out, const char *wanted, const backend_ops *ops, device *dev,
                 const xport_ops *test, errbuf *eb);
/* NULL when this process cannot use one of that name. */
const xport_ops *menu_find(const xport_menu *m, const char *name);
/* D: the best one for a sender like `peer`. NULL: no transport does, and the text says what to change; when
 * peer->can is what is left after failures, there are no more. */
const xport_ops *menu_pick(const xport_menu *m, const kv_hello *peer, errbuf *eb);
/* "shm, zmq"; "" for none */
void menu_names(uint32_t can, char out[64]);

#endif
