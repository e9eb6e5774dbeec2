/* Messages from workers. A message of another session, request or attempt is counted and answered with DROP
 * before any state moves (rule 12); what crossed our own RELEASE, CANCEL or DROP on its way is ignored:
 * CLOSED follows it. */
#include "coordinator/state.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/mix.h"
#include "kv/kv_layout.h"

#include <stdlib.h>
#include <string.h>

/* ---- JOIN ---- */

/* splitmix64: the epoch is random, so the incarnations that it seeds are too; never 0. */
static uint64_t next_incarnation(core *c) {
    uint64_t x = mix64(c->opt.epoch + ++c->joins * MIX64_STEP);
    return x ? x : 1;
}

/* join: of the worker; NULL: it speaks without. */
static void refuse(core *c, uint64_t conn, const ctl_join *join, const char *field, const char *why) {
    log_warn("core.member", "worker is refused", "conn=%" PRIu64 " field=%s why=\"%s\"", conn, field, why);
    core_event e = {.kind = EVENT_REFUSED, .worker = join ? join->name : NULL, .cause = field, .reason = why};
    if (join && join->role < ROLE_COUNT) e.role = worker_role_name(join->role);
    if (c->sink.event) c->sink.event(c->sink.ctx, &e);
    ctl_msg msg = {.kind = CTL_REFUSED, .epoch = c->opt.epoch};
    msg.refused.field = field;
    msg.refused.why = why;
    c->sink.send(c->sink.ctx, conn, &msg);
    c->sink.hang_up(c->sink.ctx, conn);
}

static void welcome(core *c, member *m) {
    ctl_msg msg = {.kind = CTL_WELCOME};
    msg.welcome =
        (ctl_welcome){.lease_ns = c->opt.lease_ns, .heartbeat_ns = c->opt.heartbeat_ns, .name = m->name};
    outbox_send(c, m, &msg);
}

static bool name_taken(const core *c, const char *name) {
    for (uint32_t i = 0; i < c->member_count; i++)
        if (!c->members[i]->lost && strcmp(c->members[i]->name, name) == 0) return true;
    return false;
}

/* The places of those that left longest ago are taken first. */
static uint32_t next_number(core *c) {
    bool taken[WORKERS_MAX] = {0};
    CHECK(c->member_count < WORKERS_MAX);
    for (uint32_t i = 0; i < c->member_count; i++) taken[c->members[i]->number % WORKERS_MAX] = true;
    do c->last_number++;
    while (!c->last_number || taken[c->last_number % WORKERS_MAX]);
    return c->last_number;
}

/* Caller frees with free. */
static char *unique_name(const core *c, const char *wanted) {
    char *name = xstrdup(wanted);
    for (uint32_t n = 2; name_taken(c, name); n++) {
        free(name);
        name = xasprintf("%s#%u", wanted, n);
    }
    return name;
}

/* Whether a member's name is the one that it joined under, or was made of it by unique_name. */
static bool goes_by(const member *m, const char *wanted) {
    size_t len = strlen(wanted);
    return strncmp(m->name, wanted, len) == 0 && (!m->name[len] || m->name[len] == '#');
}

/* A process has one worker of a name: when it joins again its earlier session is over, whatever its
 * connection says. */
static void end_earlier_session(core *c, uint64_t conn, const ctl_join *join) {
    for (uint32_t i = 0; i < c->member_count; i++) {
        member *m = c->members[i];
        bool same_worker = m->pid == join->pid && join->pid && join->host &&
                           strcmp(m->host, join->host) == 0 && goes_by(m, join->name);
        if (m->lost || (m->conn != conn && !same_worker)) continue;
        if (m->conn == conn) recovery_unbind(c, m); /* the connection lives on with the new session */
        recovery_lose(c, m, "it joined anew");
    }
}

