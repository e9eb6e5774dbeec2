#include "coordinator/pairs.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void pairs_done(pairs *p) {
    PRE(p);
    free(p->items);
    *p = (pairs){0};
}

static pair_fact *find(const pairs *p, uint64_t p_inc, uint64_t d_inc) {
    for (uint32_t i = 0; i < p->count; i++)
        if (p->items[i].p_inc == p_inc && p->items[i].d_inc == d_inc) return &p->items[i];
    return NULL;
}

static pair_fact *add(pairs *p, uint64_t p_inc, uint64_t d_inc) {
    if (p->count == PAIRS_MAX) return NULL;
    if (p->count == p->capacity) {
        p->capacity = MIN(MAX(2 * p->capacity, 16), PAIRS_MAX);
        p->items = xrealloc(p->items, p->capacity, sizeof *p->items);
    }
    pair_fact *f = &p->items[p->count++];
    *f = (pair_fact){.p_inc = p_inc, .d_inc = d_inc};
    return f;
}

void pairs_put(pairs *p, uint64_t p_inc, const ctl_pair *told) {
    PRE(p);
    PRE(told);
    pair_fact *f = find(p, p_inc, told->d_inc);
    if (!f) f = add(p, p_inc, told->d_inc);
    if (!f) return;
    f->open = told->open;
    snprintf(f->why, sizeof f->why, "%s", told->open || !told->why ? "" : told->why);
    if (!told->open) return;
    const char *transport = told->transport ? told->transport : "";
    if (strcmp(f->transport, transport) != 0) f->latency_ns = f->bytes_per_s = 0; /* of another way */
    snprintf(f->transport, sizeof f->transport, "%s", transport);
    if (told->latency_ns) f->latency_ns = told->latency_ns;
    if (told->bytes_per_s) f->bytes_per_s = told->bytes_per_s;
}

void pairs_forget(pairs *p, uint64_t inc) {
    PRE(p);
    for (uint32_t i = p->count; i-- > 0;)
        if (p->items[i].p_inc == inc || p->items[i].d_inc == inc) p->items[i] = p->items[--p->count];
}
