/* bus_address - what a bus binds to, and what is told when it cannot. Private to bus.c. */
#ifndef BATON_NET_BUS_ADDRESS_H
#define BATON_NET_BUS_ADDRESS_H

#include "base/status.h"

/* ZeroMQ binds to numbers only. A name of this machine that leads to itself only (Debian gives its own name
 * 127.0.1.1) would keep everybody else away. */
status bus_address_resolve(const char *endpoint, char out[256], errbuf *eb);
/* ST_IO: what errno `code` of a bind or connect means for the endpoint, and the remedy */
status bus_address_error(const char *endpoint, int code, errbuf *eb);

#endif
