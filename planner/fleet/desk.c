/* The coordinator's part: who is routed where, in the order of coordinator/dispatch.c, and what workers tell,
 * as coordinator/inbox.c and recovery.c take it. Each message is followed by a turn, if it may have freed
 * something. */
#include "planner/fleet/state.h"

#include "base/mem.h"
#include "kv/kv_layout.h"

#include <math.h>
#include <stdlib.h>

/* holds want numbers from 1 */
static uint64_t id_of(const freq *r) {
    return r->out.index + 1;
}

static member_list members_of(const fleet *f) {
    return (member_list){.items = f->members, .count = f->worker_count};
}

static uint32_t number_of(const member *m) {
    return m->number - 1;
}

/* ---- slab ---- */

static uint32_t take_slot(fleet *f) {
    if (f->free_slot == SLOT_NONE) {
        uint32_t old = f->slab_size;
        FLEET_GROW(f->slab, f->slab_size, f->slab_size, 64);
        for (uint32_t i = f->slab_size; i-- > old;) {
            f->slab[i] = (freq){.next[BY_LINE] = f->free_slot};
            f->free_slot = i;
        }
    }
    uint32_t slot = f->free_slot;
    f->free_slot = f->slab[slot].next[BY_LINE];
    f->in_flight++;
    return slot;
}

static void put_slot(fleet *f, uint32_t slot) {
    freq *r = &f->slab[slot];
    r->awaited = 0;
    r->attempt = 0; /* nobody's */
    r->time_count = 0;
    r->next[BY_LINE] = f->free_slot;
    f->free_slot = slot;
    f->in_flight--;
}

/* ---- lines ---- */

static bool ends_with_prefill(const freq *r) {
    return r->emitted + 1 >= r->out.output_tokens;
}

static desk_line line_of(const fleet *f, const freq *r) {
    switch (r->state) {
    case FREQ_QUEUED:
        return r->attempt > 1 ? DESK_REPLAYS : DESK_NEW;
    case FREQ_PREFILL:
        if (r->d != SLOT_NONE || f->workers[r->p].role != ROLE_PREFILL || ends_with_prefill(r))
            return DESK_NONE;
        return DESK_COMPUTING;
    case FREQ_WAIT_KV:
        return r->d == SLOT_NONE ? DESK_PARKED : DESK_NONE;
    case FREQ_DECODE:
        break;
    }
    return DESK_NONE;
}

static void set_line(fleet *f, uint32_t slot, desk_line line) {
    freq *r = &f->slab[slot];
    if (line == r->line) return;
    if (r->line != DESK_NONE) chain_take(f, &f->lines[r->line], BY_LINE, slot);
    r->line = line;
    if (line != DESK_NONE) chain_add(f, &f->lines[line], BY_LINE, slot);
}

static void place(fleet *f, uint32_t slot) {
    set_line(f, slot, line_of(f, &f->slab[slot]));
}

static uint32_t queued(const fleet *f) {
    return f->lines[DESK_REPLAYS].count + f->lines[DESK_NEW].count;
}

/* ---- dispatch ---- */

static route_ask ask_of(const freq *r) {
    return (route_ask){.rows = freq_rows(r),
                       .tokens_max = r->out.prompt_tokens + r->out.output_tokens,
                       .avoid = r->avoid,
                       .replay = freq_is_replay(r)};
}

static void reserve(fleet *f, uint32_t slot, member *d) {
    freq *r = &f->slab[slot];
    r->d = number_of(d);
    r->out.decode_worker = r->d;
    holds_add(&d->holds, id_of(r), r->attempt, kv_pages_for(freq_rows(r) + 1), 0);
    fleet_post(
        f, &(fevent){.at_ns = f->now_ns + f->dispatch_ns, .kind = FEV_RESERVE, .worker = r->d, .slot = slot});
}

/* False: one of them waits, so nobody younger may take D pages. */
static bool offer_decode(fleet *f, desk_line line) {
    for (uint32_t slot; (slot = f->lines[line].first) != SLOT_NONE;) {
        freq *r = &f->slab[slot];
        route_ask ask = ask_of(r);
        member *d = router_pick_decode(members_of(f), &ask, f->workers[r->p].m->kv_token_bytes);
        if (!d) return false;
        reserve(f, slot, d);
        place(f, slot);
        work_decide(f, FLEET_RESERVE, slot, r->d, SLOT_NONE, 0, 0);
    }
    return true;
}