static bool join_acceptable(core *c, uint64_t conn, const ctl_join *join) {
    errbuf why = {0};
    if (join->page_tokens != KV_PAGE_TOKENS) {
        errf(&why, ST_INVALID, "pages of %u tokens, want %u: start the same version", join->page_tokens,
             KV_PAGE_TOKENS);
        refuse(c, conn, join, "page_tokens", why.text);
        return false;
    }
    if (join->role >= ROLE_COUNT || !join->name || !join->page_count || !join->max_seqs || !join->max_rows) {
        refuse(c, conn, join, "capacity", "role, name, pages, max_seqs and max_rows must all be given");
        return false;
    }
    const char *field = c->opt.mixed_numerics ? NULL : numerics_differ(&c->numerics, join, &why);
    if (field) refuse(c, conn, join, field, why.text);
    return !field;
}

static void on_join(core *c, uint64_t conn, const ctl_msg *msg, uint64_t now_ns) {
    const ctl_join *join = &msg->join;
    member *m = core_member_of(c, conn);
    if (m && member_state_of(m) == MEMBER_JOINING) { /* a retry that crossed WELCOME */
        welcome(c, m);
        return;
    }
    recovery_returned(c, join->last_incarnation);
    end_earlier_session(c, conn, join);
    recovery_lost_members(c, now_ns);
    if (!join_acceptable(c, conn, join)) return;
    if (c->member_count ==
        c->opt.max_workers) { /* unanswered: the worker asks again, and one that died may be gone by then */
        log_warn("core.member", "no place for a worker: raise limits.max_workers", "worker=%s", join->name);
        return;
    }
    char *name = unique_name(c, join->name);
    m = member_new(join, name, conn, next_incarnation(c), now_ns);
    m->number = next_number(c);
    m->free_pages = MIN(msg->free_pages, m->page_count);
    if (!c->numerics.from) numerics_set(&c->numerics, join, name);
    free(name);
    c->members[c->member_count++] = m;
    prefixes_join(c, m);
    u64_map_put(&c->by_conn, conn, m);
    c->judge_ns = 0;
    core_members_changed(c);
    request_table_recall(&c->requests);
    c->counts.workers_joined++;
    log_info("core.member", "worker joins", "worker=%s role=%s pages=%u host=%s pid=%u", m->name,
             worker_role_name(m->role), m->page_count, m->host, m->pid);
    event_of_worker(c, EVENT_JOIN, m, NULL);
    welcome(c, m);
}

/* ---- tokens ---- */

/* The prompt is done: its first token came from the worker that computed it. */
static void prefill_done(core *c, request *r, uint64_t now_ns) {
    if (r->replays == 0 && r->tries == 1) {
        pace_stage(&c->pace, now_ns - r->sm.first_ns[REQ_PREFILL]);
        if (r->expected_ns) pace_error(&c->pace, (int64_t)(now_ns - r->expected_ns));
    }
    if (r->prefill->role == ROLE_COLOCATED) {
        r->decode = r->prefill;
        r->prefill = NULL;
        r->token_ns = now_ns;
        request_move(r, REQ_DECODE, now_ns);
        request_enter(r, STAGE_DECODE, r->decode, now_ns);
    } else {
        r->kv_since_ns = now_ns;
        request_enter(r, STAGE_HANDOFF, r->prefill, now_ns);
        request_move(r, REQ_WAIT_KV, now_ns);
    }
    request_table_place(&c->requests, r);
}

/* Emits what has become contiguous, and ends the request at its last token. */
static void emit(core *c, request *r, member *m, uint64_t now_ns) {
    uint64_t id = r->id;
    core_token t;
    while (token_log_next(&r->log, &t)) {
        finish told = t.token.fin;
        if (told == FINISH_NONE && r->log.count == r->params.max_tokens) t.token.fin = FINISH_LENGTH;
        finish fin = t.token.fin;
        if (t.index == 0) c->counts.prompt_tokens += r->prompt_count;
        c->counts.output_tokens++;
        r->token_ns = now_ns;
        c->sink.token(c->sink.ctx, id, &t);
        r = request_table_find(&c->requests, id);
        if (!r) return; /* the sink ended it */
        if (fin == FINISH_NONE) continue;
        if (told != FINISH_NONE && r->decode == m) { /* a worker that decodes frees by itself */
            prefixes_decoded(c, r);
            holds_closed(&m->holds, id, r->attempt);
            r->decode = NULL;
        }
        core_end end = {.state = REQ_DONE, .fin = fin};
        recovery_end(c, r, &end, now_ns);
        return;
    }
}

