/* peer_address - whom a TCP connection belongs to, as far as its address tells. Pure. */
#ifndef BATON_NET_PEER_ADDRESS_H
#define BATON_NET_PEER_ADDRESS_H

#include <stdint.h>
#include <sys/socket.h>

/* IPv4 as a number; of IPv6 the /64, since who has one address has all of those. 0: neither */
uint64_t peer_address(const struct sockaddr *from);

#endif
