#include "coordinator/router.h"

#include "base/mem.h"
#include "kv/kv_layout.h"

static bool overtakes(const member *m, const route_ask *ask) {
    return ask->replay && m->role == ROLE_PREFILL;
}

/* Rows that it would wait for. */
static uint32_t rows_before(const member *m, const route_ask *ask) {
    if (!overtakes(m, ask)) return m->holds.rows;
    return m->holds.replay_rows + MIN(m->holds.rows - m->holds.replay_rows, m->max_rows);
}

/* Load in thousandths: rows over rule 6's two batches, and requests over slots. */
static uint32_t load_of(const member *m, const route_ask *ask) {
    uint64_t rows =
        m->role == ROLE_DECODE ? 0 : 1000ull * rows_before(m, ask) / (2ull * MAX(m->max_rows, 1u));
    uint64_t seqs = m->role == ROLE_PREFILL ? 0 : 1000ull * m->holds.count / MAX(m->max_seqs, 1u);
    return (uint32_t)(rows + seqs);
}

/* What m lacks of the longest prefix that anybody holds, in thousandths like load; more than 0 if anything.
 */
static uint32_t lack_of(const member *m, const route_ask *ask) {
    const prefix_found *f = m->role == ROLE_DECODE ? &ask->decoding : &ask->computing;
    if (!f->most) return 0;
    uint64_t rows = (f->most - prefix_found_pages(f, &m->prefixes)) * (uint64_t)KV_PAGE_TOKENS;
    uint64_t of = m->role == ROLE_DECODE ? (uint64_t)m->page_count * KV_PAGE_TOKENS : 2ull * m->max_rows;
    return (uint32_t)((1000 * rows + of - 1) / MAX(of, 1ull));
}

static uint32_t cost_of(const member *m, const route_ask *ask) {
    return load_of(m, ask) + lack_of(m, ask);
}

/* Rule 6: two batches of prompt rows at most; a prompt longer than that goes to a worker that has none. */
static bool has_time(const member *m, const route_ask *ask) {
    uint32_t assigned = overtakes(m, ask) ? m->holds.replay_rows : m->holds.rows;
    uint32_t rows = ask->rows - prefix_found_pages(&ask->computing, &m->prefixes) * KV_PAGE_TOKENS;
    return assigned == 0 || (uint64_t)assigned + rows <= 2ull * m->max_rows;
}

/* Pages of rows now, and rule 8's headroom where sequences grow. */
static bool has_room(const member *m, const route_ask *ask) {
    if (m->full || member_slots_used(m) >= m->max_seqs || !member_could_fit(m, ask->tokens_max)) return false;
    uint32_t need = kv_pages_for(m->role == ROLE_PREFILL ? ask->rows : ask->rows + 1);
    return (uint64_t)need + member_headroom(m) <= member_available(m);
}

member *router_pick_decode(member_list members, const route_ask *ask, uint64_t kv_token_bytes) {
    PRE(ask);
    member *best = NULL;
    uint32_t best_cost = 0;
    for (uint32_t i = 0; i < members.count; i++) {
        member *m = members.items[i];
        if (m->role != ROLE_DECODE || !member_takes_work(m) || m->kv_token_bytes != kv_token_bytes) continue;
        uint32_t cost = cost_of(m, ask);
        bool worse_avoid = best && m->incarnation == ask->avoid;
        bool better_avoid = best && best->incarnation == ask->avoid;
        if (best && !better_avoid && (worse_avoid || cost >= best_cost)) continue;
        if (!has_room(m, ask)) continue; /* asked last: most of many are out by their cost */
        best = m;
        best_cost = cost;
    }
    return best;
}

static bool decode_exists(member_list members, uint32_t tokens_max, uint64_t kv_token_bytes) {
    for (uint32_t i = 0; i < members.count; i++) {
        const member *m = members.items[i];
        if (m->role == ROLE_DECODE && member_lives(m) && !m->draining &&
            m->kv_token_bytes == kv_token_bytes && member_could_fit(m, tokens_max))
            return true;
    }
    return false;
}

static bool colocated_exists(member_list members, uint32_t tokens_max) {
    for (uint32_t i = 0; i < members.count; i++) {
        const member *m = members.items[i];
        if (m->role == ROLE_COLOCATED && member_lives(m) && !m->draining && member_could_fit(m, tokens_max))
            return true;
    }
    return false;
}

