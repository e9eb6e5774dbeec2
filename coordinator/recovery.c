/* How requests end or start again, and how workers leave.
 *
 * Every path out of a state goes through recovery_end, recovery_replay or recovery_lose_decode, and these
 * tell every worker that holds something to let go; that is why no page can be forgotten. Pages of a worker
 * that is GONE need no message: a worker that lost its session drops everything by itself. */
#include "coordinator/state.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static void abort_handoff(request *r, uint64_t now_ns) {
    if (!sm_ended(&r->handoff)) sm_move(&r->handoff, HANDOFF_ABORTED, now_ns);
}

static void let_go(core *c, request *r, ctl_kind kind, uint64_t now_ns) {
    if (r->decode) outbox_close(c, r->decode, r, kind);
    if (r->prefill) outbox_close(c, r->prefill, r, kind);
    abort_handoff(r, now_ns);
    r->prefill = r->decode = NULL;
}

void recovery_end(core *c, request *r, const core_end *end, uint64_t now_ns) {
    PRE(c);
    PRE(r);
    PRE(end);
    prefixes_decoded(c, r);
    let_go(c, r, end->state == REQ_CANCELED ? CTL_CANCEL : CTL_RELEASE, now_ns);
    request_move(r, end->state, now_ns);
    core_times times = request_times(r, now_ns);
    core_record record;
    if (c->sink.record) request_record(r, now_ns, &record);
    uint64_t id = r->id;
    if (end->state == REQ_DONE) c->counts.finished[end->fin]++;
    if (end->state == REQ_FAILED) c->counts.failed++;
    if (end->state == REQ_CANCELED) c->counts.canceled++;
    request_table_remove(&c->requests, r);
    request_free(r);
    if (c->sink.record) c->sink.record(c->sink.ctx, &record);
    c->sink.end(c->sink.ctx, id, end, &times);
}

void recovery_fail(core *c, request *r, status st, const char *why, uint64_t now_ns) {
    PRE(st != ST_OK);
    PRE(why);
    /* ST_CORRUPT: something is broken, not merely busy. */
    log_level level = st == ST_CORRUPT ? LOG_ERROR : LOG_WARN;
    LOG_PICK_(level, "core.request", "failed", "req=%" PRIu64 " status=%s why=\"%s\"", r->id, status_name(st),
              why);
    event_of_request(c, EVENT_REQUEST_FAILED, r, status_name(st), why);
    core_end end = {.state = REQ_FAILED, .st = st, .why = why};
    recovery_end(c, r, &end, now_ns);
}

/* Numbers the next attempt. False: there is none left and the request was ended. */
static bool next_attempt(core *c, request *r, core_retry why, const char *text, uint64_t now_ns) {
    if (retry_counts(why) && r->tries >= c->opt.max_attempts) {
        errbuf eb = {0};
        errf(&eb, ST_PEER, "gave up after %u attempts; the last ended so: %s", r->tries, text);
        recovery_fail(c, r, ST_CORRUPT, eb.text, now_ns);
        return false;
    }
    if (retry_counts(why)) r->tries++;
    r->attempt++;
    return true;
}

void recovery_replay(core *c, request *r, core_retry why, const char *text, uint64_t now_ns) {
    PRE(c);
    PRE(r);
    PRE(text);
    c->counts.retries[why]++;
    /* What found no room has not run: it waits on, and that is nothing to tell of. */
    LOG_PICK_(why == RETRY_NO_ROOM ? LOG_DEBUG : LOG_INFO, "core.request", "goes back to the queue",
              "req=%" PRIu64 " attempt=%u cause=%s why=\"%s\"", r->id, r->attempt, core_retry_name(why),
              text);
    if (why != RETRY_NO_ROOM) event_of_request(c, EVENT_REPLAY, r, core_retry_name(why), text);
    let_go(c, r, CTL_DROP, now_ns);
    if (!next_attempt(c, r, why, text, now_ns)) return;
    token_log_forget_held(&r->log);
    if (!r->own_token_ns) r->verified_ns = 0; /* that D never computed anything */
    r->given = r->log.count;
    request_move(r, REQ_WAIT_PREFILL, now_ns);
    request_enter(r, STAGE_QUEUE, NULL, now_ns);
    /* Without room nothing ran: it waits on with the deadline that it had. */
    if (why != RETRY_NO_ROOM) r->queue_since_ns = now_ns;
    request_table_place(&c->requests, r);
    if (why == RETRY_NO_ROOM) return;
    r->left_queue = false;
    r->replays++;
    c->counts.replays++;
    if (why == RETRY_PREEMPTED) {
        r->preemptions++;
        c->counts.preemptions++;
    }
}

