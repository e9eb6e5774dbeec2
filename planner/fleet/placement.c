#include "planner/fleet/placement.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

uint32_t fleet_placement_devices(const fleet_placement *p) {
    PRE(p);
    uint32_t n = 0;
    for (uint32_t i = 0; i < ROLE_COUNT; i++) n += p->roles[i].count * p->roles[i].devices;
    return n;
}

uint32_t fleet_placement_workers(const fleet_placement *p) {
    PRE(p);
    uint32_t n = 0;
    for (uint32_t i = 0; i < ROLE_COUNT; i++) n += p->roles[i].count;
    return n;
}

static void add_shape(buf *b, const fleet_role *r) {
    if (r->tp > 1) buf_addf(b, " tp%u", r->tp);
    if (r->pp > 1) buf_addf(b, " pp%u", r->pp);
}

/* "2P tp2 1D": a shape stands behind its own count. */
const char *fleet_placement_text(const fleet_placement *p, char *out, size_t size) {
    PRE(p);
    PRE(out);
    PRE(size > 0);
    const fleet_role *pr = &p->roles[ROLE_PREFILL], *d = &p->roles[ROLE_DECODE],
                     *w = &p->roles[ROLE_COLOCATED];
    buf b = {0};
    if (pr->count) {
        buf_addf(&b, "%uP", pr->count);
        add_shape(&b, pr);
    }
    if (d->count) {
        buf_addf(&b, "%s%uD", b.len ? " " : "", d->count);
        add_shape(&b, d);
    }
    if (w->count) {
        buf_addf(&b, "%scolocated %u x tp%u", b.len ? " + " : "", w->count, w->tp);
        if (w->pp > 1) buf_addf(&b, " pp%u", w->pp);
        if (p->prefill_first)
            buf_adds(&b, ", prefill first");
        else
            buf_addf(&b, ", chunks of %u", MIN(w->chunk_tokens, w->max_rows));
    }
    snprintf(out, size, "%s", b.len ? b.data : "nothing");
    buf_done(&b);
    return out;
}

static int compare_u32(uint32_t a, uint32_t b) {
    return (a > b) - (a < b);
}

static int compare_role(const fleet_role *a, const fleet_role *b) {
    const uint32_t x[] = {a->count,    a->tp,       a->pp,       a->devices,
                          a->kv_pages, a->max_seqs, a->max_rows, a->chunk_tokens};
    const uint32_t y[] = {b->count,    b->tp,       b->pp,       b->devices,
                          b->kv_pages, b->max_seqs, b->max_rows, b->chunk_tokens};
    size_t n = a->count || b->count ? ARRAY_LEN(x) : 0; /* without workers the rest is not looked at */
    for (size_t i = 0; i < n; i++)
        if (x[i] != y[i]) return compare_u32(x[i], y[i]);
    return 0;
}

/* Colocated before disaggregated: of two that are worth the same the simpler one is first. */
int fleet_placement_compare(const fleet_placement *a, const fleet_placement *b) {
    PRE(a);
    PRE(b);
    int order = compare_u32(fleet_placement_devices(a), fleet_placement_devices(b));
    if (!order) order = compare_u32(a->roles[ROLE_PREFILL].count > 0, b->roles[ROLE_PREFILL].count > 0);
    for (uint32_t i = 0; !order && i < ROLE_COUNT; i++) order = compare_role(&a->roles[i], &b->roles[i]);
    if (!order && a->roles[ROLE_COLOCATED].count) order = compare_u32(a->prefill_first, b->prefill_first);
    return order;
}
