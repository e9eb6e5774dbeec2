/* Life of a fleet, the order of its events, and what is told of it. */
#include "planner/fleet/fleet.h"

#include "base/mem.h"
#include "kv/kv_layout.h"
#include "planner/fleet/state.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- what cannot be simulated ---- */

static const char role_letters[ROLE_COUNT] = {'P', 'D', 'W'};

static uint32_t pages_of(const fleet_role *r, const profile_engine *e) {
    return r->kv_pages ? r->kv_pages : e->kv_pages;
}

static uint32_t seqs_of(const fleet_role *r, const profile_engine *e) {
    return r->max_seqs ? r->max_seqs : e->max_seqs;
}

static status check_costs(worker_role role, const profile_engine *e, errbuf *eb) {
    bool prefills = role != ROLE_DECODE, decodes = role != ROLE_PREFILL;
    if (prefills && !e->prefill.count)
        return errf(eb, ST_INVALID, "the profile does not say how long the prefill steps of a %s take",
                    worker_role_name(role));
    if (decodes && !e->decode.count)
        return errf(eb, ST_INVALID, "the profile does not say how long the decode steps of a %s take",
                    worker_role_name(role));
    return ST_OK;
}

static status check_role(const fleet_options *o, worker_role role, errbuf *eb) {
    const fleet_role *r = &o->placement->roles[role];
    const char *name = worker_role_name(role);
    const profile_engine *e = profile_find(o->profile, role, r->tp, r->pp);
    if (!e)
        return errf(eb, ST_INVALID, "the profile has no %s engine of tp %u, pp %u: measure one", name, r->tp,
                    r->pp);
    if (!r->tp || !r->pp || r->pp > 64)
        return errf(eb, ST_INVALID, "a %s worker of tp %u, pp %u: want tp >= 1 and pp 1..64", name, r->tp,
                    r->pp);
    status st = check_costs(role, e, eb);
    if (st != ST_OK) return st;
    uint32_t pages = pages_of(r, e);
    if (!pages || pages > KV_POOL_PAGES_MAX)
        return errf(eb, ST_INVALID, "a %s worker with %u KV pages: say how many, 1..%u", name, pages,
                    KV_POOL_PAGES_MAX);
    if (!seqs_of(r, e))
        return errf(eb, ST_INVALID, "how many requests a %s worker holds at once is not known: say max_seqs",
                    name);
    uint32_t least = role == ROLE_COLOCATED ? KV_PAGE_TOKENS + 1 : role == ROLE_PREFILL ? KV_PAGE_TOKENS : 1;
    if (r->max_rows < least)
        return errf(eb, ST_INVALID, "a %s worker with steps of %u rows: want %u at least", name, r->max_rows,
                    least);
    if (role != ROLE_DECODE && (r->chunk_tokens < KV_PAGE_TOKENS || r->chunk_tokens % KV_PAGE_TOKENS))
        return errf(eb, ST_INVALID, "a %s worker with chunks of %u tokens: want a multiple of %u", name,
                    r->chunk_tokens, KV_PAGE_TOKENS);
    return ST_OK;
}

/* Tokens that a prefill and a decode worker can hold of one request. */
static uint64_t longest_prompt(const fleet_options *o) {
    uint64_t most = o->max_context ? o->max_context : UINT32_MAX;
    static const worker_role ends[] = {ROLE_PREFILL, ROLE_DECODE};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        const fleet_role *r = &o->placement->roles[ends[i]];
        const profile_engine *e = profile_find(o->profile, ends[i], r->tp, r->pp);
        most = MIN(most, (uint64_t)pages_of(r, e) * KV_PAGE_TOKENS);
    }
    return most;
}

static status check(const fleet_options *o, errbuf *eb) {
    const fleet_role *r = o->placement->roles;
    bool apart = r[ROLE_PREFILL].count && r[ROLE_DECODE].count;
    if (!apart && !r[ROLE_COLOCATED].count)
        return errf(eb, ST_INVALID, "%u prefill, %u decode and no colocated workers can serve nothing",
                    r[ROLE_PREFILL].count, r[ROLE_DECODE].count);
    for (uint32_t i = 0; i < ROLE_COUNT; i++) {
        status st = r[i].count ? check_role(o, (worker_role)i, eb) : ST_OK;
        if (st != ST_OK) return st;
    }
    if (!r[ROLE_PREFILL].count && !r[ROLE_DECODE].count) return ST_OK;
    status st = link_check(o->profile, eb);
    return st == ST_OK && apart ? link_check_longest(o->profile, longest_prompt(o), eb) : st;
}

/* ---- workers ---- */