void recovery_lose_decode(core *c, request *r, core_retry why, const char *text, uint64_t now_ns) {
    PRE(c);
    PRE(r);
    PRE(text);
    /* Here and only here: the workers tell of hand-offs that a cancel ended, too, and those are no failures.
     */
    c->counts.retries[why]++;
    log_warn("core.handoff", "failed", "req=%" PRIu64 " attempt=%u cause=%s why=\"%s\"", r->id, r->attempt,
             core_retry_name(why), text);
    event_of_request(c, EVENT_HANDOFF_ABORT, r, core_retry_name(why), text);
    if (r->decode) {
        r->avoid = r->decode->incarnation;
        outbox_close(c, r->decode, r, CTL_DROP);
        r->decode = NULL;
    }
    abort_handoff(r, now_ns);
    c->counts.handoffs_failed += retry_counts(why);
    if (!next_attempt(c, r, why, text, now_ns)) return;
    if (request_state(r) == REQ_WAIT_KV) request_move(r, REQ_WAIT_KV, now_ns);
    request_table_place(&c->requests, r);
}

/* ---- workers ---- */

/* One request of a member that is GONE. Its pointer to the member is cleared first: nobody is there to be
 * told. */
static void orphan(core *c, request *r, member *m, uint64_t now_ns) {
    bool was_p = r->prefill == m;
    req_state s = request_state(r);
    bool executing = was_p ? s == REQ_PREFILL : s == REQ_DECODE;
    errbuf eb = {0};
    errf(&eb, ST_PEER, "%s worker %s is gone: %s", worker_role_name(m->role), m->name, m->lost);
    if (was_p)
        r->prefill = NULL;
    else
        r->decode = NULL;
    bool died = executing && !m->given_up;
    if (died) r->dead = m->incarnation;
    if (died && ++r->deaths >= 2) {
        err_prefix(&eb, ST_PEER,
                   "two workers died while they executed this request, so it is not tried again");
        recovery_fail(c, r, ST_CORRUPT, eb.text, now_ns);
    } else if (was_p || s == REQ_DECODE) {
        recovery_replay(c, r, RETRY_DEATH, eb.text, now_ns);
    } else {
        r->avoid = m->incarnation;
        recovery_lose_decode(c, r, RETRY_DEATH, eb.text, now_ns);
    }
}

void recovery_lose(core *c, member *m, const char *why) {
    PRE(c);
    member_lose(m, why);
    c->some_lost = true;
    core_members_changed(c);
}

void recovery_returned(core *c, uint64_t incarnation) {
    PRE(c);
    if (!incarnation) return;
    for (uint32_t i = 0; i < c->member_count; i++)
        if (c->members[i]->incarnation == incarnation) c->members[i]->given_up = true;
    for (uint32_t i = 0; i < c->requests.count; i++) {
        request *r = c->requests.items[i];
        if (r->dead == incarnation) r->dead = r->deaths = 0;
    }
}

