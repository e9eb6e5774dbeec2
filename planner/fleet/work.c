/* The workers' part: what prefill_core.c, decode_core.c and colocated_core.c do with messages and steps, over
 * counts. Without a prefix cache. */
#include "planner/fleet/state.h"

#include "base/mem.h"
#include "kv/kv_layout.h"

#include <stdlib.h>

void work_decide(fleet *f, fleet_decision_kind kind, uint32_t slot, uint32_t worker, uint32_t other,
                 uint32_t begin, uint32_t count) {
    if (!f->sink.decision) return;
    fleet_decision d = {.kind = kind,
                        .at_ns = f->now_ns,
                        .req = slot == SLOT_NONE ? UINT64_MAX : f->slab[slot].out.index,
                        .worker = worker,
                        .other = other,
                        .begin = begin,
                        .count = count};
    f->sink.decision(f->sink.ctx, &d);
}

uint32_t work_number(const fleet *f, const fworker *w) {
    return (uint32_t)(w - f->workers);
}

static void say(fleet *f, const fworker *w, const fmail *what) {
    FLEET_GROW(f->mail, f->mail_count, f->mail_capacity, 16);
    fmail *l = &f->mail[f->mail_count++];
    *l = *what;
    l->worker = work_number(f, w);
    l->free_pages = w->free_pages;
}

static void add_token(fleet *f, uint32_t slot, bool first, bool last) {
    FLEET_GROW(f->tokens, f->token_count, f->token_capacity, 64);
    f->tokens[f->token_count++] = (ftoken){.slot = slot, .first = first, .last = last};
}

void work_take_pages(fworker *w, uint32_t pages) {
    CHECK(pages <= w->free_pages);
    w->free_pages -= pages;
    w->pages_most = MAX(w->pages_most, w->pages - w->free_pages);
}

static void put_pages(fworker *w, uint32_t pages) {
    w->free_pages += pages;
    CHECK(w->free_pages <= w->pages);
}

static uint32_t decoding(const fworker *w) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->lane_count; i++) n += w->lanes[i].running.count;
    return n;
}

/* The one with the fewest. */
static uint32_t lane_for(const fworker *w) {
    uint32_t best = 0, least = UINT32_MAX;
    for (uint32_t i = 0; i < w->lane_count; i++) {
        uint32_t n = w->lanes[i].running.count + w->lanes[i].prompts.count;
        if (n < least) best = i, least = n;
    }
    return best;
}

/* ---- who loses its place ---- */

static void preempt_running(fleet *f, fworker *w, lane *l, uint32_t slot) {
    uint32_t pages = lane_pages(l, &f->slab[slot]);
    lane_leave(f, l, slot);
    put_pages(w, pages);
    say(f, w, &(fmail){.kind = FMAIL_PREEMPTED, .slot = slot});
}

static void preempt_prompt(fleet *f, fworker *w, uint32_t slot) {
    freq *r = &f->slab[slot];
    chain_take(f, &w->lanes[r->lane].prompts, BY_PROMPT, slot);
    put_pages(w, r->p_pages);
    say(f, w, &(fmail){.kind = FMAIL_PREEMPTED, .slot = slot});
}

/* The transfer lets go of the pages first, unless the KV is there. */
static void preempt_expected(fleet *f, fworker *w, uint32_t slot) {
    freq *r = &f->slab[slot];
    chain_take(f, &w->expected, BY_DECODE, slot);
    r->expected = false;
    r->awaited = 0;
    if (r->arrived) {
        r->arrived = false;
        put_pages(w, r->d_pages);
        say(f, w, &(fmail){.kind = FMAIL_PREEMPTED, .slot = slot});
        return;
    }
    w->coming_pages += r->d_pages;
    r->awaited = fleet_post(
        f, &(fevent){.at_ns = f->now_ns, .kind = FEV_DROPPED, .worker = work_number(f, w), .slot = slot});
}

void work_preempt(fleet *f, fworker *w, uint32_t slot) {
    freq *r = &f->slab[slot];
    work_decide(f, FLEET_PREEMPT, slot, work_number(f, w), SLOT_NONE, 0, 0);
    if (w->role == ROLE_COLOCATED && !r->end_place)
        preempt_prompt(f, w, slot);
    else if (!r->end_place)
        preempt_expected(f, w, slot);
    else
        preempt_running(f, w, &w->lanes[r->lane], slot);
}

