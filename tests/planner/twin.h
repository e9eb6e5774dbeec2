/* twin - one trace through the whole cluster in virtual time (sim/) and through the planner's fast simulator
 * (planner/fleet), and what each decided, in the same words.
 *
 * Workers are numbered as both do: prefill, decode, colocated, each from the first on. Requests are numbered
 * in the order of arrival, from 0. Times count from 0; sim/ begins TWIN_LEAD_NS later, when its workers have
 * joined. Heartbeats are far apart: what the coordinator knows of a worker it learns by the messages about
 * requests, in both. */
#ifndef BATON_TESTS_PLANNER_TWIN_H
#define BATON_TESTS_PLANNER_TWIN_H

#include "planner/fleet/fleet.h"
#include "sim/sim.h"

#include "base/log.h"
#include "base/mix.h"

#include <math.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TWIN_LEAD_NS (2 * NS_PER_S)
#define TWIN_NONE    UINT32_MAX

typedef struct twin_request {
    uint64_t at_ns;
    uint32_t prompt, output;
} twin_request;

typedef struct twin_case {
    fleet_placement place;
    latency_model latency;
    uint32_t max_requests, max_queue, max_context;
    uint64_t ctl_ns;             /* one control message */
    uint64_t link_ns;            /* one frame of a pair: from the last row computed to its KV verified */
    uint64_t late_ns, late_seed; /* of sim/: each step takes up to so much longer */
    twin_request *requests;
    uint32_t count;
} twin_case;

typedef enum twin_kind { TWIN_ROUTE, TWIN_RESERVE, TWIN_STEP, TWIN_PREEMPT, TWIN_NO_ROOM } twin_kind;

typedef struct twin_rows {
    uint64_t req;
    uint32_t begin, count;
} twin_rows;

/* One decision, by the coordinator (actor -1) or by a worker. */
typedef struct twin_decision {
    twin_kind kind;
    int32_t actor;
    uint64_t at_ns, req, step, span_ns; /* STEP: span_ns until it ends */
    uint32_t worker, decode;            /* ROUTE; RESERVE: decode. TWIN_NONE: none */
    uint32_t row_begin, row_count;      /* STEP: of twin_log.rows */
} twin_decision;

typedef struct twin_stamps {
    bool refused;
    uint64_t first_ns, last_ns;
    uint32_t preemptions;
} twin_stamps;

typedef struct twin_log {
    twin_decision *items;
    uint32_t count, capacity;
    twin_rows *rows;
    uint32_t row_count, row_capacity;
    twin_stamps *stamps; /* [requests] */
    uint64_t end_ns;
    char failure[320];
} twin_log;

static inline void twin_log_done(twin_log *l) {
    free(l->items);
    free(l->rows);
    free(l->stamps);
    *l = (twin_log){0};
}

static inline twin_decision *twin_add(twin_log *l, twin_kind kind, int32_t actor, uint64_t at_ns) {
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? 2 * l->capacity : 64;
        l->items = xrealloc(l->items, l->capacity, sizeof *l->items);
    }
    twin_decision *d = &l->items[l->count++];
    *d = (twin_decision){.kind = kind,
                         .actor = actor,
                         .at_ns = at_ns,
                         .worker = TWIN_NONE,
                         .decode = TWIN_NONE,
                         .row_begin = l->row_count};
    return d;
}

static inline void twin_add_rows(twin_log *l, uint64_t req, uint32_t begin, uint32_t count) {
    if (l->row_count == l->row_capacity) {
        l->row_capacity = l->row_capacity ? 2 * l->row_capacity : 256;
        l->rows = xrealloc(l->rows, l->row_capacity, sizeof *l->rows);
    }
    l->rows[l->row_count++] = (twin_rows){.req = req, .begin = begin, .count = count};
}

/* "decode-1" of a placement to its number, and back. */
static inline uint32_t twin_worker_called(const twin_case *c, const char *name) {
    uint32_t first = 0;
    for (uint32_t r = 0; name && r < ROLE_COUNT; first += c->place.roles[r++].count) {
        size_t len = strlen(worker_role_name((worker_role)r));
        if (strncmp(name, worker_role_name((worker_role)r), len) == 0 && name[len] == '-')
            return first + (uint32_t)atoi(name + len + 1);
    }
    return TWIN_NONE;
}