void recovery_drain(core *c, member *m, uint64_t now_ns) {
    PRE(c);
    PRE(m);
    if (m->draining || m->exiting || !member_lives(m)) return;
    m->draining = true;
    core_members_changed(c);
    if (member_state_of(m) == MEMBER_READY) sm_move(&m->sm, MEMBER_DRAINING, now_ns);
    ctl_msg msg = {.kind = CTL_DRAIN};
    outbox_send(c, m, &msg);
    log_info("core.member", "worker drains", "worker=%s holds=%u asked_by=%s", m->name, m->holds.count,
             m->beat.drain ? "itself" : "client");
    event_of_worker(c, EVENT_DRAIN, m, m->beat.drain ? "the worker asked for it" : "a client asked for it");
    worker_role missing;
    if (router_missing_role(core_member_list(c), c->opt.role_wanted, false, &missing))
        log_warn("core.member",
                 "no worker of a role is left that takes requests: start one, or take the drain back",
                 "role=%s", worker_role_name(missing));
}

void recovery_unbind(core *c, member *m) {
    PRE(c);
    if (m->conn) (void)u64_map_take(&c->by_conn, m->conn);
    m->conn = 0;
}

static void note_lost(core *c, const member *m, uint64_t now_ns) {
    c->counts.workers_lost++;
    free(c->lost_worker);
    free(c->lost_why);
    c->lost_worker = xstrdup(m->name);
    c->lost_why = xstrdup(m->lost);
    c->lost_ns = now_ns;
}

/* A process takes all its workers along when it dies, and their connections end one after the other. Until
 * they are heard again they get nothing new: a replay would go to one that is dead too, which would count as
 * a second death. */
static void suspect_siblings(core *c, const member *gone, uint64_t now_ns) {
    if (gone->exiting || !gone->pid) return;
    for (uint32_t i = 0; i < c->member_count; i++) {
        member *m = c->members[i];
        bool sibling = m->pid == gone->pid && strcmp(m->host, gone->host) == 0;
        if (!sibling || member_state_of(m) != MEMBER_READY) continue;
        sm_move(&m->sm, MEMBER_SUSPECT, now_ns);
        event_of_worker(c, EVENT_SUSPECT, m, "another worker of its process is gone");
    }
}

static void member_gone(core *c, member *m, uint64_t now_ns) {
    if (m->exiting) {
        log_info("core.member", "worker left", "worker=%s", m->name);
        event_of_worker(c, EVENT_LEFT, m, m->lost);
    } else {
        log_warn("core.member", "worker is gone", "worker=%s why=\"%s\" holds=%u", m->name, m->lost,
                 m->holds.count);
        event_of_worker(c, EVENT_GONE, m, m->lost);
        note_lost(c, m, now_ns);
    }
    sm_move(&m->sm, MEMBER_GONE, now_ns);
    core_members_changed(c);
    if (m->conn) c->sink.hang_up(c->sink.ctx, m->conn);
    recovery_unbind(c, m);
    pairs_forget(&c->pairs, m->incarnation);
    prefixes_leave(c, m);
    outbox_mourn(c, m);
    suspect_siblings(c, m, now_ns);
    uint32_t count = holds_requests(&m->holds, c->ids);
    qsort(c->ids, count, sizeof *c->ids, request_id_compare); /* oldest first */
    holds_forget(&m->holds);
    c->acting = m;
    for (uint32_t i = 0; i < count; i++) {
        request *r = request_table_find(&c->requests, c->ids[i]);
        if (r && (r->prefill == m || r->decode == m)) orphan(c, r, m, now_ns);
    }
    c->acting = NULL;
}

static void drop_lost_members(core *c, uint64_t now_ns) {
    c->some_lost = false;
    uint32_t kept = 0, count = c->member_count;
    for (uint32_t i = 0; i < count; i++)
        if (c->members[i]->lost) member_gone(c, c->members[i], now_ns);
    for (uint32_t i = 0; i < count; i++) {
        if (member_state_of(c->members[i]) == MEMBER_GONE)
            member_free(c->members[i]);
        else
            c->members[kept++] = c->members[i];
    }
    c->member_count = kept;
}

void recovery_lost_members(core *c, uint64_t now_ns) {
    PRE(c);
    if (!c->some_lost && c->member_count > 0) return;
    if (c->some_lost) drop_lost_members(c, now_ns);
    bool empty = c->member_count == 0 && c->requests.count == 0;
    if (empty && c->numerics.from) numerics_done(&c->numerics); /* nothing left that could differ */
}