/* ---- the end of a step ---- */

/* Each row gave a token: told one by one where somebody listens. */
static void tell_rows(fleet *f, const lane *l) {
    uint32_t skipped = 0;
    for (uint32_t s = l->running.first; s != SLOT_NONE; s = f->slab[s].next[BY_DECODE]) {
        const freq *r = &f->slab[s];
        if (skipped < l->skip_count && l->skipped[skipped] == s) {
            skipped++;
            continue;
        }
        if (lane_rows(l, r) == r->joined_rows) continue; /* it came during the step */
        if (r->last_at > l->counter)
            add_token(f, s, false, false);
        else
            add_token(f, s, false, true);
    }
}

static void end_rows(fleet *f, fworker *w, lane *l) {
    gaps_step(f, l, l->end_ns);
    l->counter++;
    for (uint32_t i = 0; i < l->skip_count; i++) lane_hold_back(f, l, l->skipped[i]);
    if (f->sink.token) tell_rows(f, l);
    uint32_t count = 0;
    for (uint32_t s; (s = lane_ended(l)) != SLOT_NONE; count++) {
        form_scratch(f, count + 1);
        f->slots[count] = s;
        uint32_t pages = lane_pages(l, &f->slab[s]);
        lane_leave(f, l, s);
        f->slab[s].key[BY_PROMPT] = f->slab[s].key[BY_DECODE]; /* form_older asks for it */
        put_pages(w, pages);
    }
    if (count > 1) qsort_r(f->slots, count, sizeof *f->slots, form_older, f);
    for (uint32_t i = 0; i < count && !f->sink.token; i++) add_token(f, f->slots[i], false, true);
}

static void end_part(fleet *f, fworker *w, lane *l, const lane_part *part, double *together_ns) {
    freq *r = &f->slab[part->slot];
    bool last = r->emitted + 1 >= r->out.output_tokens;
    r->in_step = false;
    r->rows_done += part->count;
    r->computed = part->last;
    if (w->role == ROLE_PREFILL) link_computed(f, part->slot, part->count, l->begin_ns, together_ns);
    if (!part->last) return;
    w->slots -= w->role == ROLE_PREFILL;
    r->emitted++;
    gaps_token(f, r, f->now_ns);
    chain_take(f, w->role == ROLE_PREFILL ? &w->prompts : &l->prompts, BY_PROMPT, part->slot);
    if (w->role == ROLE_COLOCATED && last) put_pages(w, r->p_pages);
    if (w->role == ROLE_COLOCATED && !last) {
        r->key[BY_DECODE] = r->key[BY_PROMPT];
        lane_join(f, l, part->slot, freq_rows(r) + 1);
    }
    add_token(f, part->slot, true, last);
}

void work_count_step(fleet *f, const lane *l, uint64_t end_ns) {
    fleet_worker_totals *t = &f->workers[l->worker].totals;
    uint64_t span = end_ns - l->begin_ns;
    t->steps++;
    t->busy_ns += span;
    *(l->sums.batch == 0 ? &t->prefill_ns : l->sums.chunks == 0 ? &t->decode_ns : &t->mixed_ns) += span;
    f->totals.steps++;
    if (f->sink.step) f->sink.step(f->sink.ctx, l->worker, l->begin_ns, end_ns, &l->sums);
}

void work_step_end(fleet *f, lane *l) {
    fworker *w = &f->workers[l->worker];
    bool told = l->decodes;
    double together_ns = 0;
    plan_finish(f, l);
    work_count_step(f, l, l->end_ns);
    f->busy[l->sums.chunks == 0]--;
    l->busy = false;
    if (l->decodes) end_rows(f, w, l);
    for (uint32_t i = 0; i < l->part_count; i++) end_part(f, w, l, &l->parts[i], &together_ns);
    if (f->token_count)
        say(f, w, &(fmail){.kind = FMAIL_TOKENS, .count = f->token_count});
    else if (told)
        desk_told(f, l->worker, w->free_pages);
    form_steps(f, w, true);
    if (!l->busy) fleet_step_take(f, l);
}

/* ---- messages ---- */

