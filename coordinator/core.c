/* The public functions of the core: life, admission, the turn, and what others may look at. */
#include "coordinator/state.h"

#include "base/log.h"
#include "base/mem.h"
#include "kv/kv_layout.h"
#include "kv/kv_pool.h"

#include <stdlib.h>
#include <string.h>

core *core_new(const core_options *opt, const core_sink *sink, uint64_t now_ns) {
    PRE(opt);
    PRE(sink);
    PRE(sink->send);
    PRE(sink->hang_up);
    PRE(sink->token);
    PRE(sink->end);
    PRE(opt->max_requests > 0);
    PRE(opt->max_queue > 0);
    PRE(opt->max_workers > 0);
    PRE(opt->max_attempts > 0);
    PRE(opt->heartbeat_ns > 0);
    PRE(opt->suspect_ns > 0);
    PRE(opt->gone_ns > opt->suspect_ns);
    PRE(opt->max_context > 0);
    core *c = xcalloc(1, sizeof *c);
    c->opt = *opt;
    c->sink = *sink;
    request_table_init(&c->requests, opt->max_requests);
    c->members = xcalloc(opt->max_workers, sizeof(member *));
    c->wake_ns = now_ns + opt->heartbeat_ns;
    return c;
}

void core_free(core *c) {
    if (!c) return;
    request_table_done(&c->requests);
    for (uint32_t i = 0; i < c->member_count; i++) member_free(c->members[i]);
    free(c->members);
    numerics_done(&c->numerics);
    free(c->lost_worker);
    free(c->lost_why);
    free(c);
}

/* ---- admission ---- */

static uint32_t joined(const core *c, worker_role role) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->member_count; i++) {
        const member *m = c->members[i];
        n += member_lives(m) && !m->draining && m->role == role;
    }
    return n;
}

bool core_missing_role(const core *c, bool expected, worker_role *out) {
    const uint32_t *wanted = c->opt.role_wanted;
    bool here[ROLE_COUNT];
    for (uint32_t i = 0; i < ROLE_COUNT; i++)
        here[i] = joined(c, (worker_role)i) > 0 || (expected && wanted[i] > 0);
    if (here[ROLE_COLOCATED] || (here[ROLE_PREFILL] && here[ROLE_DECODE])) return false;
    if (here[ROLE_PREFILL])
        *out = ROLE_DECODE;
    else if (here[ROLE_DECODE])
        *out = ROLE_PREFILL;
    else
        *out = wanted[ROLE_PREFILL] && !wanted[ROLE_COLOCATED] ? ROLE_PREFILL : ROLE_COLOCATED;
    return true;
}

/* A route can come about: its workers are there, or the config says that they will be. */
static status check_roles(const core *c, errbuf *eb) {
    worker_role missing;
    if (!core_missing_role(c, true, &missing)) return ST_OK;
    return errf(eb, ST_PEER, "no %s worker has joined, and the config wants none: start one",
                worker_role_name(missing));
}

/* Rule 10: tokens (prompt + max_tokens) that the smallest pool can hold, its headroom kept. pool: its worker;
 * NULL when nobody has joined or the context is the limit. */
static uint32_t tokens_limit(const core *c, const member **pool) {
    uint32_t limit = c->opt.max_context;
    *pool = NULL;
    for (uint32_t i = 0; i < c->member_count; i++) {
        const member *m = c->members[i];
        if (!member_lives(m)) continue;
        uint32_t headroom = m->role == ROLE_PREFILL ? 0 : kv_pool_headroom(m->page_count, 1);
        uint32_t pages = m->page_count > headroom ? m->page_count - headroom : 0;
        uint32_t tokens = (uint32_t)MIN((uint64_t)m->max_context, (uint64_t)pages * KV_PAGE_TOKENS);
        if (tokens >= limit) continue;
        limit = tokens;
        *pool = m;
    }
    return limit;
}

static status admit_tokens(const core *c, const core_request *r, uint32_t *max_tokens, errbuf *eb) {
    const member *pool;
    uint32_t limit = tokens_limit(c, &pool);
    uint64_t asked = (uint64_t)r->prompt_count + r->params.max_tokens;
    if (asked <= limit) {
        *max_tokens = r->params.max_tokens;
        return ST_OK;
    }
    if (!r->max_tokens_given && r->prompt_count < limit) {
        *max_tokens = limit - r->prompt_count;
        return ST_OK;
    }
    char sum[96];
    if (r->max_tokens_given)
        snprintf(sum, sizeof sum, "the prompt of %u tokens with max_tokens %u", r->prompt_count,
                 r->params.max_tokens);
    else
        snprintf(sum, sizeof sum, "the prompt of %u tokens", r->prompt_count);
    if (!pool)
        return errf(eb, ST_INVALID, "%s exceeds the context of %u tokens: shorten it or lower max_tokens",
                    sum, limit);
    return errf(eb, ST_INVALID,
                "%s exceeds the %u tokens that the KV pool of %s can hold: shorten it or lower max_tokens",
                sum, limit, pool->name);
}