static inline worker_role twin_role_of(const twin_case *c, uint32_t worker) {
    uint32_t r = 0;
    while (worker >= c->place.roles[r].count) worker -= c->place.roles[r++].count;
    return (worker_role)r;
}

static inline const char *twin_worker_name(const twin_case *c, uint32_t worker, char out[static 32]) {
    if (worker == TWIN_NONE) return "-";
    uint32_t n = worker;
    for (uint32_t r = 0; r < ROLE_COUNT && n >= c->place.roles[r].count; r++) n -= c->place.roles[r].count;
    snprintf(out, 32, "%s-%u", worker_role_name(twin_role_of(c, worker)), n);
    return out;
}

/* ---- sim/ ---- */

typedef struct twin_sim {
    const twin_case *of;
    twin_log *log;
    uint64_t *index_of; /* [count + 1] by the coordinator's number of a request */
    uint32_t next;
    profile_engine *engine;
} twin_sim;

static inline bool twin_sim_next(void *ctx, sim_arrival *out) {
    twin_sim *t = ctx;
    if (t->next == t->of->count) return false;
    const twin_request *r = &t->of->requests[t->next++];
    *out = (sim_arrival){
        .at_ns = TWIN_LEAD_NS + r->at_ns,
        .ask = {.prompt_count = r->prompt, .max_tokens = r->output, .stop_at = -1, .ignore_eos = true}};
    return true;
}

static inline void twin_sim_ended(void *ctx, const sim_client *c) {
    twin_sim *t = ctx;
    twin_stamps *s = &t->log->stamps[c->index];
    *s = (twin_stamps){.refused = c->refused != ST_OK};
    if (s->refused) return;
    t->index_of[c->req] = c->index;
    s->first_ns = c->first_ns - TWIN_LEAD_NS;
    s->last_ns = c->end_ns - TWIN_LEAD_NS;
    s->preemptions = c->times.preemptions;
}

static inline void twin_sim_decided(void *ctx, uint64_t now_ns, int32_t worker, const decision *d) {
    static const twin_kind kinds[] = {[DECISION_ROUTE] = TWIN_ROUTE,
                                      [DECISION_RESERVE] = TWIN_RESERVE,
                                      [DECISION_STEP] = TWIN_STEP,
                                      [DECISION_PREEMPT] = TWIN_PREEMPT,
                                      [DECISION_NO_ROOM] = TWIN_NO_ROOM};
    twin_sim *t = ctx;
    twin_decision *to = twin_add(t->log, kinds[d->kind], worker, now_ns - TWIN_LEAD_NS);
    to->req = d->req; /* translated at the end: who was refused has no number */
    to->step = d->step;
    if (d->kind == DECISION_ROUTE) to->worker = twin_worker_called(t->of, d->worker);
    to->decode = twin_worker_called(t->of, d->decode);
    to->row_count = d->item_count;
    for (uint32_t i = 0; i < d->item_count; i++)
        twin_add_rows(t->log, d->items[i].tag, d->items[i].begin, d->items[i].count);
}

static inline uint64_t twin_sim_step_ns(void *ctx, uint32_t worker, const latency_step *sum) {
    twin_sim *t = ctx;
    twin_decision *d = &t->log->items[t->log->count - 1]; /* told before it begins */
    CHECK(d->actor == (int32_t)worker);
    uint64_t late_ns = 0;
    if (t->of->late_ns) late_ns = mix64(t->of->late_seed ^ mix64(t->log->count)) % t->of->late_ns;
    return d->span_ns = (uint64_t)llround(profile_step_ns(t->engine, sum, NULL)) + late_ns;
}

