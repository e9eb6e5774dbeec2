#include "planner/search/candidates.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define CHUNK_LEAST 64u
#define CHUNK_MOST  8192u
#define SHAPES_MAX  (PROFILE_ENGINES_MAX * 16u)

const char *reject_name(reject_reason r) {
    static const char *const names[REJECT_REASONS] = {
        [REJECT_NOT] = "no",
        [REJECT_LINK] = "link",
        [REJECT_BEATEN] = "beaten",
        [REJECT_MEMORY] = "memory",
        [REJECT_PROFILE] = "no profile",
        [REJECT_HEADS] = "heads",
        [REJECT_SLO] = "SLO",
        [REJECT_SATURATION] = "saturation",
    };
    PRE(r < REJECT_REASONS);
    return names[r];
}

/* One worker of a role, with everything but its count. */
typedef struct shape {
    fleet_role role;
    bool prefill_first;
} shape;

typedef struct shapes {
    shape items[SHAPES_MAX];
    uint32_t count;
} shapes;

static void add_shape(shapes *s, const fleet_role *role, bool prefill_first) {
    CHECK(s->count < SHAPES_MAX);
    s->items[s->count++] = (shape){*role, prefill_first};
}

/* The largest step that makes sense: what was measured, the longest usual prompt, a bound of ours; a multiple
 * of a page. */
static uint32_t largest_chunk(const candidate_options *o, const profile_engine *e) {
    double most = e->prefill.count && e->prefill.x_max >= CHUNK_LEAST ? e->prefill.x_max : CHUNK_MOST;
    uint32_t cap = most < CHUNK_MOST ? (uint32_t)most / 16 * 16 : CHUNK_MOST;
    uint32_t prompt = MAX((o->demand->prompt_p99 + 15) / 16 * 16, CHUNK_LEAST);
    return MIN(cap, prompt);
}

static uint32_t largest_budget(const profile_engine *e) {
    double most = e->prefill.count && e->prefill.x_max >= CHUNK_LEAST ? e->prefill.x_max : CHUNK_MOST;
    return most < 2 * CHUNK_MOST ? (uint32_t)most / 16 * 16 : 2 * CHUNK_MOST;
}

/* A few budgets: one prompt, and several at a time. */
static void add_prefill(shapes *s, const candidate_options *o, const profile_engine *e, fleet_role role) {
    uint32_t one = largest_chunk(o, e), most = largest_budget(e), last = 0;
    static const uint32_t times[] = {1, 4};
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        uint32_t budget = MIN(one * times[i], most);
        if (budget == last || (o->quick && times[i] != 1)) continue;
        role.max_rows = last = budget;
        role.chunk_tokens = one;
        add_shape(s, &role, false);
    }
}

static void add_colocated(shapes *s, const candidate_options *o, const profile_engine *e, fleet_role role) {
    uint32_t one = largest_chunk(o, e);
    role.chunk_tokens = one;
    role.max_rows = MAX(one, role.max_seqs);
    add_shape(s, &role, true);
    for (uint32_t c = CHUNK_LEAST; c < 2 * one; c *= o->quick ? 4 : 2) {
        role.chunk_tokens = MIN(c, one);
        role.max_rows = MAX(role.chunk_tokens, role.max_seqs);
        add_shape(s, &role, false);
    }
}

/* The shape of e in a role: by the engine that was measured in it, whose pool and slots may be others.
 * Without one bounds say so. */
static void add_engine(shapes by_role[ROLE_COUNT], const candidate_options *o, const profile_engine *e,
                       worker_role as) {
    uint32_t most = o->devices_per_instance_max ? o->devices_per_instance_max : UINT32_MAX;
    const profile_engine *own = profile_find(o->profile, as, e->tp, e->pp);
    if (own) e = own;
    if (e->devices > most || e->devices > o->devices) return;
    fleet_role role = {.tp = e->tp,
                       .pp = e->pp,
                       .devices = MAX(e->devices, 1u),
                       .kv_pages = o->kv_pages ? o->kv_pages : e->kv_pages,
                       .max_seqs = o->max_seqs   ? o->max_seqs
                                   : e->max_seqs ? e->max_seqs
                                                 : CANDIDATES_SEQS};
    if (as == ROLE_PREFILL) add_prefill(&by_role[as], o, e, role);
    role.max_rows = role.max_seqs;
    role.chunk_tokens = 16;
    if (as == ROLE_DECODE) add_shape(&by_role[as], &role, false);
    if (as == ROLE_COLOCATED) add_colocated(&by_role[as], o, e, role);
}

/* The first engine of each tp and pp stands for its shape. */
static bool is_first(const profile *p, uint32_t i) {
    for (uint32_t k = 0; k < i; k++)
        if (p->engines[k].tp == p->engines[i].tp && p->engines[k].pp == p->engines[i].pp) return false;
    return true;
}

