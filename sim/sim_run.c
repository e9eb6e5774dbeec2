/* The world: connections, the coordinator and its clients, and what is done to them from outside. */
#include "sim/sim_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the coordinator ---- */

static sim_conn *conn_of(const sim *s, uint64_t id) {
    return id && id <= s->conn_count ? s->conns[id - 1] : NULL;
}

static void arm_core(sim *s, uint64_t at_ns) {
    s->core_wake_ns = at_ns;
    if (s->core_armed_ns && s->core_armed_ns <= at_ns) return; /* that one looks again */
    s->core_armed_ns = at_ns;
    sim_post(s, at_ns, EV_CORE_WAKE, NULL);
}

void sim_core_turn(sim *s) {
    PRE(s);
    uint64_t next = core_turn(s->core, s->now_ns);
    if (s->opt.check_kv && !core_check(s->core)) sim_failf(s, "core_check");
    if (next <= s->now_ns) sim_failf(s, "core_turn wants to run again at once");
    arm_core(s, next);
}

static void core_send(void *ctx, uint64_t id, const ctl_msg *m) {
    sim *s = ctx;
    sim_conn *c = conn_of(s, id);
    if (!c || !c->core_open) {
        sim_failf(s, "the coordinator sent %s on a connection it gave up", ctl_kind_name(m->kind));
        return;
    }
    if (!c->worker_open) return;
    sim_msg_send(s, c, false, m);
}

static void core_hang_up(void *ctx, uint64_t id) {
    sim *s = ctx;
    sim_conn *c = conn_of(s, id);
    if (c) c->core_open = false;
}

static void core_token_out(void *ctx, uint64_t req, const core_token *t) {
    sim_client_token(ctx, req, t);
}

static void core_prompt_out(void *ctx, uint64_t req, const core_prompt *p) {
    sim_client_prompt(ctx, req, p);
}

/* Its stages follow each other from its birth to its end, and none comes where it cannot. */
static void core_recorded(void *ctx, const core_record *r) {
    sim *s = ctx;
    bool sound = r->span_count > 0 && r->spans[0].stage == STAGE_QUEUE &&
                 r->spans[0].begin_ns == r->born_ns && r->spans[r->span_count - 1].begin_ns <= r->end_ns;
    for (uint32_t i = 0; sound && i < r->span_count; i++) {
        const core_span *now = &r->spans[i], *before = i ? now - 1 : NULL;
        sound = (now->stage == STAGE_QUEUE) == (now->worker == 0);
        if (!before || !sound) continue;
        bool same = now->worker == before->worker;
        sound = now->begin_ns >= before->begin_ns;
        if (now->stage == STAGE_PREFILL) sound = sound && before->stage == STAGE_QUEUE;
        if (now->stage == STAGE_HANDOFF) sound = sound && before->stage == STAGE_PREFILL && same;
        if (now->stage == STAGE_DECODE_WAIT) sound = sound && before->stage == STAGE_HANDOFF && !same;
        if (now->stage == STAGE_DECODE)
            sound = sound && same && (before->stage == STAGE_PREFILL || before->stage == STAGE_DECODE_WAIT);
    }
    if (!sound) sim_failf(s, "req %llu has a record out of order", (unsigned long long)r->req);
}

static void core_ended(void *ctx, uint64_t req, const core_end *e, const core_times *times) {
    sim_client_end(ctx, req, e, times);
}

static void core_decided(void *ctx, const decision *d) {
    sim *s = ctx;
    s->opt.watch.decision(s->opt.watch.ctx, s->now_ns, -1, d);
}