static inline sim_options twin_sim_options(const twin_case *c, bool check_kv) {
    sim_options o = sim_defaults();
    uint64_t never = 100000 * NS_PER_S;
    o.check_kv = check_kv;
    o.forget_clients = !check_kv;
    for (uint32_t r = 0; r < ROLE_COUNT; r++) {
        const fleet_role *own = &c->place.roles[r];
        o.workers[r] = own->count;
        o.pages[r] = own->kv_pages;
        o.roles[r] = (sim_role){
            .max_seqs = own->max_seqs, .max_rows = own->max_rows, .chunk_tokens = own->chunk_tokens};
    }
    o.roles[ROLE_COLOCATED].policy = c->place.prefill_first ? "prefill_first" : "chunked";
    o.ctl_ns = c->ctl_ns;
    o.frame_ns = c->link_ns;
    o.post_ns = 0;
    o.pair_slots = 1000;
    o.segment_bytes = o.slot_bytes = 1u << 30;
    o.pair_timeout_ns = o.rejoin_ns = never;
    o.core.max_requests = c->max_requests;
    o.core.max_queue = c->max_queue;
    o.core.max_context = c->max_context;
    o.core.heartbeat_ns = o.core.suspect_ns = o.core.step_age_min_ns = o.core.lease_ns = never;
    o.core.wait_prefill_ns = o.core.prefill_ns = o.core.wait_kv_ns = o.core.decode_token_ns = never;
    o.core.gone_ns = 2 * never;
    return o;
}

/* Runs to the end of the last request. out->failure: what went wrong, else "". */
static inline void twin_run_sim(const twin_case *c, bool check_kv, twin_log *out) {
    *out = (twin_log){.stamps = xcalloc(MAX(c->count, 1u), sizeof *out->stamps)};
    profile_engine engine = profile_engine_modelled(&c->latency, 1, 1);
    twin_sim t = {
        .of = c, .log = out, .index_of = xcalloc(c->count + 1ull, sizeof *t.index_of), .engine = &engine};
    sim_options o = twin_sim_options(c, check_kv);
    o.watch = (sim_watch){.ctx = &t,
                          .next = twin_sim_next,
                          .ended = twin_sim_ended,
                          .decision = twin_sim_decided,
                          .step_ns = twin_sim_step_ns};
    sim *s = sim_new(&o);
    while (!sim_served(s) && s->now_ns < 50000 * NS_PER_S && sim_run_for(s, NS_PER_S)) {
    }
    if (!s->failure[0] && !sim_served(s)) sim_failf(s, "%u clients never end", u64_map_count(&s->client_of));
    snprintf(out->failure, sizeof out->failure, "%s", s->failure);
    out->end_ns = s->now_ns - TWIN_LEAD_NS;
    for (uint32_t i = 0; i < out->count; i++)
        if (out->items[i].kind != TWIN_STEP) out->items[i].req = t.index_of[out->items[i].req];
    for (uint32_t i = 0; i < out->row_count; i++) out->rows[i].req = t.index_of[out->rows[i].req];
    free(t.index_of);
    profile_engine_done(&engine);
    sim_free(s);
}

/* ---- planner/fleet ---- */

typedef struct twin_fleet {
    const twin_case *of;
    twin_log *log;
    uint32_t next, row_begin;
    uint64_t *steps; /* [workers] */
} twin_fleet;

static inline bool twin_fleet_next(void *ctx, fleet_request *out) {
    twin_fleet *t = ctx;
    if (t->next == t->of->count) return false;
    const twin_request *r = &t->of->requests[t->next++];
    *out = (fleet_request){.at_ns = r->at_ns, .prompt_tokens = r->prompt, .output_tokens = r->output};
    return true;
}

static inline void twin_fleet_ended(void *ctx, const fleet_outcome *o) {
    twin_fleet *t = ctx;
    twin_stamps *s = &t->log->stamps[o->index];
    *s = (twin_stamps){.refused = o->end == FLEET_REFUSED};
    if (s->refused) return;
    s->first_ns = o->first_ns;
    s->last_ns = o->last_ns;
    s->preemptions = o->preemptions;
}

static inline void twin_fleet_decided(void *ctx, const fleet_decision *d) {
    twin_fleet *t = ctx;
    twin_decision *to = NULL;
    switch (d->kind) {
    case FLEET_ROUTE:
        to = twin_add(t->log, TWIN_ROUTE, -1, d->at_ns);
        to->worker = d->worker;
        to->decode = twin_role_of(t->of, d->worker) == ROLE_PREFILL ? d->other : TWIN_NONE;
        break;
    case FLEET_RESERVE:
        to = twin_add(t->log, TWIN_RESERVE, -1, d->at_ns);
        to->decode = d->worker;
        break;
    case FLEET_PREEMPT:
        to = twin_add(t->log, TWIN_PREEMPT, (int32_t)d->worker, d->at_ns);
        break;
    case FLEET_ROWS:
        twin_add_rows(t->log, d->req, d->begin, d->count);
        return;
    case FLEET_STEP:
        to = twin_add(t->log, TWIN_STEP, (int32_t)d->worker, d->at_ns);
        to->step = ++t->steps[d->worker];
        to->row_begin = t->row_begin;
        to->row_count = t->log->row_count - t->row_begin;
        t->row_begin = t->log->row_count;
        return;
    }
    to->req = d->req;
}

