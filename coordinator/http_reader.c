#include "coordinator/http_reader.h"

#include "base/clock.h"
#include "base/mem.h"

/* What must have left at the end of a stretch that begins now. */
static uint64_t due_of(const http_reader *r, size_t unsent, const http_limits *l) {
    uint64_t share = l->slow_client_ns / NS_PER_MS * l->reader_rate / 1000;
    return r->taken + MIN(unsent, share);
}

bool http_reader_keeps_up(http_reader *r, size_t unsent, const http_limits *l, uint64_t now_ns) {
    PRE(r);
    PRE(l);
    bool begins = unsent && !r->waits;
    r->waits = unsent > 0;
    if (!unsent || begins || r->taken > r->moved) {
        r->moved = r->taken;
        r->moved_ns = now_ns;
    }
    if (!unsent) return true;
    if (!begins && now_ns >= r->begin_ns + l->slow_client_ns) {
        if (r->taken < r->due) return false;
        begins = true;
    }
    if (begins) {
        r->begin_ns = now_ns;
        r->due = due_of(r, unsent, l);
    }
    return now_ns < r->moved_ns + l->slow_client_ns;
}