static void on_core_event(sim *s, sim_event *e) {
    if (e->kind == EV_CORE_WAKE) {
        if (e->at_ns != s->core_armed_ns) return; /* another one counts */
        s->core_armed_ns = 0;
        if (s->core_wake_ns > s->now_ns)
            arm_core(s, s->core_wake_ns);
        else
            sim_core_turn(s);
        return;
    }
    if (e->kind == EV_ARRIVAL) {
        sim_client_arrives(s);
        return;
    }
    sim_conn *c = conn_of(s, e->conn);
    if (!c->core_open) return;
    if (e->kind == EV_CORE_LOST) {
        c->core_open = false;
        core_conn_lost(s->core, e->conn, "the connection broke", s->now_ns);
    } else {
        ctl_msg m;
        if (!sim_msg_read(s, e, &m)) return;
        s->seen.to_coord[m.kind]++;
        sim_trace(s, s->procs[c->worker]->name, &m);
        core_message(s->core, e->conn, &m, s->now_ns);
        sim_msg_done(e, &m);
    }
    sim_core_turn(s);
}

/* ---- life ---- */

sim_options sim_defaults(void) {
    return (sim_options){
        .seed = 1,
        .check_kv = true,
        .pages = {64, 64, 64},
        .max_seqs = 8,
        .max_rows = 64,
        .chunk_tokens = 32,
        .ctl_ns = NS_PER_MS,
        .step_ns = 10 * NS_PER_MS,
        .row_ns = 0,
        .frame_ns = 2 * NS_PER_MS,
        .post_ns = 10 * NS_PER_US,
        .copy_ns = 0,
        .pair_slots = 3,
        .segment_bytes = 512,
        .slot_bytes = 1024,
        .pair_timeout_ns = 10 * NS_PER_S,
        .join_retry_ns = NS_PER_S,
        .rejoin_ns = 60 * NS_PER_S,
        .core = {.epoch = 0xe90c4,
                 .max_requests = 64,
                 .max_queue = 32,
                 .max_workers = SIM_WORKERS_MAX,
                 .heartbeat_ns = 250 * NS_PER_MS,
                 .suspect_ns = 1500 * NS_PER_MS,
                 .gone_ns = 5 * NS_PER_S,
                 .step_age_min_ns = 10 * NS_PER_S,
                 .lease_ns = 10 * NS_PER_S,
                 .wait_prefill_ns = 60 * NS_PER_S,
                 .prefill_ns = 120 * NS_PER_S,
                 .wait_kv_ns = 60 * NS_PER_S,
                 .decode_token_ns = 30 * NS_PER_S,
                 .max_attempts = 4,
                 .max_context = 256},
    };
}

sim_role sim_role_of(const sim_options *o, worker_role role) {
    PRE(role < ROLE_COUNT);
    const sim_role *own = &o->roles[role];
    return (sim_role){.max_seqs = own->max_seqs ? own->max_seqs : o->max_seqs,
                      .max_rows = own->max_rows ? own->max_rows : o->max_rows,
                      .chunk_tokens = own->chunk_tokens ? own->chunk_tokens : o->chunk_tokens,
                      .policy = own->policy};
}

sim *sim_new(const sim_options *opt) {
    PRE(opt->check_kv || !opt->prefix_cache);
    sim *s = xcalloc(1, sizeof *s);
    s->opt = *opt;
    s->now_ns = NS_PER_S;
    s->rng = kv_mix(opt->seed);
    core_sink sink = {.ctx = s,
                      .send = core_send,
                      .hang_up = core_hang_up,
                      .token = core_token_out,
                      .prompt = core_prompt_out,
                      .end = core_ended,
                      .record = opt->check_kv ? core_recorded : NULL,
                      .decision = opt->watch.decision ? core_decided : NULL};
    core_options co = opt->core;
    co.prefix_cache = opt->prefix_cache;
    for (uint32_t r = 0; r < ROLE_COUNT; r++) co.role_wanted[r] = opt->workers[r];
    s->core = core_new(&co, &sink, s->now_ns);
    u64_map_init(&s->client_of, opt->core.max_requests);
    for (uint32_t r = 0; r < ROLE_COUNT; r++)
        for (uint32_t i = 0; i < opt->workers[r]; i++) {
            CHECK(s->proc_count < SIM_WORKERS_MAX);
            s->procs[s->proc_count] = sim_proc_new(s, s->proc_count, (worker_role)r);
            s->proc_count++;
        }
    for (uint32_t i = 0; i < s->proc_count; i++) sim_proc_start(s->procs[i]);
    sim_client_await(s);
    sim_core_turn(s);
    return s;
}