/* Of the latency model, on links that take no time. */
static inline profile twin_profile(const twin_case *c, profile_engine *engine) {
    *engine = profile_engine_modelled(&c->latency, 1, 1);
    return (profile){.engines = engine,
                     .engine_count = 1,
                     .link = {.known = true,
                              .bytes_per_s = 1e30,
                              .latency_ns = (double)c->link_ns,
                              .kv_token_bytes = 64,
                              .layers = 1}};
}

/* decisions: each is told, step by step; else stamps only, and it may take several steps at once. */
static inline void twin_run_fleet(const twin_case *c, bool decisions, twin_log *out) {
    *out = (twin_log){.stamps = xcalloc(MAX(c->count, 1u), sizeof *out->stamps)};
    profile_engine engine;
    profile p = twin_profile(c, &engine);
    twin_fleet t = {
        .of = c, .log = out, .steps = xcalloc(fleet_placement_workers(&c->place), sizeof *t.steps)};
    fleet_options o = {.profile = &p,
                       .placement = &c->place,
                       .max_requests = c->max_requests,
                       .max_queue = c->max_queue,
                       .max_context = c->max_context,
                       .extrapolate = true};
    fleet_sink sink = {.ctx = &t,
                       .next = twin_fleet_next,
                       .ended = twin_fleet_ended,
                       .decision = decisions ? twin_fleet_decided : NULL};
    fleet *f = NULL;
    errbuf eb = {0};
    status st = fleet_new(&f, &o, &sink, &eb);
    if (st == ST_OK) st = fleet_run(f, 50000 * NS_PER_S, &eb);
    if (st == ST_OK && !fleet_idle(f)) st = errf(&eb, ST_TIMEOUT, "requests never end");
    if (st == ST_OK && !fleet_check(f)) st = errf(&eb, ST_CORRUPT, "fleet_check");
    if (st != ST_OK) snprintf(out->failure, sizeof out->failure, "%s", eb.text);
    fleet_free(f);
    profile_engine_done(&engine);
    free(t.steps);
}

/* ---- in words ---- */

/* As a line of the log has it (ctl/decision.h), without attempt and why; requests count from 1. */
static inline const char *twin_text(const twin_case *c, const twin_log *l, const twin_decision *d, char *out,
                                    size_t size) {
    static const char *const kinds[] = {"route", "reserve", "step", "preempt", "no-room"};
    char actor[32] = "coordinator", worker[32], decode[32];
    if (d->actor >= 0) twin_worker_name(c, (uint32_t)d->actor, actor);
    int n = snprintf(out, size, "%s %s", actor, kinds[d->kind]);
    const char *comma = "";
    switch (d->kind) {
    case TWIN_ROUTE:
        snprintf(out + n, size - (size_t)n, " req=%" PRIu64 " worker=%s decode=%s", d->req + 1,
                 twin_worker_name(c, d->worker, worker), twin_worker_name(c, d->decode, decode));
        break;
    case TWIN_RESERVE:
        snprintf(out + n, size - (size_t)n, " req=%" PRIu64 " decode=%s", d->req + 1,
                 twin_worker_name(c, d->decode, decode));
        break;
    case TWIN_STEP:
        n += snprintf(out + n, size - (size_t)n, " n=%" PRIu64 " rows=", d->step);
        for (uint32_t i = 0; i < d->row_count && (size_t)n + 64 < size; i++, comma = ",") {
            const twin_rows *r = &l->rows[d->row_begin + i];
            n += snprintf(out + n, size - (size_t)n, "%s%" PRIu64 ":%u+%u", comma, r->req + 1, r->begin,
                          r->count);
        }
        break;
    case TWIN_PREEMPT:
    case TWIN_NO_ROOM:
        snprintf(out + n, size - (size_t)n, " req=%" PRIu64, d->req + 1);
        break;
    }
    return out;
}

#endif
