#include "net/peer_address.h"

#include "base/status.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

uint64_t peer_address(const struct sockaddr *from) {
    PRE(from);
    uint64_t n = 0;
    if (from->sa_family == AF_INET) {
        n = ntohl(((const struct sockaddr_in *)(const void *)from)->sin_addr.s_addr);
    } else if (from->sa_family == AF_INET6) {
        const struct in6_addr *a = &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr;
        bool v4 = IN6_IS_ADDR_V4MAPPED(a);
        for (size_t i = v4 ? 12 : 0; i < (v4 ? 16 : 8); i++) n = n << 8 | a->s6_addr[i];
    }
    return n;
}
