/* Hand-offs over the links. A prefill worker has one sender and a decode worker one receiver; both serve
 * first come first served at the link's rate, and all hand-offs together pass the fabric at its own. Each
 * serves what is ready without regard to the others, and a hand-off is through when all three have passed it:
 * a sender whose receiver is busy sends to another one meanwhile (common/transfer/send.c has what is due by
 * pair). Would it wait, the ends of many workers would wait for each other, and the more of them the longer.
 *
 * The KV of a chunk is ready layer by layer, evenly over its step. With pieces of one size x that become
 * ready at equal distances and links that never wait but for them, the last piece is through at the later of
 *
 *   step's end + x / rate                  the link waits for the engine
 *   max(link free, first piece ready) + all pieces / rate      the engine is ahead of the link
 *
 * since what lies between is linear. So a chunk needs no event per layer; of several chunks in a step the
 * last pieces add up. What is booked is booked in the order in which steps end. */
#include "planner/fleet/state.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

static const profile_link *link_of(const fleet *f) {
    return &f->opt.profile->link;
}

status link_check(const profile *p, errbuf *eb) {
    const profile_link *l = &p->link;
    if (!l->known)
        return errf(
            eb, ST_INVALID,
            "the profile has no link, which prefill and decode apart need: measure it, or give --link");
    if (!(l->bytes_per_s > 0))
        return errf(eb, ST_INVALID, "the link moves %g bytes/s, so no hand-off ever ends", l->bytes_per_s);
    if (!(l->kv_token_bytes > 0) || !(l->latency_ns >= 0) || l->fabric_bytes_per_s < 0)
        return errf(eb, ST_INVALID, "the profile's link: bytes per token, latency or fabric make no sense");
    return ST_OK;
}

status link_check_longest(const profile *p, uint64_t tokens, errbuf *eb) {
    const profile_link *l = &p->link;
    double rate = l->bytes_per_s;
    if (l->fabric_bytes_per_s > 0) rate = MIN(rate, l->fabric_bytes_per_s);
    double ns = (double)tokens * l->kv_token_bytes / rate * 1e9;
    if (ns <= PROFILE_LONGEST_NS) return ST_OK;
    return errf(
        eb, ST_INVALID,
        "a hand-off of %llu tokens takes %.3g hours at %g bytes/s, want one at most: a faster link, or "
        "a smaller max_context",
        (unsigned long long)tokens, ns / PROFILE_LONGEST_NS, rate);
}

/* Complete: it will be verified. */
static void settle(fleet *f, uint32_t slot) {
    freq *r = &f->slab[slot];
    if (!r->computed || !r->expected || r->unsent) return;
    uint64_t at = MAX((uint64_t)ceil(MIN(r->kv_ns, FLEET_HORIZON_NS)), f->now_ns);
    r->awaited = fleet_post(
        f, &(fevent){.at_ns = at + f->latency_ns, .kind = FEV_VERIFIED, .worker = r->d, .slot = slot});
}

static void book(fleet *f, freq *r, double ready_ns) {
    const profile_link *l = link_of(f);
    fworker *p = &f->workers[r->p], *d = &f->workers[r->d];
    double bytes = r->unsent * l->kv_token_bytes;
    double span = bytes / l->bytes_per_s * 1e9;
    p->link_free_ns = MAX(p->link_free_ns, ready_ns) + span;
    d->link_free_ns = MAX(d->link_free_ns, ready_ns) + span;
    double done = MAX(p->link_free_ns, d->link_free_ns);
    if (l->fabric_bytes_per_s > 0) {
        f->fabric_free_ns = MAX(f->fabric_free_ns, ready_ns) + bytes / l->fabric_bytes_per_s * 1e9;
        done = MAX(done, f->fabric_free_ns);
    }
    r->kv_ns = MAX(r->kv_ns, done);
    r->unsent = 0;
}

void link_computed(fleet *f, uint32_t slot, uint32_t rows, uint64_t begin_ns, double *together_ns) {
    const profile_link *l = link_of(f);
    freq *r = &f->slab[slot];
    r->unsent += rows;
    if (!r->expected || (l->layers == 0 && !r->computed)) return;
    double span = (double)(f->now_ns - begin_ns), pieces = MAX(l->layers, 1u);
    *together_ns += rows * l->kv_token_bytes / l->bytes_per_s * 1e9 / pieces;
    book(f, r, l->layers ? (double)begin_ns + span / pieces : (double)f->now_ns);
    if (l->layers) r->kv_ns = MAX(r->kv_ns, (double)f->now_ns + *together_ns);
    settle(f, slot);
}

void link_dest(fleet *f, uint32_t slot) {
    freq *r = &f->slab[slot];
    fworker *p = &f->workers[r->p];
    r->kv_ns = 0;
    r->unsent = r->rows_done;
    if (!r->unsent || r->dest_due || (link_of(f)->layers == 0 && !r->computed)) return;
    if (!p->dest_count) fleet_post(f, &(fevent){.at_ns = f->now_ns, .kind = FEV_DESTS, .worker = r->p});
    r->dest_due = true;
    FLEET_GROW(p->dests, p->dest_count, p->dest_capacity, 8);
    p->dests[p->dest_count++] = slot;
}

static int offered_before(const void *a, const void *b, void *fl) {
    const fleet *f = fl;
    uint64_t x = f->slab[*(const uint32_t *)a].offer, y = f->slab[*(const uint32_t *)b].offer;
    return (x > y) - (x < y);
}

void link_send(fleet *f, fworker *p) {
    if (p->dest_count > 1) qsort_r(p->dests, p->dest_count, sizeof *p->dests, offered_before, f);
    for (uint32_t i = 0; i < p->dest_count; i++) {
        freq *r = &f->slab[p->dests[i]];
        bool due = r->dest_due && r->expected && r->unsent;
        r->dest_due = false;
        if (!due) continue; /* given up meanwhile */
        book(f, r, (double)f->now_ns);
        settle(f, p->dests[i]);
    }
    p->dest_count = 0;
}