static void on_token(core *c, member *m, const ctl_token *t, uint64_t now_ns) {
    hold *h = holds_find(&m->holds, t->req, t->attempt);
    if (!h) {
        event_stale(c, CTL_TOKENS);
        outbox_drop_stale(c, m, t->req, t->attempt);
        return;
    }
    /* P's first token may come when VERIFIED has closed its hold already. */
    if (h->rows || (h->closing && m->role == ROLE_PREFILL)) prefixes_computed(c, m, t);
    holds_answered(&m->holds, h);
    holds_computed(&m->holds, h);
    if (h->closing) return;
    request *r = request_table_find(&c->requests, t->req);
    CHECK(r);
    CHECK((r->prefill == m || r->decode == m));
    if (r->decode == m && request_state(r) != REQ_DECODE) { /* rule 3: no token of unverified KV is emitted */
        recovery_lose_decode(c, r, RETRY_FAILED, "it sent tokens before VERIFIED", now_ns);
        return;
    }
    if (r->params.max_tokens == 0 || request_wants_prompt(r)) {
        recovery_replay(c, r, RETRY_FAILED, "it sent a token before the prompt's log-probabilities", now_ns);
        return;
    }
    switch (token_log_put(&r->log, t->index, &t->token)) {
    case TOKEN_SAME:
        c->counts.duplicate_tokens++;
        break;
    case TOKEN_FAR:
        event_stale(c, CTL_TOKENS);
        break;
    case TOKEN_NEW:
        break;
    case TOKEN_DIFFERS: {
        errbuf eb = {0};
        errf(&eb, ST_CORRUPT,
             "%s computed %d as output token %u, but another token was computed there before", m->name,
             t->token.id, t->index);
        recovery_fail(c, r, ST_CORRUPT, eb.text, now_ns);
        return;
    }
    }
    if (request_state(r) == REQ_PREFILL) prefill_done(c, r, now_ns);
    /* Token k is P's, whoever told of it: D has computed something when k + 1 comes. */
    if (r->verified_ns && !r->own_token_ns && t->index > r->given) {
        r->own_token_ns = now_ns;
        request_enter(r, STAGE_DECODE, m, now_ns);
    }
    emit(c, r, m, now_ns);
}

/* ---- the prompt ---- */

/* Passes on what is new: an attempt after another one tells all of it again. */
static void take_prompt(core *c, request *r, const ctl_prompt *p) {
    uint32_t known = r->scored - p->begin;
    if (known >= p->count) return;
    core_prompt told = {.begin = r->scored, .rows = p->rows + known, .count = p->count - known};
    r->scored += told.count;
    if (c->sink.prompt) c->sink.prompt(c->sink.ctx, r->id, &told);
}

static void on_prompt(core *c, request *r, const member *m, const ctl_prompt *p, uint64_t now_ns) {
    if (r->prefill != m || request_state(r) != REQ_PREFILL) return;
    bool wanted = r->params.prompt_logprobs >= 0;
    bool fits = p->begin <= r->scored && p->count <= r->prompt_count - MIN(p->begin, r->prompt_count);
    if (p->count && wanted && fits) {
        uint64_t id = r->id;
        take_prompt(c, r, p);
        r = request_table_find(&c->requests, id);
        if (!r) return;                       /* the sink ended it */
        request_table_place(&c->requests, r); /* once all is told a D may be asked */
    }
    bool sound = !p->count || (wanted && fits);
    if (sound && !p->done) return;
    if (!sound || r->params.max_tokens > 0 || request_wants_prompt(r)) {
        recovery_replay(c, r, RETRY_FAILED, "it told what nobody asked of the prompt, or left some out",
                        now_ns);
        return;
    }
    c->counts.prompt_tokens += r->prompt_count;
    prefixes_hold(c, r, r->prefill, r->prompt_count);
    core_end end = {.state = REQ_DONE, .fin = FINISH_LENGTH};
    recovery_end(c, r, &end, now_ns);
}

/* ---- the hand-off ---- */

static void on_reserved(core *c, request *r, member *m, uint32_t d_have, uint64_t now_ns) {
    if (r->decode != m || m->role != ROLE_DECODE || request_handoff(r) != HANDOFF_OFFERED) return;
    prefixes_reserved(c, r, m, d_have);
    sm_move(&r->handoff, HANDOFF_RESERVED, now_ns);
    outbox_dest(c, r, d_have, now_ns);
}