void sim_free(sim *s) {
    if (!s) return;
    for (uint32_t i = 0; i < s->proc_count; i++) sim_proc_free(s->procs[i]);
    for (uint32_t i = 0; i < s->heap_count; i++) sim_event_free(s, s->heap[i]);
    for (uint32_t i = 0; i < s->core_stash_count; i++) sim_event_free(s, s->core_stash[i]);
    for (uint32_t i = s->ready_taken; i < s->ready_count; i++) sim_event_free(s, s->ready[i]);
    free(s->ready);
    for (uint32_t i = 0; i < s->conn_count; i++) free(s->conns[i]);
    for (uint32_t i = 0; i < s->pair_count; i++) free(s->pairs[i]);
    for (sim_event *e = s->spare, *next; e; e = next) {
        next = e->next;
        free(e);
    }
    sim_clients_free(s);
    core_free(s->core);
    free(s->heap);
    free(s->core_stash);
    free(s->conns);
    free(s->pairs);
    free(s);
}

static void stash(sim_event ***list, uint32_t *count, uint32_t *capacity, sim_event *e) {
    SIM_GROW(*list, *count, *capacity);
    (*list)[(*count)++] = e;
}

bool sim_step(sim *s) {
    PRE(s);
    if (s->failure[0]) return false;
    if (s->heap_count == 0 && s->ready_count == 0) { /* everybody is dead or frozen: only time passes */
        s->now_ns += NS_PER_MS;
        return true;
    }
    sim_event *e = sim_next(s);
    if (e->worker < 0) {
        if (s->core_frozen) {
            stash(&s->core_stash, &s->core_stash_count, &s->core_stash_capacity, e);
            return true;
        }
        on_core_event(s, e);
        sim_event_free(s, e);
        return !s->failure[0];
    }
    sim_proc *p = s->procs[e->worker];
    if (p->life == e->life && p->alive) {
        if (p->frozen) {
            stash(&p->stash, &p->stash_count, &p->stash_capacity, e);
            return true;
        }
        sim_proc_event(p, e);
    }
    sim_event_free(s, e);
    return !s->failure[0];
}

bool sim_run_until(sim *s, uint64_t at_ns) {
    PRE(s);
    while (s->ready_count || (s->heap_count && s->heap[0]->at_ns <= at_ns))
        if (!sim_step(s)) return false;
    s->now_ns = MAX(s->now_ns, at_ns);
    return true;
}

bool sim_run_for(sim *s, uint64_t span_ns) {
    return sim_run_until(s, s->now_ns + span_ns);
}

/* ---- faults ---- */

void sim_kill(sim *s, uint32_t worker) {
    if (!s->procs[worker]->alive) return;
    s->seen.kills++;
    sim_proc_stop(s->procs[worker]);
}

void sim_break_device(sim *s, uint32_t worker) {
    s->procs[worker]->broken = s->procs[worker]->alive;
}

void sim_restart(sim *s, uint32_t worker) {
    s->procs[worker]->broken = false;
    if (!s->procs[worker]->alive) sim_proc_start(s->procs[worker]);
}

void sim_term(sim *s, uint32_t worker, uint64_t limit_ns) {
    PRE(s);
    sim_proc *p = s->procs[worker];
    if (!p->alive || p->frozen) return;
    agent_drain(p->agent, limit_ns, s->now_ns);
    sim_proc_arm(p, s->now_ns);
}

void sim_freeze(sim *s, uint32_t worker) {
    s->procs[worker]->frozen = s->procs[worker]->alive;
}

/* What came meanwhile comes now, in its order and before anything else; timers that were due are one timer,
 * set by the caller. */
static void unstash(sim *s, sim_event **list, uint32_t *count) {
    uint32_t n = *count;
    *count = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (list[i]->kind == EV_WAKE || list[i]->kind == EV_CORE_WAKE) {
            sim_event_free(s, list[i]);
            continue;
        }
        SIM_GROW(s->ready, s->ready_count, s->ready_capacity);
        s->ready[s->ready_count++] = list[i];
    }
}

