/* Once per turn: free pages meet those who wait for them, in the order of rule 8.
 *
 *   1. parked KV, oldest first, gets D pages;
 *   2. prompts that are being computed without a D, oldest first, get D pages;
 *   3. the queue: replays first, then first come first served. One that finds no route stops those behind it.
 *
 * Strict order keeps large requests from starving: when an older one waits for D pages no younger one
 * reserves any. Only a request that no living worker could ever hold is passed over; its deadline ends it,
 * or a larger worker that joins. */
#include "coordinator/state.h"

static route_ask ask_of(const request *r) {
    return (route_ask){.rows = request_rows(r), .tokens_max = request_tokens_max(r), .avoid = r->avoid};
}

/* Whether the token that its prefill samples is the last one it may have: then no D is needed (protocol rule
 * 4). */
static bool ends_with_prefill(const request *r) {
    return r->log.count + 1 >= r->params.max_tokens;
}

static bool lacks_decode(const request *r, req_state s) {
    if (s == REQ_PREFILL && ends_with_prefill(r)) return false;
    return request_state(r) == s && !r->d && r->p->role == ROLE_PREFILL;
}

/* False: one of them waits, so nobody younger may take D pages. */
static bool offer_decode(core *c, req_state s, uint64_t now_ns) {
    for (uint32_t i = 0; i < c->requests.count; i++) {
        request *r = c->requests.items[i];
        if (!lacks_decode(r, s)) continue;
        route_ask ask = ask_of(r);
        member *d = router_pick_decode(core_member_list(c), &ask, r->p->kv_token_bytes);
        if (d)
            outbox_reserve(c, r, d, now_ns);
        else if (router_decode_could_fit(core_member_list(c), ask.tokens_max))
            return false;
    }
    return true;
}

/* False: it waits, and those behind it with it. */
static bool route_one(core *c, request *r, bool decode_blocked, uint64_t now_ns) {
    route_ask ask = ask_of(r);
    ask.decode_blocked = decode_blocked || ends_with_prefill(r);
    route to;
    if (!router_pick(core_member_list(c), &ask, &to))
        return !router_could_fit(core_member_list(c), ask.tokens_max);
    request_move(r, REQ_PREFILL, now_ns);
    outbox_prefill(c, r, to.p);
    if (to.d) outbox_reserve(c, r, to.d, now_ns);
    return true;
}

void dispatch_turn(core *c, uint64_t now_ns) {
    bool decode_blocked = !offer_decode(c, REQ_WAIT_KV, now_ns) || !offer_decode(c, REQ_PREFILL, now_ns);
    for (int replays = 1; replays >= 0; replays--) {
        for (uint32_t i = 0; i < c->requests.count; i++) {
            request *r = c->requests.items[i];
            if (request_state(r) != REQ_WAIT_PREFILL || request_is_replay(r) != (replays == 1)) continue;
            if (!route_one(c, r, decode_blocked, now_ns)) return;
            decode_blocked = decode_blocked || lacks_decode(r, REQ_PREFILL);
        }
    }
}
