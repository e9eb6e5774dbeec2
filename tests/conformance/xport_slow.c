#include "tests/conformance/xport_slow.h"

#include "base/mem.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define WIRES          32u
#define WIRE_BYTES     ((size_t)4 << 20) /* the largest ring of the suite */
#define MOVES_PER_WIRE 64u               /* slots of the largest ring */

/* One pair's wire, shared by all processes that were forked after the first ring. */
typedef struct wire {
    _Atomic uint32_t refs;
    _Atomic uint64_t pushed, pulled; /* moves that are done */
    uint32_t order[MOVES_PER_WIRE];  /* slot of push number n, at n modulo their number */
    unsigned char bytes[WIRE_BYTES];
} wire;

typedef struct slow_address {
    uint64_t magic;
    uint32_t wire;
    uint32_t zero;
} slow_address;
static_assert(sizeof(slow_address) == 16, "slow_address crosses processes");

#define SLOW_MAGIC 0x776f6c7374756f62ull

/* A push or a pull under way. */
typedef struct move {
    uint32_t slot;
    size_t bytes;
    uint32_t asked; /* times, it or one before it */
} move;

struct xport_ring {
    bool receiver;
    uint32_t wire;
    uint32_t slots;
    size_t slot_bytes;
    uint32_t asked;             /* for being ready */
    unsigned char *bytes;       /* [slots, slot_bytes] P: stage; D: ring */
    move moves[MOVES_PER_WIRE]; /* oldest first */
    uint32_t move_count;
};

static _Atomic int fate_create, fate_open, fate_push, fate_pull;
static _Atomic uint32_t rings, pushes, pulls;
static wire *wires; /* [WIRES] */