void sim_thaw(sim *s, uint32_t worker) {
    PRE(worker < s->proc_count);
    sim_proc *p = s->procs[worker];
    if (!p->frozen) return;
    p->frozen = false;
    unstash(s, p->stash, &p->stash_count);
    p->armed_ns = 0; /* it may have come meanwhile */
    sim_proc_arm(p, s->now_ns);
}

void sim_freeze_core(sim *s) {
    s->core_frozen = true;
}

void sim_thaw_core(sim *s) {
    PRE(s);
    if (!s->core_frozen) return;
    s->core_frozen = false;
    unstash(s, s->core_stash, &s->core_stash_count);
    s->core_armed_ns = 0; /* it may have come meanwhile */
    arm_core(s, s->now_ns);
}

void sim_cut_conn(sim *s, uint32_t worker) {
    PRE(worker < s->proc_count);
    sim_proc *p = s->procs[worker];
    sim_conn *c = conn_of(s, p->conn);
    if (!p->alive || !c || !c->worker_open) return;
    sim_event *e = sim_post(s, s->now_ns + sim_delay(s, s->opt.ctl_ns), EV_CORE_LOST, NULL);
    e->conn = c->id;
    e = sim_post(s, s->now_ns + sim_delay(s, s->opt.ctl_ns), EV_LOST, p);
    e->conn = c->id;
}

void sim_cut_pair(sim *s, uint32_t p, uint32_t d) {
    for (uint32_t i = 0; i < s->pair_count; i++)
        if (s->pairs[i]->open && s->pairs[i]->p_worker == p && s->pairs[i]->d_worker == d)
            sim_pair_end(s, s->pairs[i]);
}

/* ---- looking ---- */

bool sim_alive(const sim *s, uint32_t worker) {
    return s->procs[worker]->alive;
}

bool sim_frozen(const sim *s, uint32_t worker) {
    return s->procs[worker]->frozen;
}

bool sim_member(const sim *s, uint32_t worker) {
    PRE(worker < s->proc_count);
    const sim_proc *p = s->procs[worker];
    if (!p->alive || !agent_is_member(p->agent)) return false;
    core_worker_info w;
    for (uint32_t i = 0; core_worker(s->core, i, s->now_ns, &w); i++)
        if (w.incarnation == agent_incarnation(p->agent) && w.state == MEMBER_READY) return true;
    return false;
}

bool sim_idle_everywhere(const sim *s) {
    PRE(s);
    core_worker_info w;
    for (uint32_t i = 0; core_worker(s->core, i, s->now_ns, &w); i++)
        if (w.assigned || w.pages_promised || w.free_pages != w.page_count) return false;
    for (uint32_t i = 0; i < s->proc_count; i++) {
        const sim_proc *p = s->procs[i];
        if (p->alive && (!agent_idle(p->agent) || agent_stats(p->agent).pages_used || p->handoff_count))
            return false;
    }
    core_counters k;
    core_counters_of(s->core, &k);
    for (uint32_t i = 0; i < ARRAY_LEN(k.requests); i++)
        if (k.requests[i]) return false;
    return true;
}

uint32_t sim_pairs_open(const sim *s, uint32_t worker) {
    PRE(s);
    PRE(worker < s->proc_count);
    uint32_t count = 0, life = s->procs[worker]->life;
    for (uint32_t i = 0; i < s->pair_count; i++) {
        const sim_pair *pr = s->pairs[i];
        bool own =
            (pr->p_worker == worker && pr->p_life == life) || (pr->d_worker == worker && pr->d_life == life);
        count += pr->open && own;
    }
    return count;
}

uint32_t sim_pages_used(const sim *s, uint32_t worker) {
    const sim_proc *p = s->procs[worker];
    return p->alive ? agent_stats(p->agent).pages_used : 0;
}

wcore_stats sim_stats(const sim *s, uint32_t worker) {
    PRE(worker < s->proc_count);
    const sim_proc *p = s->procs[worker];
    return p->alive ? agent_stats(p->agent) : (wcore_stats){0};
}
