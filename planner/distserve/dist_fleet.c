#include "planner/distserve/dist_fleet.h"

#include "base/mem.h"

#include <math.h>

#define MS          1e6  /* ns */
#define FASTEST     1e18 /* bytes/s: a hand-off of a million tokens takes less than a microsecond */
#define PAGE_TOKENS 16u

/* add_ray_overhead of simdistserve/base/worker.py: 2 ms and .1 us per token of context */
static void add_overhead(profile_engine *e) {
    for (uint32_t i = 0; i < e->prefill.count; i++) {
        step_cost_knot *k = &e->prefill.knots[i];
        k->base_ns += (2 + 1e-4 * k->x) * MS / e->pp;
    }
    for (uint32_t i = 0; i < e->decode.count; i++) {
        step_cost_knot *k = &e->decode.knots[i];
        k->base_ns += 2 * MS / e->pp;
        k->slope_ns += 1e-4 * MS / e->pp;
    }
}

void dist_fleet_profile(profile *p, const dist_model *m, double link_bytes_per_s) {
    PRE(p);
    PRE(m);
    PRE(link_bytes_per_s > 0);
    for (uint32_t i = 0; i < p->engine_count; i++) add_overhead(&p->engines[i]);
    p->link = (profile_link){.known = true,
                             .bytes_per_s = fmin(link_bytes_per_s, FASTEST),
                             .kv_token_bytes = (double)dist_model_kv_bytes(m),
                             .layers = m->layers};
    profile_seal(p);
}

static fleet_role role_of(const dist_model *m, uint32_t tp, uint32_t pp, uint32_t rows) {
    return (fleet_role){.count = 1,
                        .tp = tp,
                        .pp = pp,
                        .devices = tp * pp,
                        .kv_pages = (uint32_t)(dist_model_tokens(m, tp, pp) / PAGE_TOKENS),
                        .max_seqs = DIST_FLEET_SEQS,
                        .max_rows = rows,
                        .chunk_tokens = DIST_FLEET_ROWS};
}

fleet_placement dist_fleet_placement(const dist_config *c, const dist_model *m) {
    PRE(c);
    PRE(m);
    fleet_placement p = {.prefill_first = true};
    if (c->colocated) {
        p.roles[ROLE_COLOCATED] = role_of(m, c->prefill_tp, c->prefill_pp, DIST_FLEET_ROWS);
        return p;
    }
    p.roles[ROLE_PREFILL] = role_of(m, c->prefill_tp, c->cross * c->prefill_pp, DIST_FLEET_ROWS);
    p.roles[ROLE_DECODE] = role_of(m, c->decode_tp, c->cross * c->decode_pp, DIST_FLEET_SEQS);
    return p;
}