static member *new_member(const fleet *f, const fworker *w, uint32_t number) {
    char name[24];
    snprintf(name, sizeof name, "%c%u", role_letters[w->role], number);
    ctl_join join = {.role = w->role,
                     .name = name,
                     .page_count = w->pages,
                     .page_tokens = KV_PAGE_TOKENS,
                     .max_seqs = w->max_seqs,
                     .max_rows = w->shape->max_rows,
                     .max_context = f->opt.max_context ? f->opt.max_context : UINT32_MAX,
                     .kv_token_bytes = 1};
    member *m = member_new(&join, name, number + 1, number + 1, 0);
    m->number = number + 1;
    ctl_heartbeat beat = {0};
    CHECK(member_heard(m, w->pages, &beat, UINT64_MAX, 0)); /* READY */
    return m;
}

static void set_noise(double cv, double *mu, double *sigma) {
    double variance = cv > 0 ? log1p(cv * cv) : 0;
    *sigma = sqrt(variance);
    *mu = -variance / 2;
}

static uint64_t whole_ns(double ns) {
    return ns >= 1 ? (uint64_t)llround(MIN(ns, FLEET_SPAN_NS)) : 0;
}

static void add_worker(fleet *f, worker_role role) {
    const fleet_role *shape = &f->opt.placement->roles[role];
    const profile_engine *e = profile_find(f->opt.profile, role, shape->tp, shape->pp);
    uint32_t number = f->worker_count++;
    fworker *w = &f->workers[number];
    *w = (fworker){.role = role,
                   .shape = shape,
                   .engine = e,
                   .pages = pages_of(shape, e),
                   .free_pages = pages_of(shape, e),
                   .max_seqs = seqs_of(shape, e),
                   .lane_count = shape->pp,
                   .gap_ns = whole_ns(e->gap_ns)};
    set_noise(e->prefill_cv, &w->prefill_mu, &w->prefill_sigma);
    set_noise(e->decode_cv, &w->decode_mu, &w->decode_sigma);
    chain_init(&w->prompts);
    chain_init(&w->expected);
    w->stage_free_ns = xcalloc(w->lane_count, sizeof *w->stage_free_ns);
    w->lanes = xcalloc(w->lane_count, sizeof *w->lanes);
    for (uint32_t i = 0; i < w->lane_count; i++) {
        lane *l = &w->lanes[i];
        l->worker = number;
        l->number = f->lane_count;
        chain_init(&l->prompts);
        chain_init(&l->running);
        f->due_ns[f->lane_count] = FLEET_NEVER;
        f->lanes[f->lane_count++] = l;
    }
    w->m = f->members[number] = new_member(f, w, number);
    f->tokens_max = MIN(f->tokens_max, w->m->tokens_max);
    if (f->opt.one_host)
        f->slows = f->slows || e->slowed_by_prefill || e->slowed_by_decode || e->decode_slowed_by_prefill ||
                   e->decode_slowed_by_decode;
}

/* ---- life ---- */

static void look_ahead(fleet *f) {
    uint64_t before = f->coming.at_ns;
    f->has_coming = f->sink.next(f->sink.ctx, &f->coming);
    if (!f->has_coming) return;
    CHECK(f->coming.at_ns >= before);
    CHECK(f->coming.prompt_tokens > 0);
    CHECK(f->coming.output_tokens > 0);
}

status fleet_new(fleet **out, const fleet_options *opt, const fleet_sink *sink, errbuf *eb) {
    PRE(out);
    PRE(opt);
    PRE(opt->profile);
    PRE(opt->placement);
    PRE(sink);
    PRE(sink->next);
    PRE(sink->ended);
    status st = check(opt, eb);
    if (st != ST_OK) return st;
    fleet *f = xcalloc(1, sizeof *f);
    f->opt = *opt;
    f->sink = *sink;
    f->free_slot = SLOT_NONE;
    f->tokens_max = opt->max_context ? opt->max_context : UINT32_MAX;
    for (uint32_t i = 0; i < DESK_LINES; i++) chain_init(&f->lines[i]);
    const profile *p = opt->profile;
    f->arrive_ns = whole_ns(p->overheads.arrive_ns);
    f->dispatch_ns = whole_ns(p->overheads.dispatch_ns);
    f->emit_ns = whole_ns(p->overheads.emit_ns);
    f->handoff_ns = whole_ns(p->overheads.handoff_ns);
    f->latency_ns = whole_ns(p->link.latency_ns);
    uint32_t workers = fleet_placement_workers(opt->placement), lanes = 0;
    for (uint32_t i = 0; i < ROLE_COUNT; i++)
        lanes += opt->placement->roles[i].count * opt->placement->roles[i].pp;
    f->workers = xcalloc(workers, sizeof *f->workers);
    f->members = xcalloc(workers, sizeof(member *));
    f->lanes = xcalloc(lanes, sizeof(lane *));
    f->due_ns = xcalloc(lanes, sizeof *f->due_ns);
    f->steps = xcalloc(lanes, sizeof *f->steps);
    for (uint32_t i = 0; i < ROLE_COUNT; i++)
        for (uint32_t k = 0; k < opt->placement->roles[i].count; k++) add_worker(f, (worker_role)i);
    f->plans = !opt->step_by_step && !f->slows && !sink->token && !sink->step && !sink->decision;
    look_ahead(f);
    *out = f;
    return ST_OK;
}