status core_submit(core *c, const core_request *in, uint64_t now_ns, uint64_t *req, errbuf *eb) {
    PRE(c);
    PRE(in);
    PRE(in->prompt);
    PRE(req);
    if (in->prompt_count == 0 || in->params.max_tokens == 0) {
        c->n.rejected_invalid++;
        return errf(eb, ST_INVALID, "%s must be at least 1",
                    in->prompt_count ? "max_tokens" : "the prompt's token count");
    }
    status st = check_roles(c, eb);
    if (st != ST_OK) return st;
    uint32_t max_tokens = 0;
    st = admit_tokens(c, in, &max_tokens, eb);
    if (st != ST_OK) {
        c->n.rejected_invalid++;
        return st;
    }
    uint32_t queued = request_table_in(&c->requests, REQ_WAIT_PREFILL);
    if (queued >= c->opt.max_queue || c->requests.count >= c->opt.max_requests) {
        c->n.rejected_full++;
        return errf(eb, ST_AGAIN, "the queue is full: %u requests wait, %u are alive; try again later",
                    queued, c->requests.count);
    }
    request *r = request_new(++c->last_req, in, max_tokens, now_ns);
    request_move(r, REQ_WAIT_PREFILL, now_ns);
    r->queue_since_ns = now_ns;
    request_table_add(&c->requests, r);
    c->n.submitted++;
    *req = r->id;
    return ST_OK;
}

static void end_by_client(core *c, uint64_t req, req_state state, uint64_t now_ns) {
    request *r = request_table_find(&c->requests, req);
    if (!r) return;
    core_end end = {.state = state, .fin = FINISH_NONE};
    recovery_end(c, r, &end, now_ns);
}

void core_cancel(core *c, uint64_t req, uint64_t now_ns) {
    PRE(c);
    end_by_client(c, req, REQ_CANCELED, now_ns);
}

void core_finish(core *c, uint64_t req, uint64_t now_ns) {
    PRE(c);
    end_by_client(c, req, REQ_DONE, now_ns);
}

/* ---- events ---- */

void core_message(core *c, uint64_t conn, const ctl_msg *m, uint64_t now_ns) {
    PRE(c);
    PRE(conn);
    PRE(m);
    inbox_message(c, conn, m, now_ns);
}

void core_conn_lost(core *c, uint64_t conn, const char *why, uint64_t now_ns) {
    PRE(c);
    PRE(why);
    (void)now_ns; /* acted upon by the next turn, after every message that came before */
    member *m = core_member_of(c, conn);
    if (m) member_lose(m, why);
}

/* Rule 14: what the loop itself overslept is nobody's silence. */
static void forgive_own_sleep(core *c, uint64_t now_ns) {
    if (now_ns <= c->wake_ns) return;
    uint64_t slept_ns = now_ns - c->wake_ns;
    for (uint32_t i = 0; i < c->member_count; i++)
        c->members[i]->heard_ns = MIN(c->members[i]->heard_ns + slept_ns, now_ns);
}

uint64_t core_turn(core *c, uint64_t now_ns) {
    PRE(c);
    forgive_own_sleep(c, now_ns);
    recovery_judge_members(c, now_ns);
    recovery_lost_members(c, now_ns);
    recovery_deadlines(c, now_ns);
    dispatch_turn(c, now_ns);
    c->turns++;
    DEBUG_ASSERT(c->turns % 64 || core_check(c)); /* sampled: it looks at everything */
    c->wake_ns = MIN(recovery_next_ns(c), now_ns + c->opt.heartbeat_ns);
    return c->wake_ns;
}

void core_drain(core *c, const char *worker, uint64_t now_ns) {
    PRE(c);
    PRE(worker);
    for (uint32_t i = 0; i < c->member_count; i++) {
        member *m = c->members[i];
        if (m->draining || !member_lives(m) || strcmp(m->name, worker) != 0) continue;
        m->draining = true;
        if (member_state_of(m) == MEMBER_READY) sm_move(&m->sm, MEMBER_DRAINING, now_ns);
        ctl_msg msg = {.kind = CTL_DRAIN};
        outbox_send(c, m, &msg);
        log_info("core.member", "worker drains", "worker=%s holds=%u", m->name, m->hold_count);
    }
}