/* Whether a D will take what is parked at p: one that is here, or the next one. */
static bool may_park(member_list members, const route_ask *ask, const member *p) {
    if (decode_exists(members, ask->tokens_max, p->kv_token_bytes)) return true;
    return ask->replay && !colocated_exists(members, ask->tokens_max);
}

/* The D that goes with a P is the same for every P whose tokens take as many bytes, so it is looked for once
 * for as many P in a row as agree: nearly always all of them. */
typedef struct partner {
    bool looked;
    uint64_t kv_token_bytes;
    member *decode; /* NULL: none has room */
} partner;

static member *partner_of(partner *last, member_list members, const route_ask *ask, const member *p) {
    if (!last->looked || last->kv_token_bytes != p->kv_token_bytes) {
        member *d = ask->decode_blocked ? NULL : router_pick_decode(members, ask, p->kv_token_bytes);
        *last = (partner){.looked = true, .kv_token_bytes = p->kv_token_bytes, .decode = d};
    }
    return last->decode;
}

bool router_pick(member_list members, const route_ask *ask, route *out) {
    PRE(ask);
    PRE(out);
    route best = {0}, parked = {0};
    partner last = {0};
    uint32_t best_load = UINT32_MAX, parked_load = UINT32_MAX;
    for (uint32_t i = 0; i < members.count; i++) {
        member *m = members.items[i];
        if (m->role == ROLE_DECODE || !member_takes_work(m)) continue;
        if (best_load == 0) break; /* of a thousand workers many may be idle */
        uint32_t load = cost_of(m, ask);
        if (load >= best_load) continue; /* nor with any partner */
        if (!has_time(m, ask) || !has_room(m, ask)) continue;
        if (m->role == ROLE_PREFILL) {
            member *d = partner_of(&last, members, ask, m);
            if (!d) {
                if (load < parked_load && may_park(members, ask, m)) {
                    parked = (route){.prefill = m};
                    parked_load = load;
                }
                continue;
            }
            load += cost_of(d, ask);
            if (load < best_load) best = (route){.prefill = m, .decode = d}, best_load = load;
        } else if (load < best_load) {
            best = (route){.prefill = m};
            best_load = load;
        }
    }
    if (!best.prefill) best = parked;
    if (!best.prefill) return false;
    *out = best;
    return true;
}

bool router_decode_could_fit(member_list members, uint32_t tokens_max) {
    PRE(tokens_max > 0);
    for (uint32_t i = 0; i < members.count; i++) {
        const member *m = members.items[i];
        if (m->role == ROLE_DECODE && member_lives(m) && !m->draining && member_could_fit(m, tokens_max))
            return true;
    }
    return false;
}

bool router_could_fit(member_list members, const route_ask *ask) {
    PRE(ask);
    PRE(ask->tokens_max > 0);
    for (uint32_t i = 0; i < members.count; i++) {
        const member *m = members.items[i];
        if (m->role == ROLE_DECODE || !member_lives(m) || m->draining ||
            !member_could_fit(m, ask->tokens_max))
            continue;
        if (m->role == ROLE_COLOCATED || may_park(members, ask, m)) return true;
    }
    return false;
}

static uint32_t joined(member_list members, worker_role role) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < members.count; i++) {
        const member *m = members.items[i];
        n += member_lives(m) && !m->draining && m->role == role;
    }
    return n;
}

bool router_missing_role(member_list members, const uint32_t wanted[ROLE_COUNT], bool expected,
                         worker_role *out) {
    PRE(wanted);
    PRE(out);
    bool here[ROLE_COUNT];
    for (uint32_t i = 0; i < ROLE_COUNT; i++)
        here[i] = joined(members, (worker_role)i) > 0 || (expected && wanted[i] > 0);
    if (here[ROLE_COLOCATED] || (here[ROLE_PREFILL] && here[ROLE_DECODE])) return false;
    if (here[ROLE_PREFILL])
        *out = ROLE_DECODE;
    else if (here[ROLE_DECODE])
        *out = ROLE_PREFILL;
    else
        *out = wanted[ROLE_PREFILL] && !wanted[ROLE_COLOCATED] ? ROLE_PREFILL : ROLE_COLOCATED;
    return true;
}