void fleet_free(fleet *f) {
    if (!f) return;
    for (uint32_t i = 0; i < f->worker_count; i++) {
        fworker *w = &f->workers[i];
        for (uint32_t k = 0; k < w->lane_count; k++) {
            free(w->lanes[k].ends);
            free(w->lanes[k].parts);
            free(w->lanes[k].skipped);
            free(w->lanes[k].planned);
            free(w->lanes[k].ring);
        }
        free(w->lanes);
        free(w->dests);
        free(w->stage_free_ns);
        member_free(w->m);
    }
    for (uint32_t i = 0; i < f->slab_size; i++) free(f->slab[i].times);
    void *all[] = {f->due_ns, f->workers,  f->members, f->lanes,  f->slab,  f->heap,
                   f->soon,   f->steps,    f->mail,    f->tokens, f->slots, f->rows,
                   f->gaps,   f->verdicts, f->prompts, f->chunks, f};
    for (uint32_t i = 0; i < ARRAY_LEN(all); i++) free(all[i]);
}

/* ---- events ---- */

static uint64_t step_ns(const fleet *f) {
    return f->step_count ? f->steps[0].at_ns : FLEET_NEVER;
}

static uint64_t arrival_ns(const fleet *f) {
    if (!f->has_coming) return FLEET_NEVER;
    return MIN(f->coming.at_ns, (uint64_t)FLEET_HORIZON_NS) + f->arrive_ns;
}

/* The first of steps that end, events and arrivals, in this order at equal times. False: none by until_ns. */
static bool run_one(fleet *f, uint64_t until_ns) {
    uint64_t step = step_ns(f), event = fleet_event_ns(f), arrival = arrival_ns(f);
    uint64_t at = MIN(step, MIN(event, arrival));
    if (at == FLEET_NEVER || at > until_ns) return false;
    if (at >= (uint64_t)FLEET_HORIZON_NS) {
        f->failed = errf(
            &f->why, ST_INVALID,
            "the simulation passes a hundred years: steps, overheads or gaps between arrivals are too long");
        return false;
    }
    f->now_ns = at;
    f->totals.events++;
    f->at_lane = UINT32_MAX;
    if (at == step) {
        f->at_lane = f->steps[0].lane;
        work_step_end(f, f->lanes[f->at_lane]);
    } else if (at == event) {
        fevent e = fleet_event_take(f);
        work_event(f, &e);
    } else {
        desk_arrive(f);
        look_ahead(f);
    }
    if (f->mail_count) desk_read(f);
    return true;
}

status fleet_run(fleet *f, uint64_t until_ns, errbuf *eb) {
    PRE(f);
    PRE(until_ns >= f->now_ns);
    while (f->failed == ST_OK && run_one(f, until_ns)) continue;
    if (f->failed != ST_OK) return errf(eb, f->failed, "%s", f->why.text);
    if (!fleet_idle(f)) f->now_ns = until_ns;
    f->at_lane = UINT32_MAX;
    plan_catch_up_all(f);
    return ST_OK;
}

static int by_index(const void *a, const void *b, void *fl) {
    const fleet *f = fl;
    uint64_t x = f->slab[*(const uint32_t *)a].out.index, y = f->slab[*(const uint32_t *)b].out.index;
    return (x > y) - (x < y);
}

void fleet_give_up(fleet *f) {
    PRE(f);
    uint32_t count = 0, *slots = xcalloc(MAX(f->in_flight, 1u), sizeof *slots);
    for (uint32_t i = 0; i < f->slab_size; i++)
        if (f->slab[i].attempt) slots[count++] = i;
    CHECK(count == f->in_flight);
    qsort_r(slots, count, sizeof *slots, by_index, f);
    for (uint32_t i = 0; i < count; i++) {
        fleet_outcome out = f->slab[slots[i]].out;
        out.end = FLEET_UNFINISHED;
        f->sink.ended(f->sink.ctx, &out);
    }
    free(slots);
    f->failed = errf(&f->why, ST_CANCELED, "the fleet was given up");
}

