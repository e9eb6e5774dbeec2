/* Lists of requests in the order of a key, by slot numbers. */
#include "planner/fleet/state.h"

void chain_init(chain *c) {
    *c = (chain){.first = SLOT_NONE, .last = SLOT_NONE};
}

void chain_add(fleet *f, chain *c, chain_kind by, uint32_t slot) {
    freq *r = &f->slab[slot];
    uint32_t before = c->last;
    while (before != SLOT_NONE && f->slab[before].key[by] > r->key[by]) before = f->slab[before].prev[by];
    uint32_t after = before == SLOT_NONE ? c->first : f->slab[before].next[by];
    r->prev[by] = before;
    r->next[by] = after;
    *(before == SLOT_NONE ? &c->first : &f->slab[before].next[by]) = slot;
    *(after == SLOT_NONE ? &c->last : &f->slab[after].prev[by]) = slot;
    c->count++;
}

void chain_take(fleet *f, chain *c, chain_kind by, uint32_t slot) {
    const freq *r = &f->slab[slot];
    uint32_t before = r->prev[by], after = r->next[by];
    *(before == SLOT_NONE ? &c->first : &f->slab[before].next[by]) = after;
    *(after == SLOT_NONE ? &c->last : &f->slab[after].prev[by]) = before;
    c->count--;
}