/* When silence would next change something */
static uint64_t judge_next(const core *c) {
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < c->member_count; i++)
        next = MIN(next, member_judge_next(c->members[i], &c->opt));
    return next;
}

void recovery_judge_members(core *c, uint64_t now_ns) {
    PRE(c);
    if (now_ns < c->judge_ns) return;
    for (uint32_t i = 0; i < c->member_count; i++) {
        member *m = c->members[i];
        errbuf why = {0};
        member_state was = member_state_of(m);
        bool over = !m->lost && member_judge(m, &c->opt, now_ns, &why);
        if (was != member_state_of(m)) event_of_worker(c, EVENT_SUSPECT, m, "it is silent");
        if (!over) continue;
        /* Told now, read when it wakes: it drops everything and joins anew. */
        ctl_msg msg = {.kind = CTL_REFUSED};
        msg.refused.field = "session";
        msg.refused.why = why.text;
        outbox_send(c, m, &msg);
        m->given_up = true;
        recovery_lose(c, m, why.text);
    }
    c->judge_ns = judge_next(c);
}

/* ---- deadlines of requests ---- */

void recovery_expire_late(core *c, request *r, const char *why, uint64_t now_ns) {
    PRE(c);
    PRE(r);
    PRE(why);
    errbuf eb = {0};
    errf(&eb, ST_TIMEOUT, "its first token cannot come in time any more: %s; try again later", why);
    c->counts.expired++;
    if (r->expected_ns) pace_error(&c->pace, (int64_t)(r->first_by_ns - r->expected_ns));
    recovery_fail(c, r, ST_PEER, eb.text, now_ns);
}

static void expire_in_queue(core *c, request *r, uint64_t now_ns) {
    errbuf why = {0};
    errf(&why, ST_TIMEOUT, "%s within %llu ms",
         admission_served(c) ? "no worker had room for the prompt" : "there was no worker of a role",
         (now_ns - r->sm.first_ns[REQ_NEW]) / NS_PER_MS);
    recovery_expire_late(c, r, why.text, now_ns);
}

static bool none_of_a_role(const core *c, unsigned long long ms, errbuf *eb) {
    worker_role missing;
    if (!router_missing_role(core_member_list(c), c->opt.role_wanted, false, &missing)) return false;
    errf(eb, ST_PEER, "there was no %s worker within %llu ms: start one, or try again later",
         worker_role_name(missing), ms);
    return true;
}

/* What kept it in the queue, and the remedy. */
static void why_it_waited(const core *c, const request *r, errbuf *eb) {
    unsigned long long ms = c->opt.wait_prefill_ns / NS_PER_MS;
    if (router_could_fit(core_member_list(c), &(route_ask){.tokens_max = request_tokens_max(r)}))
        errf(eb, ST_TIMEOUT, "no worker had room for the prompt within %llu ms: try again later", ms);
    else if (!none_of_a_role(c, ms, eb))
        errf(eb, ST_TIMEOUT,
             "no worker joined within %llu ms whose KV pool holds the prompt and max_tokens: lower them", ms);
}

/* Since when the deadline of r counts, and how long it is. False: it waits in the queue, for nobody's work.
 */
static bool limit_of(const core *c, const request *r, uint64_t *begin_ns, uint64_t *limit_ns) {
    switch (request_state(r)) {
    case REQ_PREFILL:
        *begin_ns = r->sm.entered_ns[REQ_PREFILL];
        *limit_ns = c->opt.prefill_ns;
        return true;
    case REQ_WAIT_KV:
        *begin_ns = r->kv_since_ns;
        *limit_ns = c->opt.wait_kv_ns;
        return true;
    case REQ_DECODE:
        *begin_ns = r->token_ns;
        *limit_ns = c->opt.decode_token_ns;
        return true;
    default:
        return false;
    }
}

/* Whether the worker that r waits for was seen to go on with such work: its steps, or, during the hand-off,
 * payload that the receiver verified. Parked KV is nobody's work. */
