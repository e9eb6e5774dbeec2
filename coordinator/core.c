/* The public functions of the core: life, admission, the turn, and what others may look at. */
#include "coordinator/core.h"

#include "base/log.h"
#include "base/mem.h"
#include "coordinator/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE_TURNS 64u

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
    PRE(opt->max_workers <= WORKERS_MAX);
    PRE(opt->max_attempts > 0);
    PRE(opt->heartbeat_ns > 0);
    PRE(opt->suspect_ns > 0);
    PRE(opt->gone_ns > opt->suspect_ns);
    PRE(opt->max_context > 0);
    core *c = xcalloc(1, sizeof *c);
    c->opt = *opt;
    c->sink = *sink;
    request_table_init(&c->requests, &c->opt);
    c->ids = xcalloc(opt->max_requests, sizeof *c->ids);
    u64_map_init(&c->by_conn, opt->max_workers);
    c->members = xcalloc(opt->max_workers, sizeof(member *));
    prefix_hints_init(&c->computing, PREFIX_HINTS_MAX);
    prefix_hints_init(&c->decoding, PREFIX_HINTS_MAX);
    c->wake_ns = now_ns + opt->heartbeat_ns;
    return c;
}

void core_free(core *c) {
    if (!c) return;
    request_table_done(&c->requests);
    for (uint32_t i = 0; i < c->member_count; i++) member_free(c->members[i]);
    free(c->members);
    free(c->ids);
    u64_map_done(&c->by_conn);
    numerics_done(&c->numerics);
    pairs_done(&c->pairs);
    prefix_hints_done(&c->computing);
    prefix_hints_done(&c->decoding);
    free(c->lost_worker);
    free(c->lost_why);
    free(c);
}

status core_submit_all(core *c, const core_request *r, uint32_t count, uint64_t now_ns, uint64_t *reqs,
                       uint32_t *retry_s, errbuf *eb) {
    PRE(c);
    PRE(r);
    PRE(count > 0);
    PRE(reqs);
    admission_times t;
    status st = admission_judge(c, r, count, now_ns, &t, retry_s, eb);
    if (st != ST_OK) return st;
    for (uint32_t i = 0; i < count; i++) {
        request *q = request_new(++c->last_req, &r[i], admission_max_tokens(c, &r[i]), now_ns);
        q->first_by_ns = t.first_by_ns;
        q->leave_by_ns = t.leave_by_ns;
        q->expected_ns = t.expected_ns;
        request_move(q, REQ_WAIT_PREFILL, now_ns);
        request_enter(q, STAGE_QUEUE, NULL, now_ns);
        q->queue_since_ns = now_ns;
        request_table_add(&c->requests, q);
        c->counts.submitted++;
        reqs[i] = q->id;
    }
    return ST_OK;
}

status core_submit(core *c, const core_request *r, uint64_t now_ns, uint64_t *req, errbuf *eb) {
    return core_submit_all(c, r, 1, now_ns, req, NULL, eb);
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
    if (m) recovery_lose(c, m, why);
}

/* Rule 14: what the loop itself overslept is nobody's silence. Less than a heartbeat is not oversleeping:
 * when deadlines come thick each is met a little late, and together that would be most of the time. */
static void forgive_own_sleep(core *c, uint64_t now_ns) {
    if (now_ns <= c->wake_ns + c->opt.heartbeat_ns) return;
    uint64_t slept_ns = now_ns - c->wake_ns;
    for (uint32_t i = 0; i < c->member_count; i++)
        c->members[i]->heard_ns = MIN(c->members[i]->heard_ns + slept_ns, now_ns);
}

/* One request in its turn, so that a turn costs the same however many there are; core_check looks at all. */
static bool sample_is_sound(const core *c) {
    if (!c->requests.count) return true;
    return request_check(c->requests.items[c->turns / SAMPLE_TURNS % c->requests.count]);
}

uint64_t core_turn(core *c, uint64_t now_ns) {
    PRE(c);
    forgive_own_sleep(c, now_ns);
    recovery_judge_members(c, now_ns);
    recovery_lost_members(c, now_ns);
    recovery_deadlines(c, now_ns);
    dispatch_turn(c, now_ns);
    c->turns++;
    DEBUG_ASSERT(c->turns % SAMPLE_TURNS || sample_is_sound(c));
    c->wake_ns = recovery_next_ns(c, now_ns + c->opt.heartbeat_ns);
    return c->wake_ns;
}

void core_worker_id(uint64_t incarnation, char out[static CORE_WORKER_ID_MAX]) {
    snprintf(out, CORE_WORKER_ID_MAX, "%016" PRIx64, incarnation);
}

