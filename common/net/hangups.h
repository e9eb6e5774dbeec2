/* hangups - tells when the other end of a socket leaves, without reading from it.
 *
 * For who has said all that he wants to say and may have sent more behind it, which is not to be read yet. An
 * epoll instance of its own: libevent's EV_CLOSED hears of an end that was announced (FIN), but a reset comes
 * to it as EV_READ and EV_WRITE, and when nobody waits for those it is asked about it again at once, for
 * ever.
 *
 * Thread: the loop's. */
#ifndef BATON_NET_HANGUPS_H
#define BATON_NET_HANGUPS_H

#include "net/loop.h"

typedef struct hangups hangups;

/* gone(who) is called in the loop, once for each hangups_add at most; it must hangups_remove the socket.
 * Caller frees with hangups_free, before the loop. */
status hangups_new(hangups **out, loop *l, void (*gone)(void *who), errbuf *eb);
/* Nothing is watched any more. */
void hangups_free(hangups *h);
/* From now on: the other end closes, shuts down its writing side, or resets. It may have done so before. */
void hangups_add(hangups *h, int fd, void *who);
/* Before fd is closed. */
void hangups_remove(hangups *h, int fd);

#endif