static bool works_on(const core *c, const request *r, uint64_t look_ns, uint64_t now_ns) {
    const member *m = request_state(r) == REQ_PREFILL ? r->prefill : r->decode;
    if (!m || member_state_of(m) == MEMBER_SUSPECT) return false;
    if (request_state(r) == REQ_WAIT_KV)
        return request_handoff(r) == HANDOFF_COPYING && m->xfer_ns && now_ns - m->xfer_ns < look_ns;
    return member_has_work(m) && member_standing(m, now_ns) < MAX(look_ns, member_patience(m, &c->opt));
}

/* A worker that gets on with its work is slow, not stuck: its requests get ten times as long in all, as long
 * as it moves. False: it does not, or that has passed too. */
static bool gets_on(core *c, request *r, uint64_t now_ns) {
    uint64_t begin_ns, limit_ns;
    if (!limit_of(c, r, &begin_ns, &limit_ns)) return false;
    uint64_t look_ns = MIN(limit_ns, c->opt.step_age_min_ns);
    if (now_ns >= begin_ns + 10 * limit_ns || !works_on(c, r, look_ns, now_ns)) return false;
    r->grace_ns = now_ns + look_ns;
    request_table_place(&c->requests, r);
    return true;
}

static void expire(core *c, request *r, uint64_t now_ns) {
    errbuf eb = {0};
    if (gets_on(c, r, now_ns)) return;
    switch (request_state(r)) {
    case REQ_WAIT_PREFILL:
        if (!r->log.count && r->leave_by_ns <= now_ns) {
            expire_in_queue(c, r, now_ns);
            break;
        }
        why_it_waited(c, r, &eb);
        recovery_fail(c, r, ST_PEER, eb.text, now_ns);
        break;
    case REQ_PREFILL:
        errf(&eb, ST_TIMEOUT, "%s did not finish the prompt of %u tokens within %llu ms", r->prefill->name,
             request_rows(r), (now_ns - r->sm.entered_ns[REQ_PREFILL]) / NS_PER_MS);
        recovery_fail(c, r, ST_TIMEOUT, eb.text, now_ns);
        break;
    case REQ_WAIT_KV:
        /* A replay was computed while there was none. */
        if (r->given && !r->decode && none_of_a_role(c, c->opt.wait_kv_ns / NS_PER_MS, &eb)) {
            recovery_fail(c, r, ST_PEER, eb.text, now_ns);
            break;
        }
        errf(&eb, ST_TIMEOUT, "no decode worker had taken over the KV cache within %llu ms%s%s",
             (now_ns - r->kv_since_ns) / NS_PER_MS, r->decode ? ": still waiting for " : "",
             r->decode ? r->decode->name : "");
        recovery_fail(c, r, ST_TIMEOUT, eb.text, now_ns);
        break;
    case REQ_DECODE:
        errf(&eb, ST_TIMEOUT, "%s sent no token for %llu ms", r->decode->name,
             (now_ns - r->token_ns) / NS_PER_MS);
        recovery_replay(c, r, RETRY_TIMEOUT, eb.text, now_ns);
        break;
    case REQ_NEW:
    case REQ_DONE:
    case REQ_FAILED:
    case REQ_CANCELED:
        CHECK(!"a state without a deadline expired");
    }
}

void recovery_deadlines(core *c, uint64_t now_ns) {
    PRE(c);
    uint32_t count = request_table_due(&c->requests, now_ns, c->ids);
    for (uint32_t i = 0; i < count; i++) {
        request *r = request_table_find(&c->requests, c->ids[i]);
        if (r && request_table_is_due(&c->requests, r, now_ns)) expire(c, r, now_ns);
    }
}

uint64_t recovery_next_ns(core *c, uint64_t limit_ns) {
    PRE(c);
    uint64_t next = request_table_next_ns(&c->requests, limit_ns);
    if (c->judge_ns > next) return next;
    c->judge_ns = judge_next(c);
    return MIN(next, c->judge_ns);
}