static void on_prefill(fleet *f, fworker *w, uint32_t slot) {
    freq *r = &f->slab[slot];
    r->key[BY_PROMPT] = w->next_age++;
    if (w->role == ROLE_PREFILL) {
        if (!freq_is_replay(r)) r->key[BY_PROMPT] |= KEY_BEHIND_REPLAYS;
        work_take_pages(w, r->p_pages); /* the desk counts what P has exactly, so there is always room */
        chain_add(f, &w->prompts, BY_PROMPT, slot);
    } else {
        uint32_t headroom = kv_pool_headroom(w->pages, decoding(w));
        if ((uint64_t)r->p_pages + headroom > w->free_pages) {
            say(f, w, &(fmail){.kind = FMAIL_NO_ROOM, .slot = slot});
            return;
        }
        work_take_pages(w, r->p_pages);
        r->lane = lane_for(w);
        chain_add(f, &w->lanes[r->lane].prompts, BY_PROMPT, slot);
        plan_cut(f, &w->lanes[r->lane]);
    }
    form_steps(f, w, false);
}

static void on_reserve(fleet *f, fworker *w, uint32_t slot) {
    freq *r = &f->slab[slot];
    r->d_pages = kv_pages_for(freq_rows(r) + 1);
    uint32_t headroom = kv_pool_headroom(w->pages, decoding(w));
    if ((uint64_t)r->d_pages + headroom > w->free_pages) {
        say(f, w, &(fmail){.kind = FMAIL_NO_ROOM, .slot = slot});
        return;
    }
    work_take_pages(w, r->d_pages);
    if (w->lanes[0].plan_pages > w->free_pages) plan_cut(f, &w->lanes[0]);
    r->key[BY_DECODE] = w->next_age++;
    r->expected = true;
    r->arrived = false;
    chain_add(f, &w->expected, BY_DECODE, slot);
    say(f, w, &(fmail){.kind = FMAIL_RESERVED, .slot = slot});
    link_dest(f, slot);
}

static void join(fleet *f, fworker *w, uint32_t slot) {
    freq *r = &f->slab[slot];
    chain_take(f, &w->expected, BY_DECODE, slot);
    r->expected = r->arrived = false;
    r->awaited = 0;
    r->lane = lane_for(w);
    plan_cut(f, &w->lanes[r->lane]);
    lane_join(f, &w->lanes[r->lane], slot, freq_rows(r) + 1);
}

static void on_verified(fleet *f, fworker *w, const fevent *e) {
    freq *r = &f->slab[e->slot];
    r->arrived = true;
    say(f, w, &(fmail){.kind = FMAIL_VERIFIED, .slot = e->slot});
    if (!f->handoff_ns) {
        join(f, w, e->slot);
        return;
    }
    r->awaited = fleet_post(
        f, &(fevent){
               .at_ns = f->now_ns + f->handoff_ns, .kind = FEV_JOIN, .worker = e->worker, .slot = e->slot});
}

static void on_dropped(fleet *f, fworker *w, uint32_t slot) {
    freq *r = &f->slab[slot];
    r->awaited = 0;
    w->coming_pages -= r->d_pages;
    put_pages(w, r->d_pages);
    say(f, w, &(fmail){.kind = FMAIL_PREEMPTED, .slot = slot});
}

void work_event(fleet *f, const fevent *e) {
    fworker *w = &f->workers[e->worker];
    plan_catch_up(f, &w->lanes[0]);
    bool current = e->slot < f->slab_size && f->slab[e->slot].awaited == e->number;
    switch (e->kind) {
    case FEV_PREFILL:
        on_prefill(f, w, e->slot);
        return;
    case FEV_RESERVE:
        on_reserve(f, w, e->slot);
        break;
    case FEV_RELEASE:
        put_pages(w, e->slot);
        say(f, w, &(fmail){.kind = FMAIL_CLOSED, .req = e->req, .attempt = e->attempt});
        break;
    case FEV_VERIFIED:
        if (current) on_verified(f, w, e);
        break;
    case FEV_JOIN:
        if (current) join(f, w, e->slot);
        break;
    case FEV_DROPPED:
        if (current) on_dropped(f, w, e->slot);
        break;
    case FEV_DESTS:
        link_send(f, w);
        return;
    case FEV_STAGE:
        form_steps(f, w, true);
        return;
    }
    form_steps(f, w, false);
}