static uint32_t gcd(uint32_t a, uint32_t b) {
    return b ? gcd(b, a % b) : a;
}

static bool add(candidate_list *l, const fleet_placement *p) {
    if (l->count == CANDIDATES_MAX) return false;
    if ((l->count & (l->count - 1)) == 0)
        l->items = xrealloc(l->items, MAX(2 * l->count, 1u), sizeof *l->items);
    candidate c = {.placement = *p,
                   .colocated = p->roles[ROLE_COLOCATED].count > 0,
                   .bound = INFINITY,
                   .devices = fleet_placement_devices(p)};
    c.unit_devices = c.devices;
    char text[sizeof c.placement.name];
    snprintf(c.placement.name, sizeof c.placement.name, "%s", fleet_placement_text(p, text, sizeof text));
    l->items[l->count++] = c;
    return true;
}

static bool add_pairs(candidate_list *l, const shape *p, const shape *d, uint32_t devices, bool ratios) {
    for (uint32_t i = 1; i * p->role.devices < devices; i++) {
        for (uint32_t k = 1; i * p->role.devices + k * d->role.devices <= devices; k++) {
            if (ratios && gcd(i, k) > 1) continue;
            fleet_placement at = {.roles = {[ROLE_PREFILL] = p->role, [ROLE_DECODE] = d->role}};
            at.roles[ROLE_PREFILL].count = i;
            at.roles[ROLE_DECODE].count = k;
            if (!add(l, &at)) return false;
        }
    }
    return true;
}

static bool add_replicas(candidate_list *l, const shape *w, uint32_t devices, bool ratios) {
    for (uint32_t i = 1; i * w->role.devices <= devices; i++) {
        fleet_placement at = {.roles = {[ROLE_COLOCATED] = w->role}, .prefill_first = w->prefill_first};
        at.roles[ROLE_COLOCATED].count = i;
        if (!add(l, &at)) return false;
        if (ratios) break;
    }
    return true;
}

static int canonical(const void *a, const void *b) {
    return fleet_placement_compare(&((const candidate *)a)->placement, &((const candidate *)b)->placement);
}

status candidates_list(candidate_list *out, const candidate_options *o, errbuf *eb) {
    PRE(out);
    PRE(o);
    if (o->devices == 0) return errf(eb, ST_INVALID, "0 devices: want at least 1");
    if (o->devices > CANDIDATES_DEVICES_MAX)
        return errf(eb, ST_INVALID, "%u devices: want at most %u", o->devices, CANDIDATES_DEVICES_MAX);
    shapes *by_role = xcalloc(ROLE_COUNT, sizeof *by_role);
    uint32_t largest = 1;
    for (uint32_t i = 0; i < o->profile->engine_count; i++) {
        if (!is_first(o->profile, i)) continue;
        for (worker_role role = 0; role < ROLE_COUNT; role++)
            add_engine(by_role, o, &o->profile->engines[i], role);
        largest = MAX(largest, o->profile->engines[i].devices);
    }
    bool ratios = o->devices > CANDIDATES_UNIT;
    uint32_t devices = ratios ? MIN(o->devices, MAX(CANDIDATES_UNIT, 2 * largest)) : o->devices;
    candidate_list l = {0};
    bool fits = true;
    const shapes *p = &by_role[ROLE_PREFILL], *d = &by_role[ROLE_DECODE], *w = &by_role[ROLE_COLOCATED];
    for (uint32_t i = 0; fits && i < p->count; i++)
        for (uint32_t k = 0; fits && k < d->count; k++)
            fits = add_pairs(&l, &p->items[i], &d->items[k], devices, ratios);
    for (uint32_t i = 0; fits && i < w->count; i++) fits = add_replicas(&l, &w->items[i], devices, ratios);
    free(by_role);
    if (!fits) {
        candidates_done(&l);
        return errf(eb, ST_INVALID, "more than %u placements: lower --max-devices-per-instance or --devices",
                    CANDIDATES_MAX);
    }
    qsort(l.items, l.count, sizeof *l.items, canonical);
    *out = l;
    return ST_OK;
}

void candidates_done(candidate_list *l) {
    PRE(l);
    for (uint32_t i = 0; i < l->count; i++) free(l->items[i].found);
    free(l->items);
    *l = (candidate_list){0};
}

fleet_placement candidates_scale(const fleet_placement *unit, uint32_t devices) {
    PRE(unit);
    uint32_t times = devices / fleet_placement_devices(unit);
    PRE(times > 0);
    fleet_placement p = *unit;
    for (uint32_t i = 0; i < ROLE_COUNT; i++) p.roles[i].count *= times;
    return p;
}