/* False: it waits. */
static bool route_one(fleet *f, uint32_t slot, bool decode_blocked) {
    freq *r = &f->slab[slot];
    route_ask ask = ask_of(r);
    ask.decode_blocked = decode_blocked || ends_with_prefill(r);
    route to;
    if (!router_pick(members_of(f), &ask, &to)) return false;
    bool colocated = to.prefill->role == ROLE_COLOCATED;
    uint32_t rows = freq_rows(r);
    r->state = FREQ_PREFILL;
    r->p = number_of(to.prefill);
    r->p_pages = kv_pages_for(colocated ? rows + 1 : rows);
    holds_add(&to.prefill->holds, id_of(r), r->attempt, r->p_pages, rows);
    if (!colocated && freq_is_replay(r)) holds_replay(&to.prefill->holds, id_of(r));
    if (r->out.routed_ns == FLEET_NEVER) r->out.routed_ns = f->now_ns;
    r->out.prefill_worker = r->p;
    if (colocated) r->out.decode_worker = r->p;
    fleet_post(
        f, &(fevent){.at_ns = f->now_ns + f->dispatch_ns, .kind = FEV_PREFILL, .worker = r->p, .slot = slot});
    if (to.decode) reserve(f, slot, to.decode);
    place(f, slot);
    work_decide(f, FLEET_ROUTE, slot, r->p, r->d, 0, 0);
    return true;
}

/* A replay that was routed without a D stands before the one that had none just now: it is asked for at the
 * next message, whoever it is from, so the next step must be told. */
static void ask_again_if(fleet *f, bool changed) {
    if (!changed || f->again) return;
    f->again = true;
    for (uint32_t i = 0; i < f->lane_count; i++) plan_cut(f, f->lanes[i]);
}

static void turn(fleet *f) {
    bool some = false;
    for (uint32_t i = 0; i < DESK_LINES; i++) some = some || f->lines[i].count;
    if (!some) return;
    plan_catch_up_all(f);
    bool parked_wait = !offer_decode(f, DESK_PARKED);
    bool decode_blocked = parked_wait || !offer_decode(f, DESK_COMPUTING);
    uint32_t asked = parked_wait ? SLOT_NONE : f->lines[DESK_COMPUTING].first;
    f->again = false;
    static const desk_line queue[] = {DESK_REPLAYS, DESK_NEW};
    for (uint32_t i = 0; i < ARRAY_LEN(queue); i++) {
        for (uint32_t slot; (slot = f->lines[queue[i]].first) != SLOT_NONE;) {
            if (!route_one(f, slot, decode_blocked)) return;
            decode_blocked = decode_blocked || f->slab[slot].line == DESK_COMPUTING;
            ask_again_if(f, asked != SLOT_NONE && f->lines[DESK_COMPUTING].first != asked);
        }
    }
}

bool desk_rests(const fleet *f) {
    for (uint32_t i = DESK_REPLAYS; i <= DESK_NEW; i++) {
        if (f->lines[i].first == SLOT_NONE) continue;
        const freq *r = &f->slab[f->lines[i].first];
        route_ask ask = ask_of(r);
        ask.decode_blocked =
            f->lines[DESK_PARKED].count || f->lines[DESK_COMPUTING].count || ends_with_prefill(r);
        route to;
        return !router_pick(members_of(f), &ask, &to);
    }
    return true;
}

/* ---- life ---- */

void desk_arrive(fleet *f) {
    fleet_request in = f->coming;
    uint32_t waiting = queued(f);
    fleet_outcome out = {.index = f->arrived++,
                         .end = FLEET_REFUSED,
                         .at_ns = in.at_ns,
                         .routed_ns = FLEET_NEVER,
                         .computed_ns = FLEET_NEVER,
                         .verified_ns = FLEET_NEVER,
                         .first_ns = FLEET_NEVER,
                         .last_ns = FLEET_NEVER,
                         .prompt_tokens = in.prompt_tokens,
                         .output_tokens = in.output_tokens,
                         .prefill_worker = SLOT_NONE,
                         .decode_worker = SLOT_NONE,
                         .itl_max_ms = NAN,
                         .itl_p99_ms = NAN};
    f->totals.arrived++;
    bool full = (f->opt.max_queue && waiting >= f->opt.max_queue) ||
                (f->opt.max_requests && f->in_flight >= f->opt.max_requests);
    if (full || (uint64_t)in.prompt_tokens + in.output_tokens > f->tokens_max) {
        f->totals.refused++;
        f->sink.ended(f->sink.ctx, &out);
        return;
    }
    uint32_t slot = take_slot(f);
    freq *r = &f->slab[slot];
    *r = (freq){.out = out,
                .line = DESK_NONE,
                .attempt = 1,
                .p = SLOT_NONE,
                .d = SLOT_NONE,
                .times = r->times,
                .time_capacity = r->time_capacity};
    r->key[BY_LINE] = out.index;
    place(f, slot);
    if (!waiting || f->again) turn(f); /* else nothing changed for those who wait already */
}

void desk_end(fleet *f, uint32_t slot, fleet_end end, uint64_t last_ns) {
    freq *r = &f->slab[slot];
    set_line(f, slot, DESK_NONE);
    r->out.end = end;
    if (end == FLEET_DONE) {
        r->out.last_ns = last_ns;
        f->totals.done++;
    }
    gaps_outcome(f, r);
    fleet_outcome out = r->out;
    put_slot(f, slot);
    f->sink.ended(f->sink.ctx, &out);
}

