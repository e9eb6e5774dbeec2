#include "coordinator/http_crowd.h"

#include "base/clock.h"
#include "base/mem.h"
#include "net/peer_address.h"

const http_turn_away http_crowd_full = {
    503, "all connections are in use (limits.max_connections): try again later"};
const http_turn_away http_crowd_greedy = {
    429, "too many connections from this address (limits.max_connections_per_client)"};

void http_crowd_init(http_crowd *w, const http_limits *limits) {
    PRE(w);
    PRE(limits);
    *w = (http_crowd){.limits = limits};
    if (limits->conns_per_client_max) u64_map_init(&w->of_address, 64);
}

void http_crowd_done(http_crowd *w) {
    PRE(w);
    CHECK(w->count == 0);
    CHECK(w->turned_away == 0);
    CHECK(w->held == 0);
    u64_map_done(&w->of_address);
}

static void change_count(http_crowd *w, uint64_t address, int by) {
    if (!w->limits->conns_per_client_max) return;
    uintptr_t n = (uintptr_t)u64_map_take(&w->of_address, address) + (uintptr_t)by;
    if (n) u64_map_put(&w->of_address, address, (void *)n); // NOLINT(performance-no-int-to-ptr)
}

const http_turn_away *http_crowd_refuses(const http_crowd *w, const struct sockaddr *from) {
    PRE(w);
    PRE(from);
    uint32_t per_client = w->limits->conns_per_client_max;
    if (per_client && (uintptr_t)u64_map_get(&w->of_address, peer_address(from)) >= per_client)
        return &http_crowd_greedy;
    return w->count >= w->limits->conns_max ? &http_crowd_full : NULL;
}

void http_crowd_add(http_crowd *w, http_crowd_member *m, const struct sockaddr *from,
                    const http_turn_away *why) {
    PRE(w);
    PRE(m);
    PRE(from);
    *m = (http_crowd_member){.address = peer_address(from), .turned_away = why};
    if (why) {
        w->turned_away++;
    } else {
        w->count++;
        change_count(w, m->address, 1);
    }
}

void http_crowd_remove(http_crowd *w, http_crowd_member *m) {
    PRE(w);
    PRE(m);
    http_crowd_count(w, m, 0);
    if (m->turned_away) {
        w->turned_away--;
    } else {
        w->count--;
        change_count(w, m->address, -1);
    }
}

void http_crowd_count(http_crowd *w, http_crowd_member *m, size_t held) {
    PRE(w);
    PRE(m);
    w->held += held - m->held;
    m->held = held;
}

uint64_t http_crowd_body_deadline(const http_limits *l, uint64_t begin_ns, uint64_t now_ns, size_t received) {
    PRE(l);
    uint64_t silent_ns = now_ns + l->body_ns;
    if (!l->body_rate) return silent_ns;
    return MIN(silent_ns, begin_ns + l->body_ns + received * NS_PER_S / l->body_rate);
}