void core_exit_all(core *c, uint64_t now_ns) {
    PRE(c);
    (void)now_ns;
    for (uint32_t i = 0; i < c->member_count; i++) {
        c->members[i]->exiting = true;
        ctl_msg msg = {.kind = CTL_EXIT};
        outbox_send(c, c->members[i], &msg);
    }
}

/* ---- looking ---- */

uint32_t core_workers(const core *c, core_worker_info *out, uint32_t max, uint64_t now_ns) {
    PRE(c);
    PRE((out || max == 0));
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->member_count && n < max; i++) {
        const member *m = c->members[i];
        out[n++] = (core_worker_info){.conn = m->conn,
                                      .incarnation = m->incarnation,
                                      .name = m->name,
                                      .host = m->host,
                                      .role = m->role,
                                      .state = member_state_of(m),
                                      .page_count = m->page_count,
                                      .free_pages = m->free_pages,
                                      .pages_promised = member_promised(m),
                                      .assigned = m->hold_count,
                                      .silence_ns = now_ns > m->heard_ns ? now_ns - m->heard_ns : 0,
                                      .beat = m->beat};
    }
    return n;
}

const char *core_numeric(const core *c, const char *name) {
    PRE(c);
    PRE(name);
    return numerics_get(&c->numerics, name);
}

bool core_last_lost(const core *c, core_lost *out, uint64_t now_ns) {
    PRE(c);
    PRE(out);
    if (!c->lost_worker) return false;
    *out = (core_lost){.worker = c->lost_worker,
                       .why = c->lost_why,
                       .age_ns = now_ns > c->lost_ns ? now_ns - c->lost_ns : 0};
    return true;
}

bool core_ready(const core *c) {
    PRE(c);
    bool ready[ROLE_COUNT] = {0};
    for (uint32_t i = 0; i < c->member_count; i++)
        if (member_takes_work(c->members[i])) ready[c->members[i]->role] = true;
    for (uint32_t i = 0; i < ROLE_COUNT; i++)
        if (c->role_peak[i] < c->opt.role_wanted[i]) return false;
    return ready[ROLE_COLOCATED] || (ready[ROLE_PREFILL] && ready[ROLE_DECODE]);
}

void core_counters_of(const core *c, core_counters *out) {
    PRE(c);
    PRE(out);
    *out = c->n;
    for (uint32_t i = 0; i < c->requests.count; i++) {
        const request *r = c->requests.items[i];
        req_state s = request_state(r);
        out->requests[s]++;
        out->handoffs_pending += s != REQ_DECODE && r->dest_sent;
        if (s == REQ_WAIT_KV) out->pages_pinned += member_hold(r->p, r->id)->pages;
    }
}

bool core_request_times(const core *c, uint64_t req, uint64_t now_ns, core_times *out) {
    PRE(c);
    PRE(out);
    const request *r = request_table_find(&c->requests, req);
    if (!r) return false;
    *out = request_times(r, now_ns);
    return true;
}

req_state core_request_state(const core *c, uint64_t req) {
    PRE(c);
    const request *r = request_table_find(&c->requests, req);
    return r ? request_state(r) : REQ_DONE;
}

uint32_t core_request_position(const core *c, uint64_t req) {
    PRE(c);
    const request *r = request_table_find(&c->requests, req);
    if (!r || request_state(r) != REQ_WAIT_PREFILL) return 0;
    uint32_t position = 1;
    for (uint32_t i = 0; i < c->requests.count; i++) {
        const request *o = c->requests.items[i];
        if (o == r || request_state(o) != REQ_WAIT_PREFILL) continue;
        bool same_kind = request_is_replay(o) == request_is_replay(r);
        position += same_kind ? o->id < r->id : request_is_replay(o);
    }
    return position;
}

/* A current hold belongs to a living request that names this worker, or nobody would ever close it. */
static bool holds_are_owned(const core *c, const member *m) {
    for (uint32_t i = 0; i < m->hold_count; i++) {
        if (m->holds[i].closing) continue;
        const request *r = request_table_find(&c->requests, m->holds[i].req);
        if (!r || (r->p != m && r->d != m)) return false;
    }
    return true;
}

bool core_check(const core *c) {
    PRE(c);
    for (uint32_t i = 0; i < c->requests.count; i++) {
        if (i > 0 && c->requests.items[i - 1]->id >= c->requests.items[i]->id) return false;
        if (!request_check(c->requests.items[i])) return false;
    }
    for (uint32_t i = 0; i < c->member_count; i++)
        if (!member_check(c->members[i]) || !holds_are_owned(c, c->members[i])) return false;
    return c->requests.count <= c->opt.max_requests && c->member_count <= c->opt.max_workers;
}
