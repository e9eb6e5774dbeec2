/* hostport - "HOST:PORT" and "tcp://HOST:PORT" in parts. Pure.
 *
 * The last colon parts them, so an IPv6 address may stand in brackets ("[::1]:8000") or, since there is
 * always a port, without. Whether the host exists is for those who connect to say. */
#ifndef BATON_BASE_HOSTPORT_H
#define BATON_BASE_HOSTPORT_H

#include <stdbool.h>

typedef struct hostport {
    char host[256]; /* "127.0.0.1", "node-a", "*"; of "[::1]" what is in the brackets */
    char port[6];   /* "0".."65535", or "*" */
    bool bracketed; /* the host stood in brackets */
} hostport;

/* tcp: "tcp://" stands before it, and the port may be "*" (any that is free). False: it is none; out is
 * unchanged. */
bool hostport_parse(hostport *out, const char *text, bool tcp);
/* Whether only programs of this machine can reach it; by its text, since what another name leads to may
 * change. */
bool hostport_is_loopback(const hostport *at);

#endif
