#include "planner/replay/config_placement.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* As cluster_devices counts them. */
static uint32_t devices_of(const config *c, const config_role *r) {
    bool cores = strcmp(c->model.backend, "cuda") != 0 && strcmp(c->model.backend, "mock") != 0;
    return MAX(cores ? r->cores : r->tp * r->pp, 1u);
}

static status take_role(fleet_role *out, const config *c, worker_role role, const profile *p, errbuf *eb) {
    const config_role *r = config_role_of(c, role);
    if (r->count == 0) return ST_OK;
    const profile_engine *e = profile_find(p, role, r->tp, r->pp);
    const char *name = worker_role_name(role);
    if (!e)
        return errf(eb, ST_INVALID,
                    "the config has %u %s workers of tp %u, pp %u, and the profile no engine of that kind: "
                    "measure one with `baton-plan profile`, or lower %s.count",
                    r->count, name, r->tp, r->pp, name);
    uint32_t pages = r->kv_pages ? r->kv_pages : e->kv_pages;
    if (pages == 0)
        return errf(eb, ST_INVALID,
                    "%s.kv_pages is 0 (what memory holds), and the profile does not say how many that is: "
                    "give --set %s.kv_pages=N",
                    name, name);
    *out = (fleet_role){.count = r->count,
                        .tp = r->tp,
                        .pp = r->pp,
                        .devices = devices_of(c, r),
                        .kv_pages = pages,
                        .max_seqs = r->max_seqs,
                        .max_rows = r->token_budget,
                        .chunk_tokens = r->chunk_tokens};
    return ST_OK;
}

/* The lower of two bounds, of which 0 is none. */
static uint32_t lower(uint32_t a, uint32_t b) {
    return a == 0 ? b : b == 0 ? a : MIN(a, b);
}

status config_placement(fleet_placement *placement, fleet_options *opt, const config *c, const profile *p,
                        errbuf *eb) {
    PRE(placement);
    PRE(opt);
    PRE(c);
    PRE(p);
    fleet_placement out = {.prefill_first = strcmp(c->colocated.policy, "prefill_first") == 0};
    for (worker_role role = 0; role < ROLE_COUNT; role++) {
        status st = take_role(&out.roles[role], c, role, p, eb);
        if (st != ST_OK) return st;
    }
    if (fleet_placement_workers(&out) == 0)
        return errf(eb, ST_INVALID, "the config has no workers: give one of its roles a count");
    *placement = out;
    *opt = (fleet_options){.profile = p,
                           .placement = placement,
                           .max_requests = c->limits.max_requests,
                           .max_queue = c->limits.max_queue,
                           .max_context = lower(c->model.max_context, p->max_context),
                           .one_host = c->cluster.hosts_count <= 1};
    return ST_OK;
}
