/* Once per turn: free pages meet those who wait for them, in the order of rule 8.
 *
 *   1. parked KV, oldest first, gets D pages;
 *   2. prompts that are being computed without a D, oldest first, get D pages;
 *   3. the queue: replays first, then clients in fair turns (fair_queue.h), of each by priority, then the
 *      first come first. One that finds no route stops those behind it; one that could only wait until its
 *      first token is late is ended.
 *
 * Strict order keeps large requests from starving: when an older one waits for D pages no younger one
 * reserves any. Only a request that no living worker could ever hold is passed over; its deadline ends it,
 * or a larger worker that joins.
 *
 * Cost: workers for each one that is served, and once more for the first of each line that waits: but only in
 * a turn before which something changed that could let one be served (core.stirred_*). A token that is only
 * passed on, or a heartbeat that tells of no more room than the last one, is none. */
#include "coordinator/state.h"

#include "base/mem.h"

#define AHEAD_PARTS 8u

static route_ask ask_of(const request *r) {
    return (route_ask){.rows = request_rows(r),
                       .tokens_max = request_tokens_max(r),
                       .avoid = r->avoid,
                       .replay = r->given > 0};
}

static void reserve(core *c, request *r, member *d, const route_ask *ask, uint64_t now_ns) {
    outbox_reserve(c, r, d, prefix_found_pages(&ask->decoding, &d->prefixes), now_ns);
}

static void tell(const core *c, decision_kind kind, const request *r, const member *worker, const member *d) {
    if (!c->sink.decision) return;
    decision told = {.kind = kind,
                     .req = r->id,
                     .attempt = r->attempt,
                     .worker = worker->name,
                     .decode = d ? d->name : NULL};
    c->sink.decision(c->sink.ctx, &told);
}

/* False: one of them waits, so nobody younger may take D pages. */
static bool offer_decode(core *c, request_line line, uint64_t now_ns) {
    for (request *r; (r = request_table_first(&c->requests, line));) {
        route_ask ask = ask_of(r);
        prefixes_ask(c, r, false, true, &ask);
        member *d = router_pick_decode(core_member_list(c), &ask, r->prefill->kv_token_bytes);
        if (d) {
            tell(c, DECISION_RESERVE, r, r->prefill, d);
            reserve(c, r, d, &ask, now_ns);
        } else if (router_decode_could_fit(core_member_list(c), ask.tokens_max)) {
            return false;
        } else {
            request_table_pass_over(&c->requests, r);
        }
    }
    return true;
}

/* How long it should wait before a worker computes its prompt, when it has a time for its first token: those
 * before it have theirs and wait for room at a decode worker, or for the link, and its second token may wait
 * for that for an eighth of its time. So it waits in the queue instead, where admission sees it. */
static uint64_t runs_ahead_ns(core *c, const request *r, uint64_t now_ns) {
    if (r->first_by_ns == UINT64_MAX || r->log.count) return 0;
    uint32_t pending = c->requests.handing_over;
    if (!admission_served(c) || pending <= c->admission.prefills) return 0;
    uint64_t wait_ns = pace_wait_count_ns(&c->handovers, pending, now_ns);
    uint64_t may_ns = (r->first_by_ns - r->sm.first_ns[REQ_NEW]) / AHEAD_PARTS;
    return wait_ns > may_ns ? wait_ns - may_ns : 0;
}

/* One whose time is over before that would only keep those behind it waiting. */
static void give_up(core *c, request *r, uint64_t now_ns) {
    errbuf why = {0};
    errf(&why, ST_TIMEOUT, "%u prompts before it wait for a decode worker", c->requests.handing_over);
    recovery_expire_late(c, r, why.text, now_ns);
}

typedef enum routed { ROUTED, PASSED_OVER, GIVEN_UP, WAITS } routed;