static void release(fleet *f, const freq *r) {
    member *m = f->workers[r->p].m;
    uint32_t attempt = holds_close(&m->holds, id_of(r));
    fleet_post(f, &(fevent){.at_ns = f->now_ns,
                            .kind = FEV_RELEASE,
                            .worker = r->p,
                            .slot = r->p_pages,
                            .req = id_of(r),
                            .attempt = attempt});
}

static void replay(fleet *f, uint32_t slot, bool preempted) {
    freq *r = &f->slab[slot];
    r->p = r->d = SLOT_NONE;
    r->attempt++;
    r->given = r->emitted;
    r->rows_done = r->unsent = 0;
    r->computed = r->expected = r->arrived = false;
    r->state = FREQ_QUEUED;
    if (preempted) {
        r->out.preemptions++;
        f->totals.preemptions++;
    }
    place(f, slot);
}

/* ---- mail ---- */

static void on_token(fleet *f, uint32_t worker, const ftoken *t) {
    freq *r = &f->slab[t->slot];
    member *m = f->workers[worker].m;
    uint64_t at_ns = f->now_ns + f->emit_ns;
    if (t->first) {
        hold *h = holds_current(&m->holds, id_of(r));
        CHECK(h);
        holds_answered(&m->holds, h);
        holds_computed(&m->holds, h);
        if (r->out.computed_ns == FLEET_NEVER) r->out.computed_ns = f->now_ns;
        if (r->out.first_ns == FLEET_NEVER) r->out.first_ns = at_ns;
        if (m->role == ROLE_COLOCATED) {
            r->d = r->p;
            r->p = SLOT_NONE;
            r->state = FREQ_DECODE;
        } else {
            r->state = FREQ_WAIT_KV;
        }
        if (!t->last) place(f, t->slot);
    }
    if (f->sink.token) f->sink.token(f->sink.ctx, r->out.index, at_ns);
    if (!t->last) return;
    if (r->d == worker) holds_closed(&m->holds, id_of(r), r->attempt);
    if (r->p != SLOT_NONE) release(f, r);
    desk_end(f, t->slot, FLEET_DONE, at_ns);
}

static void on_verified(fleet *f, uint32_t slot) {
    freq *r = &f->slab[slot];
    CHECK(r->state == FREQ_WAIT_KV);
    if (r->out.verified_ns == FLEET_NEVER) r->out.verified_ns = f->now_ns;
    release(f, r);
    r->p = SLOT_NONE;
    r->avoid = 0;
    r->state = FREQ_DECODE;
}

static void on_no_room(fleet *f, uint32_t slot, member *m) {
    freq *r = &f->slab[slot];
    m->full = true;
    holds_closed(&m->holds, id_of(r), r->attempt);
    if (m->role == ROLE_COLOCATED) {
        replay(f, slot, false);
        return;
    }
    r->d = SLOT_NONE;
    place(f, slot);
}

static void on_preempted(fleet *f, uint32_t slot, member *m) {
    freq *r = &f->slab[slot];
    bool whole = m->role == ROLE_COLOCATED || r->state == FREQ_DECODE;
    holds_closed(&m->holds, id_of(r), r->attempt);
    if (whole) {
        replay(f, slot, true);
        return;
    }
    r->d = SLOT_NONE;
    r->attempt++;
    place(f, slot);
}

static void on_reserved(fleet *f, uint32_t slot, member *m) {
    const freq *r = &f->slab[slot];
    holds_answered(&m->holds, holds_current(&m->holds, id_of(r)));
    hold *h = holds_current(&f->workers[r->p].m->holds, id_of(r));
    CHECK(h);
    h->attempt = r->attempt; /* DEST renumbers P's */
}

static void heard(member *m, uint32_t free_pages) {
    if (free_pages > m->free_pages) m->full = false;
    m->free_pages = free_pages;
}

void desk_told(fleet *f, uint32_t worker, uint32_t free_pages) {
    heard(f->workers[worker].m, free_pages);
    if (f->again) turn(f);
}

void desk_read(fleet *f) {
    uint32_t at = 0;
    for (uint32_t i = 0; i < f->mail_count; i++) {
        const fmail *l = &f->mail[i];
        member *m = f->workers[l->worker].m;
        heard(m, l->free_pages);
        switch (l->kind) {
        case FMAIL_TOKENS:
            for (uint32_t k = 0; k < l->count; k++) on_token(f, l->worker, &f->tokens[at++]);
            break;
        case FMAIL_RESERVED:
            on_reserved(f, l->slot, m);
            if (!f->again) continue; /* nothing became free */
            break;
        case FMAIL_VERIFIED:
            on_verified(f, l->slot);
            break;
        case FMAIL_NO_ROOM:
            on_no_room(f, l->slot, m);
            break;
        case FMAIL_PREEMPTED:
            on_preempted(f, l->slot, m);
            break;
        case FMAIL_CLOSED:
            holds_closed(&m->holds, l->req, l->attempt);
            break;
        }
        turn(f);
    }
    f->mail_count = f->token_count = 0;
}