/* Before main, hence before any fork. */
__attribute__((constructor)) static void wires_map(void) {
    void *m = mmap(NULL, WIRES * sizeof(wire), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(m != MAP_FAILED);
    wires = m;
}

void xport_slow_set(slow_fates f) {
    atomic_store(&fate_create, (int)f.create);
    atomic_store(&fate_open, (int)f.open);
    atomic_store(&fate_push, (int)f.push);
    atomic_store(&fate_pull, (int)f.pull);
}

uint32_t xport_slow_rings(void) {
    return atomic_load(&rings);
}

uint32_t xport_slow_pushes(void) {
    return atomic_load(&pushes);
}

uint32_t xport_slow_pulls(void) {
    return atomic_load(&pulls);
}

static xport_ring *ring_new_on(uint32_t w, const xport_setup *s, bool receiver) {
    CHECK(s->slots <= MOVES_PER_WIRE);
    CHECK(s->slots * s->slot_bytes <= WIRE_BYTES);
    CHECK(s->ops);
    CHECK(s->dev);
    xport_ring *r = xcalloc(1, sizeof *r);
    r->receiver = receiver;
    r->wire = w;
    r->slots = s->slots;
    r->slot_bytes = s->slot_bytes;
    r->bytes = aligned_alloc(64, s->slots * s->slot_bytes);
    CHECK(r->bytes);
    atomic_fetch_add(&rings, 1);
    return r;
}

static status slow_create(xport_ring **out, const xport_setup *s, xport_address *address, errbuf *eb) {
    for (uint32_t w = 0; w < WIRES; w++) {
        uint32_t none = 0;
        if (!atomic_compare_exchange_strong(&wires[w].refs, &none, 1)) continue;
        atomic_store(&wires[w].pushed, 0);
        atomic_store(&wires[w].pulled, 0);
        slow_address a = {.magic = SLOW_MAGIC, .wire = w};
        memcpy(address->bytes, &a, sizeof a);
        address->count = sizeof a;
        *out = ring_new_on(w, s, true);
        return ST_OK;
    }
    return errf(eb, ST_NOMEM, "slow ring: all %u wires are in use", WIRES);
}

static status slow_open(xport_ring **out, const xport_setup *s, const xport_address *address, errbuf *eb) {
    slow_address a;
    if (address->count != sizeof a) return errf(eb, ST_CORRUPT, "slow ring: an address of another size");
    memcpy(&a, address->bytes, sizeof a);
    if (a.magic != SLOW_MAGIC || a.wire >= WIRES) return errf(eb, ST_CORRUPT, "slow ring: no such wire");
    atomic_fetch_add(&wires[a.wire].refs, 1);
    *out = ring_new_on(a.wire, s, false);
    return ST_OK;
}

static void slow_close(xport_ring *r) {
    if (!r) return;
    atomic_fetch_sub(&wires[r->wire].refs, 1);
    atomic_fetch_sub(&rings, 1);
    free(r->bytes);
    free(r);
}

static status answer(int fate, uint32_t asked, const char *what, errbuf *eb) {
    if (asked < SLOW_TURNS || fate == SLOW_STUCK) return ST_AGAIN;
    return fate == SLOW_FAILS ? errf(eb, ST_DEVICE, "the slow transport's %s failed", what) : ST_OK;
}

static bool is_ready(const xport_ring *r) {
    return r->asked >= SLOW_TURNS;
}

static status slow_ready(xport_ring *r, errbuf *eb) {
    r->asked++;
    return answer(atomic_load(r->receiver ? &fate_create : &fate_open), r->asked, "ring", eb);
}

static unsigned char *slot_of(unsigned char *bytes, const xport_ring *r, uint32_t slot) {
    CHECK(slot < r->slots);
    return bytes + (size_t)slot * r->slot_bytes;
}

static status begin(xport_ring *r, uint32_t slot, size_t bytes) {
    CHECK(is_ready(r));
    CHECK(bytes <= r->slot_bytes);
    for (uint32_t i = 0; i < r->move_count; i++) CHECK(r->moves[i].slot != slot);
    CHECK(r->move_count < r->slots);
    r->moves[r->move_count++] = (move){.slot = slot, .bytes = bytes};
    return ST_AGAIN;
}

static void put_on_wire(xport_ring *r, const move *m) {
    wire *w = &wires[r->wire];
    uint64_t n = atomic_load(&w->pushed);
    CHECK(n - atomic_load(&w->pulled) < MOVES_PER_WIRE);
    w->order[n % MOVES_PER_WIRE] = m->slot;
    memcpy(slot_of(w->bytes, r, m->slot), slot_of(r->bytes, r, m->slot), m->bytes);
    atomic_store(&w->pushed, n + 1);
}

/* Pull number n takes what push number n put there. */
static void take_off_wire(xport_ring *r, const move *m) {
    wire *w = &wires[r->wire];
    uint64_t n = atomic_load(&w->pulled);
    CHECK(n < atomic_load(&w->pushed));
    CHECK(w->order[n % MOVES_PER_WIRE] == m->slot);
    memcpy(slot_of(r->bytes, r, m->slot), slot_of(w->bytes, r, m->slot), m->bytes);
    atomic_store(&w->pulled, n + 1);
}

/* The oldest is asked for; all behind it take their time meanwhile. */
static status ask(xport_ring *r, uint32_t slot, errbuf *eb) {
    CHECK(r->move_count > 0);
    CHECK(r->moves[0].slot == slot);
    for (uint32_t i = 0; i < r->move_count; i++) r->moves[i].asked++;
    move m = r->moves[0];
    int fate = atomic_load(r->receiver ? &fate_pull : &fate_push);
    status st = answer(fate, m.asked, r->receiver ? "pull" : "push", eb);
    if (st) return st;
    (r->receiver ? take_off_wire : put_on_wire)(r, &m);
    r->move_count--;
    memmove(r->moves, r->moves + 1, r->move_count * sizeof *r->moves);
    return ST_OK;
}

static xport_place slow_stage(xport_ring *r, uint32_t slot) {
    CHECK(is_ready(r));
    CHECK(!r->receiver);
    return (xport_place){.at = slot_of(r->bytes, r, slot), .in = MEMORY_HOST};
}

static status slow_push(xport_ring *r, uint32_t slot, size_t bytes, errbuf *eb) {
    (void)eb;
    CHECK(!r->receiver);
    atomic_fetch_add(&pushes, 1);
    return begin(r, slot, bytes);
}

static status slow_pushed(xport_ring *r, uint32_t slot, errbuf *eb) {
    CHECK(!r->receiver);
    return ask(r, slot, eb);
}

static status slow_pull(xport_ring *r, uint32_t slot, size_t bytes, errbuf *eb) {
    (void)eb;
    CHECK(r->receiver);
    atomic_fetch_add(&pulls, 1);
    return begin(r, slot, bytes);
}

static status slow_pulled(xport_ring *r, uint32_t slot, errbuf *eb) {
    CHECK(r->receiver);
    return ask(r, slot, eb);
}

static xport_place slow_payload(xport_ring *r, uint32_t slot, size_t bytes, const void *part,
                                size_t part_bytes) {
    CHECK(r->receiver);
    for (uint32_t i = 0; i < r->move_count; i++) CHECK(r->moves[i].slot != slot);
    if (bytes > r->slot_bytes || part || part_bytes) return (xport_place){0};
    return (xport_place){.at = slot_of(r->bytes, r, slot), .in = MEMORY_HOST};
}

const xport_ops xport_slow = {
    .name = "slow",
    .bit = KV_BY_TEST,
    .check = xport_check_nothing,
    .create = slow_create,
    .open = slow_open,
    .ready = slow_ready,
    .close = slow_close,
    .stage = slow_stage,
    .push = slow_push,
    .pushed = slow_pushed,
    .part = xport_no_part,
    .pull = slow_pull,
    .pulled = slow_pulled,
    .payload = slow_payload,
};