static routed route_one(core *c, request *r, bool decode_blocked, uint64_t now_ns) {
    route_ask ask = ask_of(r);
    ask.decode_blocked = decode_blocked || request_ends_with_prefill(r) || request_wants_prompt(r);
    prefixes_ask(c, r, true, !ask.decode_blocked, &ask);
    route to;
    if (!router_pick(core_member_list(c), &ask, &to)) {
        if (router_could_fit(core_member_list(c), &ask)) return WAITS;
        request_table_pass_over(&c->requests, r);
        return PASSED_OVER;
    }
    bool handed_over = to.prefill->role == ROLE_PREFILL && !request_ends_with_prefill(r);
    uint64_t ahead_ns = handed_over ? runs_ahead_ns(c, r, now_ns) : 0;
    if (ahead_ns && ahead_ns <= r->leave_by_ns - MIN(now_ns, r->leave_by_ns)) {
        c->stirred_queue = true; /* it may be given up as time goes by */
        return WAITS;
    }
    if (ahead_ns) {
        give_up(c, r, now_ns);
        return GIVEN_UP;
    }
    tell(c, DECISION_ROUTE, r, to.prefill, to.decode);
    if (!r->left_queue) pace_left(&c->pace, request_rows(r));
    r->left_queue = true;
    request_move(r, REQ_PREFILL, now_ns);
    request_enter(r, STAGE_PREFILL, to.prefill, now_ns);
    outbox_prefill(c, r, to.prefill, prefix_found_pages(&ask.computing, &to.prefill->prefixes));
    if (to.decode) reserve(c, r, to.decode, &ask, now_ns);
    return ROUTED;
}

static request *first_that_needs_decode(const core *c) {
    request *r = request_table_first(&c->requests, LINE_PARKED);
    return r ? r : request_table_first(&c->requests, LINE_COMPUTING);
}

static request *first_of_queue(const core *c) {
    request *r = request_table_first(&c->requests, LINE_REPLAYS);
    return r ? r : request_table_first(&c->requests, LINE_NEW);
}

static void serve(core *c, uint64_t now_ns) {
    bool look = c->stirred_decode;
    c->stirred_decode = c->stirred_queue = false;
    bool decode_blocked =
        look ? !offer_decode(c, LINE_PARKED, now_ns) || !offer_decode(c, LINE_COMPUTING, now_ns)
             : first_that_needs_decode(c) != NULL;
    for (request *r; (r = first_of_queue(c));) {
        routed how = route_one(c, r, decode_blocked, now_ns);
        c->waits = how == WAITS ? r->id : 0;
        if (how == WAITS) return;
        decode_blocked = decode_blocked || (how == ROUTED && r->line == LINE_COMPUTING);
    }
}

/* What has changed since the last turn. At least once in a heartbeat everything is looked at. */
static void note_changes(core *c, uint64_t now_ns) {
    uint32_t moved = c->requests.moved;
    c->requests.moved = 0;
    if (moved & (1u << LINE_PARKED | 1u << LINE_COMPUTING)) c->stirred_decode = c->stirred_queue = true;
    if (moved && !c->stirred_queue) { /* who comes behind one that waits, waits */
        const request *first = first_of_queue(c);
        c->stirred_queue = first && first->id != c->waits;
    }
    if (now_ns < c->look_ns) return;
    c->look_ns = now_ns + c->opt.heartbeat_ns;
    c->stirred_decode = c->stirred_queue = true;
}

void dispatch_turn(core *c, uint64_t now_ns) {
    PRE(c);
    note_changes(c, now_ns);
    if (c->stirred_queue) serve(c, now_ns);
    pace_turn(&c->handovers, c->requests.handing_over > 0, now_ns);
    pace_turn(&c->pace, request_table_queued(&c->requests) && admission_served(c), now_ns);
}

bool dispatch_check(const core *c) {
    PRE(c);
    if (c->stirred_queue || c->requests.moved) return true;
    member_list members = core_member_list(c);
    const request *waits = first_that_needs_decode(c), *next = first_of_queue(c);
    if (waits) {
        route_ask ask = ask_of(waits);
        if (router_pick_decode(members, &ask, waits->prefill->kv_token_bytes)) return false;
        if (!router_decode_could_fit(members, ask.tokens_max)) return false;
    }
    if (!next) return true;
    route to;
    route_ask ask = ask_of(next);
    ask.decode_blocked = waits;
    return !router_pick(members, &ask, &to) && router_could_fit(members, &ask);
}
