#include "net/bus_crowd.h"

#include "base/mem.h"
#include "net/peer_address.h"

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>

typedef union any_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} any_address;

/* 0: it is no socket of ours (any more). */
static uint64_t cookie_of(const bus_crowd *w, int fd) {
    any_address at = {.v6 = {0}};
    socklen_t size = sizeof at;
    if (getsockname(fd, &at.any, &size) != 0) return 0;
    if (ntohs(at.any.sa_family == AF_INET6 ? at.v6.sin6_port : at.v4.sin_port) != w->port) return 0;
    uint64_t cookie = 0;
    size = sizeof cookie;
    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

static bool is_there(const bus_crowd *w, const life *l) {
    return !l->dead && !l->ended && l->cookie && cookie_of(w, l->fd) == l->cookie;
}

static const conn *session_of(const conn_table *t, const life *l) {
    const conn *c = l->number ? conn_by_number(t, l->number) : NULL;
    return c && !c->dying ? c : NULL;
}

static uint64_t bytes_received(int fd) {
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
    return size >= offsetof(struct tcp_info, tcpi_bytes_received) + sizeof info.tcpi_bytes_received
               ? info.tcpi_bytes_received
               : 0;
}

static void end(const bus_crowd *w, life *l, const char *why) {
    any_address from = {.v6 = {0}};
    socklen_t size = sizeof from;
    char name[INET6_ADDRSTRLEN] = "?";
    if (getpeername(l->fd, &from.any, &size) == 0)
        (void)inet_ntop(from.any.sa_family,
                        from.any.sa_family == AF_INET6 ? (const void *)&from.v6.sin6_addr
                                                       : (const void *)&from.v4.sin_addr,
                        name, sizeof name);
    l->ended = true;
    (void)shutdown(l->fd, SHUT_RDWR);
    strangers_note(w->refused, w->at, name, why);
}

/* Of those without a session the one that has had none for longest, beside l; NULL: there is none. */
static life *quietest(const bus_crowd *w, const conn_table *t, const life *beside) {
    life *found = NULL;
    for (life *l = t->lives; l; l = l->older) {
        if (l == beside || session_of(t, l) || (found && l->quiet_ns > found->quiet_ns) || !is_there(w, l))
            continue;
        found = l;
    }
    return found;
}

void bus_crowd_enter(const bus_crowd *w, conn_table *t, life *l, uint64_t now_ns) {
    PRE(w);
    PRE(t);
    PRE(l);
    any_address from = {.v6 = {0}};
    socklen_t size = sizeof from;
    l->quiet_ns = now_ns;
    l->cookie = cookie_of(w, l->fd);
    if (!l->cookie || getpeername(l->fd, &from.any, &size) != 0) return; /* it has left already */
    l->address = peer_address(&from.any);
    uint32_t all = 0, same = 0;
    for (const life *o = t->lives; o; o = o->older) {
        if (o->dead || o->ended) continue;
        all++;
        same += o->address == l->address;
    }
    if (w->limits.conns_per_client_max && same > w->limits.conns_per_client_max) {
        end(w, l, "too many connections from this address (limits.max_connections_per_client)");
    } else if (all > w->limits.conns_max) {
        life *idle = quietest(w, t, l);
        end(w, idle ? idle : l, "all connections are in use (limits.max_connections)");
    }
}

/* Looks at one; returns the bytes of a message that has no end yet. */
static uint64_t look(const bus_crowd *w, const conn_table *t, life *l, uint64_t now_ns) {
    const conn *c = session_of(t, l);
    uint64_t bytes = bytes_received(l->fd);
    if (c) l->quiet_ns = now_ns;
    if (c && c->received != l->messages) {
        l->messages = c->received;
        l->bytes = bytes;
    }
    uint64_t unfinished = bytes - MIN(bytes, l->bytes);
    if (unfinished > w->limits.message_max + BUS_KERNEL_BYTES)
        end(w, l, "it sends more than a message may have, and no end of it");
    else if (!c && now_ns >= l->quiet_ns + w->limits.idle_ns)
        end(w, l, "it has had no session for limits.idle_ms");
    return l->ended ? 0 : unfinished;
}

void bus_crowd_check(const bus_crowd *w, conn_table *t, uint64_t now_ns) {
    PRE(w);
    PRE(t);
    uint64_t all = 0, most = 0;
    life *worst = NULL;
    for (life *l = t->lives; l; l = l->older) {
        if (!is_there(w, l)) continue;
        uint64_t unfinished = look(w, t, l, now_ns);
        all += unfinished;
        if (unfinished <= most) continue;
        most = unfinished;
        worst = l;
    }
    if (worst && all > w->limits.unfinished_max)
        end(w, worst, "all that is being sent has no room, and it has most of it");
}