/* The worker holds nothing of r any more; its hold may have been renumbered by a DEST that crossed the
 * message. */
static void forget_hold(request *r, member *m) {
    holds_closed(&m->holds, r->id, holds_current(&m->holds, r->id)->attempt);
}

static void on_no_room(core *c, request *r, member *m, uint64_t now_ns) {
    m->full = true;
    if (r->prefill != m) c->counts.retries[RETRY_NO_ROOM]++; /* the other way recovery_replay counts it */
    forget_hold(r, m);
    if (r->prefill == m) {
        r->prefill = NULL;
        recovery_replay(c, r, RETRY_NO_ROOM, "the worker had no room", now_ns);
    } else {
        r->decode = NULL;
        sm_move(&r->handoff, HANDOFF_ABORTED, now_ns);
        request_table_place(&c->requests, r);
    }
}

static void on_verified(core *c, request *r, member *m, const ctl_msg *msg, uint64_t now_ns) {
    if (r->decode != m || request_handoff(r) != HANDOFF_COPYING) return;
    if (request_state(r) == REQ_PREFILL)
        prefill_done(c, r, now_ns); /* D's message overtook P's first token */
    pace_left(&c->handovers, 1);
    r->handoff_ns = now_ns - r->kv_since_ns;
    r->verified_ns = now_ns;
    request_enter(r, STAGE_DECODE_WAIT, m, now_ns);
    r->own_token_ns = 0;
    prefixes_hold(c, r, m, request_rows(r));
    c->counts.handoffs_verified++;
    c->counts.handoff_bytes += msg->verified.bytes;
    c->counts.handoff_ns_sum += r->handoff_ns;
    sm_move(&r->handoff, HANDOFF_VERIFIED, now_ns);
    sm_move(&r->handoff, HANDOFF_RELEASED, now_ns);
    outbox_close(c, r->prefill, r, CTL_RELEASE);
    r->prefill = NULL;
    r->avoid = 0;
    r->token_ns = now_ns;
    request_move(r, REQ_DECODE, now_ns);
    request_table_place(&c->requests, r);
}

static void on_handoff_failed(core *c, request *r, member *m, const ctl_msg *msg, uint64_t now_ns) {
    bool current = r->decode && msg->attempt == r->attempt && request_state(r) != REQ_DECODE;
    if (!current || (r->prefill == m && request_handoff(r) != HANDOFF_COPYING))
        return; /* P speaks of a hand-off that was given up already */
    errbuf eb = {0};
    errf(&eb, ST_PEER, "the hand-off failed at %s, segment %u: %s", m->name, msg->failed.segment,
         msg->failed.why ? msg->failed.why : "no reason given");
    recovery_lose_decode(c, r, RETRY_HANDOFF, eb.text, now_ns);
}

static void on_failed(core *c, request *r, const member *m, const ctl_msg *msg, uint64_t now_ns) {
    errbuf eb = {0};
    errf(&eb, ST_CORRUPT, "%s cannot compute this request: %s", m->name,
         msg->failed.why ? msg->failed.why : "no reason given");
    recovery_fail(c, r, ST_CORRUPT, eb.text, now_ns);
}

/* PREEMPTED, or a CLOSED or NO_ROOM that nobody asked for: the worker holds nothing of r any more. */
static void on_gone_from(core *c, request *r, member *m, const ctl_msg *msg, uint64_t now_ns) {
    core_retry why = msg->kind == CTL_PREEMPTED ? RETRY_PREEMPTED : RETRY_FAILED;
    const char *text = msg->kind == CTL_PREEMPTED ? "it was preempted" : "its worker let go of it";
    bool whole = r->prefill == m || request_state(r) == REQ_DECODE;
    forget_hold(r, m);
    if (r->prefill == m)
        r->prefill = NULL;
    else
        r->decode = NULL;
    if (whole)
        recovery_replay(c, r, why, text, now_ns);
    else
        recovery_lose_decode(c, r, why, text, now_ns);
}