status core_worker_called(const core *c, const char *worker, uint32_t *index, errbuf *eb) {
    PRE(c);
    PRE(worker);
    PRE(index);
    for (uint32_t i = 0; i < c->member_count; i++) {
        const member *m = c->members[i];
        char id[CORE_WORKER_ID_MAX];
        core_worker_id(m->incarnation, id);
        if (!member_lives(m) || (strcmp(m->name, worker) != 0 && strcmp(id, worker) != 0)) continue;
        *index = i;
        return ST_OK;
    }
    return errf(eb, ST_INVALID, "no worker is called %.64s: baton-ctl workers lists those that are here",
                worker);
}

void core_drain(core *c, uint32_t index, uint64_t now_ns) {
    PRE(c);
    PRE(index < c->member_count);
    recovery_drain(c, c->members[index], now_ns);
}

status core_undrain(core *c, uint32_t index, uint64_t now_ns, errbuf *eb) {
    PRE(c);
    PRE(index < c->member_count);
    member *m = c->members[index];
    if (m->exiting) return errf(eb, ST_INVALID, "%s has been told to leave already", m->name);
    if (m->beat.drain)
        return errf(eb, ST_INVALID, "%s was asked to stop where it runs (SIGTERM): start it again there",
                    m->name);
    if (!m->draining) return ST_OK;
    m->draining = false;
    core_members_changed(c);
    if (member_state_of(m) == MEMBER_DRAINING) sm_move(&m->sm, MEMBER_READY, now_ns);
    request_table_recall(&c->requests);
    log_info("core.member", "worker drains no more", "worker=%s", m->name);
    event_of_worker(c, EVENT_UNDRAIN, m, NULL);
    return ST_OK;
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

bool core_worker(const core *c, uint32_t index, uint64_t now_ns, core_worker_info *out) {
    PRE(c);
    PRE(out);
    if (index >= c->member_count) return false;
    const member *m = c->members[index];
    *out = (core_worker_info){.conn = m->conn,
                              .incarnation = m->incarnation,
                              .name = m->name,
                              .host = m->host,
                              .role = m->role,
                              .state = member_state_of(m),
                              .page_count = m->page_count,
                              .free_pages = m->free_pages,
                              .pages_promised = m->holds.promised,
                              .assigned = m->holds.count,
                              .silence_ns = now_ns > m->heard_ns ? now_ns - m->heard_ns : 0,
                              .has_work = member_has_work(m),
                              .standing_ns = member_standing(m, now_ns),
                              .token_age_ns = m->token_ns ? now_ns - MIN(m->token_ns, now_ns) : UINT64_MAX,
                              .beat = m->beat,
                              .steps_left_out = m->steps_left_out};
    return true;
}

static const char *name_of(const core *c, uint64_t inc) {
    for (uint32_t i = 0; i < c->member_count; i++)
        if (c->members[i]->incarnation == inc) return c->members[i]->name;
    return NULL;
}

bool core_pair(const core *c, uint32_t index, core_pair_info *out) {
    PRE(c);
    PRE(out);
    if (index >= c->pairs.count) return false;
    const pair_fact *f = &c->pairs.items[index];
    *out = (core_pair_info){.prefill = name_of(c, f->p_inc), .decode = name_of(c, f->d_inc), .fact = f};
    return true;
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

/* A prompt that is computed and whose KV is not verified elsewhere. */
static void count_pinned(const request *r, core_counters *out) {
    uint32_t pages = holds_current(&r->prefill->holds, r->id)->pages;
    out->pages_pinned += pages;
    if (request_handoff(r) == HANDOFF_COPYING) return;
    out->parked++;
    out->parked_bytes += (uint64_t)pages * KV_PAGE_TOKENS * r->prefill->kv_token_bytes;
    if (!out->parked_since_ns || r->kv_since_ns < out->parked_since_ns) out->parked_since_ns = r->kv_since_ns;
}

/* What a hold of m stands for that is not closing. */
static void count_hold(const core *c, const member *m, const hold *h, core_holding *out) {
    const request *r = request_table_find(&c->requests, h->req);
    CHECK(r);
    if (request_state(r) == REQ_DECODE) {
        out->decoding++;
    } else if (m->role == ROLE_DECODE) {
        out->reserved++;
        out->pages_reserved += h->pages;
    } else if (h->rows) {
        out->computing++;
    } else {
        out->pages_pinned += h->pages;
        bool sends = request_handoff(r) == HANDOFF_COPYING;
        out->sending += sends;
        out->parked += !sends;
    }
}

void core_holding_of(const core *c, uint32_t index, core_holding *out) {
    PRE(c);
    PRE(index < c->member_count);
    PRE(out);
    const member *m = c->members[index];
    *out = (core_holding){0};
    for (uint32_t i = 0; i < m->holds.count; i++) {
        if (m->holds.items[i]->closing)
            out->closing++;
        else
            count_hold(c, m, m->holds.items[i], out);
    }
}

void core_counters_of(const core *c, core_counters *out) {
    PRE(c);
    PRE(out);
    *out = c->counts;
    out->queue_tokens = c->requests.queued_tokens;
    out->queue_clients = c->requests.fair.active.count;
    out->queue_tokens_per_s = pace_rate(&c->pace, 0);
    out->margin_ns = (uint64_t)c->pace.margin_ns;
    for (uint32_t i = 0; i < c->requests.count; i++) {
        const request *r = c->requests.items[i];
        req_state s = request_state(r);
        out->requests[s]++;
        out->handoffs_pending += request_handoff(r) == HANDOFF_COPYING;
        if (s == REQ_WAIT_KV) count_pinned(r, out);
    }
}

/* False: r has no hand-off that goes on. */
static bool handoff_of(const request *r, uint64_t now_ns, core_handoff *out) {
    bool copies = request_handoff(r) == HANDOFF_COPYING, waits = request_state(r) == REQ_WAIT_KV;
    if (!copies && !waits) return false;
    uint64_t since_ns = now_ns;
    if (copies) since_ns = MIN(since_ns, r->handoff.entered_ns[HANDOFF_COPYING]);
    if (waits) since_ns = MIN(since_ns, r->kv_since_ns);
    *out = (core_handoff){.req = r->id,
                          .prefill = r->prefill->name,
                          .decode = r->decode ? r->decode->name : NULL,
                          .age_ns = now_ns - since_ns};
    return true;
}

uint32_t core_handoffs(const core *c, uint64_t now_ns, core_handoff *out, uint32_t max) {
    PRE(c);
    PRE(out || max == 0);
    uint32_t count = 0, kept = 0;
    for (uint32_t i = 0; i < c->requests.count; i++) {
        core_handoff h;
        if (!handoff_of(c->requests.items[i], now_ns, &h)) continue;
        count++;
        if (kept == max && (!max || out[kept - 1].age_ns >= h.age_ns)) continue;
        uint32_t at = kept < max ? kept++ : kept - 1;
        for (; at > 0 && out[at - 1].age_ns < h.age_ns; at--) out[at] = out[at - 1];
        out[at] = h;
    }
    return count;
}

uint32_t core_alive(const core *c, uint64_t now_ns, core_record *out, uint32_t max) {
    PRE(c);
    PRE(out || max == 0);
    uint32_t count = c->requests.count;
    for (uint32_t i = 0; i < count; i++) c->ids[i] = c->requests.items[i]->id;
    qsort(c->ids, count, sizeof *c->ids, request_id_compare);
    count = MIN(count, max);
    for (uint32_t i = 0; i < count; i++)
        request_record(request_table_find(&c->requests, c->ids[i]), now_ns, &out[i]);
    return count;
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
        position += same_kind ? request_queue_key(o) < request_queue_key(r) : request_is_replay(o);
    }
    return position;
}

/* A current hold belongs to a living request that names this worker, or nobody would ever close it:
 * request_check has found one hold for each worker that a request names, so the two numbers must be the same.
 */
static bool holds_are_owned(const core *c) {
    uint32_t current = 0, named = 0;
    for (uint32_t i = 0; i < c->member_count; i++) {
        const holds *h = &c->members[i]->holds;
        for (uint32_t k = 0; k < h->count; k++) current += !h->items[k]->closing;
    }
    for (uint32_t i = 0; i < c->requests.count; i++) {
        const request *r = c->requests.items[i];
        named += (r->prefill != NULL) + (r->decode != NULL);
    }
    return current == named;
}

bool core_check(const core *c) {
    PRE(c);
    if (!request_table_check(&c->requests)) return false;
    for (uint32_t i = 0; i < c->requests.count; i++)
        if (!request_check(c->requests.items[i])) return false;
    for (uint32_t i = 0; i < c->member_count; i++)
        if (!member_check(c->members[i])) return false;
    if (!holds_are_owned(c) || !dispatch_check(c)) return false;
    if (!prefix_hints_check(&c->computing) || !prefix_hints_check(&c->decoding)) return false;
    if (c->admission.known) {
        const admission now = admission_look(c), *kept = &c->admission;
        if (now.route != kept->route || now.tokens != kept->tokens || now.pool != kept->pool) return false;
    }
    return c->requests.count <= c->opt.max_requests && c->member_count <= c->opt.max_workers;
}