/* ---- what is told ---- */

bool fleet_idle(const fleet *f) {
    PRE(f);
    return !f->has_coming && !f->in_flight && !f->step_count && fleet_event_ns(f) == FLEET_NEVER;
}

fleet_totals fleet_totals_of(const fleet *f) {
    PRE(f);
    fleet_totals t = f->totals;
    t.now_ns = f->now_ns;
    t.in_flight = f->in_flight;
    t.queued = f->lines[DESK_REPLAYS].count + f->lines[DESK_NEW].count;
    return t;
}

uint32_t fleet_worker_count(const fleet *f) {
    PRE(f);
    return f->worker_count;
}

fleet_worker_totals fleet_worker(const fleet *f, uint32_t worker) {
    PRE(f);
    PRE(worker < f->worker_count);
    const fworker *w = &f->workers[worker];
    fleet_worker_totals t = w->totals;
    t.role = w->role;
    t.lanes = w->lane_count;
    t.pages = w->pages;
    t.pages_used = w->pages - w->free_pages;
    t.pages_most = w->pages_most;
    return t;
}

/* Pages of a running sequence while a step may be under way. */
static uint32_t running_pages(const lane *l, uint32_t slot, const freq *r) {
    bool in_step = l->busy && l->decodes;
    for (uint32_t i = 0; i < l->skip_count; i++) in_step = in_step && l->skipped[i] != slot;
    uint32_t rows = lane_rows(l, r);
    return kv_pages_for(MAX(in_step ? rows : rows - 1, r->joined_rows));
}

static bool lane_is_sound(const fleet *f, const fworker *w, const lane *l, uint64_t *pages) {
    uint32_t waiting = 0;
    for (uint32_t s = l->running.first; s != SLOT_NONE; s = f->slab[s].next[BY_DECODE])
        *pages += running_pages(l, s, &f->slab[s]);
    for (uint32_t s = l->prompts.first; s != SLOT_NONE; s = f->slab[s].next[BY_PROMPT], waiting++)
        *pages += f->slab[s].p_pages;
    if (!lane_check(f, l)) return false;
    if (l->busy) return l->place && f->steps[l->place - 1].lane == l->number;
    bool may_begin = w->lane_count == 1 || w->stage_free_ns[0] <= f->now_ns;
    return !may_begin || (!waiting && (!l->running.count || w->coming_pages || w->lane_count > 1));
}

/* What P has of prompts that are computed, and what is on its way back to it. */
static uint64_t kept_pages(const fleet *f, uint32_t worker) {
    uint64_t pages = 0;
    for (uint32_t i = 0; i < f->slab_size; i++) {
        const freq *r = &f->slab[i];
        if (r->attempt && r->p == worker && r->computed) pages += r->p_pages;
    }
    for (uint32_t i = 0; i < f->heap_count; i++)
        if (f->heap[i].kind == FEV_RELEASE && f->heap[i].worker == worker) pages += f->heap[i].slot;
    for (uint32_t i = 0; i < f->soon_count; i++) {
        const fevent *e = &f->soon[(f->soon_first + i) & (f->soon_capacity - 1)];
        if (e->kind == FEV_RELEASE && e->worker == worker) pages += e->slot;
    }
    return pages;
}

static bool worker_is_sound(const fleet *f, const fworker *w) {
    uint64_t pages = w->coming_pages;
    uint32_t begun = 0;
    for (uint32_t i = 0; i < w->lane_count; i++)
        if (!lane_is_sound(f, w, &w->lanes[i], &pages)) return false;
    if (w->role == ROLE_PREFILL) pages += kept_pages(f, (uint32_t)(w - f->workers));
    for (uint32_t s = w->prompts.first; s != SLOT_NONE; s = f->slab[s].next[BY_PROMPT]) {
        pages += f->slab[s].p_pages;
        begun += f->slab[s].in_step;
    }
    for (uint32_t s = w->expected.first; s != SLOT_NONE; s = f->slab[s].next[BY_DECODE])
        pages += f->slab[s].d_pages;
    if (w->role == ROLE_PREFILL && w->prompts.count > begun && w->lane_count == 1 && !w->lanes[0].busy)
        return false;
    return pages == w->pages - w->free_pages && member_check(w->m);
}

bool fleet_check(const fleet *f) {
    PRE(f);
    for (uint32_t i = 0; i < f->worker_count; i++)
        if (!worker_is_sound(f, &f->workers[i])) return false;
    return desk_rests(f);
}