/* An answer to RELEASE, CANCEL or DROP. Of an attempt that the worker was not given it says nothing: what it
 * has to do now stays. */
static void on_closed(core *c, member *m, const ctl_msg *msg) {
    const hold *current = holds_current(&m->holds, msg->req);
    if (current && msg->attempt > current->attempt)
        c->counts.stale_messages++;
    else
        holds_closed(&m->holds, msg->req, msg->attempt);
}

/* ---- sorting ---- */

static void on_request_message(core *c, member *m, const ctl_msg *msg, uint64_t now_ns) {
    hold *h = holds_find(&m->holds, msg->req, msg->attempt);
    if (msg->kind == CTL_CLOSED && (!h || h->closing)) {
        on_closed(c, m, msg);
        return;
    }
    if (!h) {
        event_stale(c, msg->kind);
        outbox_drop_stale(c, m, msg->req, msg->attempt);
        return;
    }
    if (msg->kind != CTL_HANDOFF_FAILED && msg->kind != CTL_VERIFIED) holds_answered(&m->holds, h);
    if (h->closing) return;
    request *r = request_table_find(&c->requests, msg->req);
    CHECK(r);
    CHECK((r->prefill == m || r->decode == m));
    switch (msg->kind) {
    case CTL_NO_ROOM:
        if (request_state(r) == REQ_DECODE) /* an answer to what was never asked */
            on_gone_from(c, r, m, msg, now_ns);
        else
            on_no_room(c, r, m, now_ns);
        break;
    case CTL_RESERVED:
        on_reserved(c, r, m, msg->reserved.d_have, now_ns);
        break;
    case CTL_VERIFIED:
        on_verified(c, r, m, msg, now_ns);
        break;
    case CTL_HANDOFF_FAILED:
        on_handoff_failed(c, r, m, msg, now_ns);
        break;
    case CTL_FAILED:
        on_failed(c, r, m, msg, now_ns);
        break;
    case CTL_PROMPT:
        on_prompt(c, r, m, &msg->prompt, now_ns);
        break;
    case CTL_PREEMPTED:
    case CTL_CLOSED:
        on_gone_from(c, r, m, msg, now_ns);
        break;
    default:
        break; /* inbox_message lets only these through */
    }
}

static void on_heartbeat(core *c, member *m, const ctl_heartbeat *beat, uint64_t now_ns) {
    ctl_msg ack = {.kind = CTL_ACK};
    outbox_send(c, m, &ack);
    if (beat->drain) recovery_drain(c, m, now_ns);
    m->steps_left_out += beat->steps_left_out;
    core_steps steps = {.worker = m->number,
                        .name = m->name,
                        .role = m->role,
                        .steps = beat->steps,
                        .count = beat->step_count,
                        .left_out = beat->steps_left_out,
                        .now_ns = now_ns};
    if (c->sink.steps) c->sink.steps(c->sink.ctx, &steps);
}

static void on_drained(core *c, member *m) {
    if (!m->draining || m->exiting) return;
    /* It was given work since: this answers an earlier DRAIN, and it will answer the one after that again. */
    if (holds_requests(&m->holds, c->ids) > 0) return;
    m->exiting = true;
    c->counts.workers_left++;
    ctl_msg msg = {.kind = CTL_EXIT};
    outbox_send(c, m, &msg);
}

/* Its requests are taken over as after a death; EXIT lets the process end. */
static void on_leaving(core *c, member *m, const ctl_msg *msg) {
    ctl_msg answer = {.kind = CTL_EXIT};
    outbox_send(c, m, &answer);
    recovery_lose(c, m,
                  msg->failed.why && msg->failed.why[0] ? msg->failed.why : "it left and did not say why");
}

static void count_ready(core *c) {
    uint32_t ready[ROLE_COUNT] = {0};
    for (uint32_t i = 0; i < c->member_count; i++)
        if (member_state_of(c->members[i]) == MEMBER_READY) ready[c->members[i]->role]++;
    for (uint32_t i = 0; i < ROLE_COUNT; i++) c->role_peak[i] = MAX(c->role_peak[i], ready[i]);
}

