/* strangers - who was refused at a socket, counted, and told in the log at most once a second, so that a
 * flood of them is one line a second with a number. Plain data; start it zeroed. Thread: the socket's. */
#ifndef BATON_NET_STRANGERS_H
#define BATON_NET_STRANGERS_H

#include <stdint.h>

typedef struct strangers {
    uint64_t count; /* so far */
    uint64_t next_ns;
} strangers;

/* at: the socket's endpoint; from: an address, or NULL when it is not known. */
void strangers_note(strangers *s, const char *at, const char *from, const char *why);

#endif