/* True when it came (back) to work. */
static bool heard(core *c, member *m, const ctl_msg *msg, uint64_t now_ns) {
    const ctl_heartbeat *beat = msg->kind == CTL_HEARTBEAT ? &msg->heartbeat : NULL;
    bool came = member_heard(m, msg->free_pages, beat, c->opt.step_age_min_ns, now_ns);
    if (came || (beat && member_step_too_old(m, c->opt.step_age_min_ns))) c->judge_ns = 0;
    if (!came) return false;
    log_info("core.member", "worker is ready", "worker=%s state=%s", m->name, sm_name(&m->sm));
    event_of_worker(c, EVENT_READY, m, NULL);
    c->stirred_decode = c->stirred_queue = true;
    if (m->draining && member_state_of(m) == MEMBER_READY) sm_move(&m->sm, MEMBER_DRAINING, now_ns);
    count_ready(c);
    return true;
}

/* What a prefill worker tells of its pair to a decode worker. */
static void on_pair(core *c, const member *m, const ctl_pair *told) {
    bool known = false;
    for (uint32_t i = 0; i < c->member_count && !known; i++)
        known = c->members[i]->incarnation == told->d_inc && !c->members[i]->lost;
    if (!known) return; /* it went meanwhile */
    pairs_put(&c->pairs, m->incarnation, told);
    if (told->open)
        log_info("core.member", "pair",
                 "prefill=%s d_inc=%" PRIx64 " transport=%s latency_us=%.0f gb_per_s=%.3f", m->name,
                 told->d_inc, told->transport, (double)told->latency_ns / 1e3,
                 (double)told->bytes_per_s / 1e9);
    else
        log_warn("core.member", "pair ended", "prefill=%s d_inc=%" PRIx64 " transport=%s why=\"%s\"", m->name,
                 told->d_inc, told->transport, told->why);
}

/* Its end is noted and will be acted upon by the next turn. */
static bool conn_was_lost(const core *c, uint64_t conn) {
    const member *m = u64_map_get(&c->by_conn, conn);
    return m && m->lost;
}

void inbox_message(core *c, uint64_t conn, const ctl_msg *msg, uint64_t now_ns) {
    PRE(c);
    PRE(msg);
    if (msg->kind == CTL_JOIN) {
        on_join(c, conn, msg, now_ns);
        return;
    }
    member *m = core_member_of(c, conn);
    if (!m) {
        event_stale(c, msg->kind);
        if (conn_was_lost(c, conn)) return;
        refuse(c, conn, NULL, "session", "this session is over: join anew");
        return;
    }
    if (msg->epoch != c->opt.epoch || msg->incarnation != m->incarnation) {
        event_stale(c, msg->kind);
        bool answered =
            msg->req && msg->kind != CTL_CLOSED && msg->kind != CTL_HEARTBEAT && msg->kind != CTL_DRAINED;
        if (answered) outbox_drop_stale(c, m, msg->req, msg->attempt);
        return;
    }
    bool came = heard(c, m, msg, now_ns);
    c->acting = m;
    switch (msg->kind) {
    case CTL_HEARTBEAT:
        on_heartbeat(c, m, &msg->heartbeat, now_ns);
        break;
    case CTL_DRAINED:
        on_drained(c, m);
        break;
    case CTL_LEAVING:
        on_leaving(c, m, msg);
        break;
    case CTL_PAIR:
        on_pair(c, m, &msg->pair);
        break;
    case CTL_TOKENS:
        m->token_ns = m->moved_ns = now_ns;
        for (uint32_t i = 0; i < msg->tokens.count && !m->lost; i++)
            on_token(c, m, &msg->tokens.tokens[i], now_ns);
        break;
    case CTL_NO_ROOM:
    case CTL_RESERVED:
    case CTL_VERIFIED:
    case CTL_HANDOFF_FAILED:
    case CTL_PREEMPTED:
    case CTL_FAILED:
    case CTL_CLOSED:
    case CTL_PROMPT:
        on_request_message(c, m, msg, now_ns);
        break;
    default:
        event_stale(c, msg->kind);
        break; /* a kind that only the coordinator sends */
    }
    c->acting = NULL;
    core_stir_if_eased(c, m);
    if (came && c->opt.try_pairs && !m->lost) outbox_introduce(c, m);
}
