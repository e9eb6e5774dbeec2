#include "coordinator/request.h"

#include "base/mem.h"
#include "base/mix.h"
#include "coordinator/member.h"
#include "kv/kv_layout.h"

#include <stdlib.h>
#include <string.h>

#define ENDS (SM_TO(REQ_FAILED) | SM_TO(REQ_CANCELED))

static const sm_state request_states[] = {
    [REQ_NEW] = {"NEW", SM_TO(REQ_WAIT_PREFILL) | ENDS, false},
    /* To DONE: a stop string is found in tokens whose worker died while the text was searched. */
    [REQ_WAIT_PREFILL] = {"WAIT_PREFILL", SM_TO(REQ_PREFILL) | SM_TO(REQ_DONE) | ENDS, false},
    [REQ_PREFILL] = {"PREFILL",
                     SM_TO(REQ_WAIT_KV) | SM_TO(REQ_DECODE) | SM_TO(REQ_DONE) | SM_TO(REQ_WAIT_PREFILL) |
                         ENDS,
                     false},
    [REQ_WAIT_KV] = {"WAIT_KV",
                     SM_TO(REQ_DECODE) | SM_TO(REQ_WAIT_KV) | SM_TO(REQ_DONE) | SM_TO(REQ_WAIT_PREFILL) |
                         ENDS,
                     false},
    [REQ_DECODE] = {"DECODE", SM_TO(REQ_DONE) | SM_TO(REQ_WAIT_PREFILL) | ENDS, false},
    [REQ_DONE] = {"DONE", 0, true},
    [REQ_FAILED] = {"FAILED", 0, true},
    [REQ_CANCELED] = {"CANCELED", 0, true},
};

const sm_def request_sm = {"request", request_states, ARRAY_LEN(request_states)};

/* ---- token log ---- */

/* Without the alternatives that are not there, which are most of the struct. */
static void set_token(core_token *to, uint32_t index, const token_out *from) {
    to->index = index;
    memcpy(&to->token, from, offsetof(token_out, top) + from->top_count * sizeof *from->top);
}

static core_token *held_of(token_log *log) {
    return log->held ? log->held : &log->next;
}

static void hold_token(token_log *log, uint32_t index, const token_out *token) {
    if (log->held_count == 1 && !log->held) {
        log->held = xcalloc(TOKEN_LOG_HELD_MAX, sizeof *log->held);
        log->held[0] = log->next;
    }
    set_token(&held_of(log)[log->held_count++], index, token);
}

token_put token_log_put(token_log *log, uint32_t index, const token_out *token) {
    PRE(log);
    PRE(token);
    PRE(token->top_count <= SAMPLING_LOGPROBS_MAX);
    if (index < log->count) return log->ids[index] == token->id ? TOKEN_SAME : TOKEN_DIFFERS;
    const core_token *held = held_of(log);
    for (uint32_t i = 0; i < log->held_count; i++)
        if (held[i].index == index) return held[i].token.id == token->id ? TOKEN_SAME : TOKEN_DIFFERS;
    if (log->held_count == TOKEN_LOG_HELD_MAX || index - log->count >= TOKEN_LOG_HELD_MAX) return TOKEN_FAR;
    hold_token(log, index, token);
    return TOKEN_NEW;
}

bool token_log_next(token_log *log, core_token *out) {
    PRE(log);
    PRE(out);
    core_token *held = held_of(log);
    for (uint32_t i = 0; i < log->held_count; i++) {
        if (held[i].index != log->count) continue;
        set_token(out, held[i].index, &held[i].token);
        const core_token *last = &held[--log->held_count];
        if (last != &held[i]) set_token(&held[i], last->index, &last->token);
        if (log->count == log->capacity) {
            log->capacity = log->capacity ? log->capacity * 2 : 64;
            log->ids = xrealloc(log->ids, log->capacity, sizeof *log->ids);
        }
        log->ids[log->count++] = out->token.id;
        return true;
    }
    return false;
}

void token_log_forget_held(token_log *log) {
    PRE(log);
    log->held_count = 0;
}

void token_log_done(token_log *log) {
    PRE(log);
    free(log->ids);
    free(log->held);
    memset(log, 0, sizeof *log);
}

/* ---- request ---- */

request *request_new(uint64_t id, const core_request *in, uint32_t max_tokens, uint64_t now_ns) {
    PRE(in);
    PRE(in->prompt);
    PRE(in->prompt_count > 0);
    PRE(in->priority >= INT16_MIN && in->priority <= INT16_MAX);
    request *r = xcalloc(1, sizeof *r);
    r->id = id;
    r->attempt = r->tries = r->scored = 1;
    r->line = LINE_NONE;
    sm_init(&r->sm, &request_sm, now_ns);
    sm_init(&r->handoff, &handoff_sm, now_ns);
    r->prompt = xmemdup(in->prompt, in->prompt_count * sizeof *in->prompt);
    r->prompt_count = in->prompt_count;
    memcpy(r->salt, in->salt, sizeof r->salt);
    r->priority = (int16_t)in->priority;
    r->client = in->client;
    r->leave_by_ns = r->first_by_ns = UINT64_MAX;
    sampling_copy(&r->params, &in->params);
    r->params.max_tokens = max_tokens;
    return r;
}

void request_free(request *r) {
    if (!r) return;
    token_log_done(&r->log);
    free(r->prompt);
    free(r->chain);
    sampling_done(&r->params);
    free(r);
}

req_state request_state(const request *r) {
    PRE(r);
    return (req_state)r->sm.state;
}

handoff_state request_handoff(const request *r) {
    PRE(r);
    return (handoff_state)r->handoff.state;
}

void request_move(request *r, req_state next, uint64_t now_ns) {
    PRE(r);
    r->grace_ns = 0;
    sm_move(&r->sm, next, now_ns);
}

uint32_t request_rows(const request *r) {
    PRE(r);
    return r->prompt_count + r->given;
}

uint32_t request_tokens_max(const request *r) {
    PRE(r);
    return r->prompt_count + MAX(r->params.max_tokens, 1u);
}

static int32_t id_at(const request *r, uint32_t row) {
    return row < r->prompt_count ? r->prompt[row] : r->log.ids[row - r->prompt_count];
}

void request_chain_to(request *r, uint32_t rows) {
    PRE(r);
    PRE(rows <= r->prompt_count + r->log.count);
    uint32_t pages = rows / KV_PAGE_TOKENS, have = r->chain_pages;
    if (pages <= have) return;
    r->chain = xrealloc(r->chain, pages, sizeof *r->chain);
    uint64_t h = have ? r->chain[have - 1] : KV_IDS_HASH_START ^ mix64(r->salt[0]) ^ r->salt[1];
    for (uint32_t i = have; i < pages; i++) {
        int32_t ids[KV_PAGE_TOKENS];
        for (uint32_t k = 0; k < KV_PAGE_TOKENS; k++) ids[k] = id_at(r, i * KV_PAGE_TOKENS + k);
        r->chain[i] = h = kv_ids_hash(h, ids, KV_PAGE_TOKENS);
    }
    r->chain_pages = pages;
}

uint64_t request_ids_hash(const request *r) {
    PRE(r);
    uint64_t h = kv_ids_hash(KV_IDS_HASH_START, r->prompt, r->prompt_count);
    return kv_ids_hash(h, r->log.ids, r->given);
}

bool request_wants_prompt(const request *r) {
    PRE(r);
    return r->params.prompt_logprobs >= 0 && r->scored < r->prompt_count;
}

bool request_ends_with_prefill(const request *r) {
    PRE(r);
    return r->log.count + 1 >= r->params.max_tokens;
}

bool request_is_replay(const request *r) {
    PRE(r);
    return r->attempt > 1;
}

/* 48 bits of the number last for 8,900 years at a thousand requests per second. */
uint64_t request_key(int32_t priority, uint64_t id) {
    return (uint64_t)(uint16_t)(priority - INT16_MIN) << FAIR_ORDER_BITS | id;
}

uint64_t request_queue_key(const request *r) {
    PRE(r);
    return request_key(r->priority, r->id);
}

/* The first token is the entry into the state that it opens: WAIT_KV behind a prefill worker, DECODE on a
 * colocated one, or the end. */
static uint64_t first_token_at(const request *r) {
    uint64_t best = 0;
    static const req_state opened[] = {REQ_WAIT_KV, REQ_DECODE, REQ_DONE};
    for (size_t i = 0; i < ARRAY_LEN(opened); i++) {
        uint64_t at = r->sm.first_ns[opened[i]];
        if (at && (!best || at < best)) best = at;
    }
    return r->log.count ? best : 0;
}

const char *core_stage_name(core_stage stage) {
    static const char *const names[STAGE_COUNT] = {"queue", "prefill", "hand-off", "decode wait", "decode"};
    PRE(stage < STAGE_COUNT);
    return names[stage];
}

void request_enter(request *r, core_stage stage, const member *m, uint64_t now_ns) {
    PRE(r);
    if (r->span_count == CORE_SPANS_MAX) return;
    r->spans[r->span_count++] = (core_span){.begin_ns = now_ns, .worker = m ? m->number : 0, .stage = stage};
}

void request_record(const request *r, uint64_t now_ns, core_record *out) {
    PRE(r);
    PRE(out);
    *out = (core_record){.req = r->id,
                         .state = request_state(r),
                         .prompt_tokens = r->prompt_count,
                         .output_tokens = r->log.count,
                         .attempts = r->tries,
                         .replays = r->replays,
                         .preemptions = r->preemptions,
                         .born_ns = r->sm.first_ns[REQ_NEW],
                         .first_token_ns = first_token_at(r),
                         .end_ns = now_ns,
                         .span_count = r->span_count};
    memcpy(out->spans, r->spans, r->span_count * sizeof *r->spans);
}

core_times request_times(const request *r, uint64_t now_ns) {
    PRE(r);
    uint64_t born = r->sm.first_ns[REQ_NEW];
    uint64_t prefill = r->sm.first_ns[REQ_PREFILL];
    uint64_t first = first_token_at(r);
    core_times t = {.attempts = r->tries,
                    .replays = r->replays,
                    .preemptions = r->preemptions,
                    .cached_tokens = r->cached};
    t.total_ns = now_ns - born;
    t.queue_ns = (prefill ? prefill : now_ns) - born;
    t.handoff_ns = r->handoff_ns;
    uint64_t wait_ns = MAX(r->verified_ns, first);
    if (r->own_token_ns > wait_ns) t.decode_wait_ns = r->own_token_ns - wait_ns;
    if (prefill) t.prefill_ns = (first ? first : now_ns) - prefill;
    if (first) {
        t.first_token_ns = first - born;
        t.decode_ns = now_ns - first;
    }
    return t;
}

static bool sites_fit_state(const request *r) {
    switch (request_state(r)) {
    case REQ_NEW:
    case REQ_WAIT_PREFILL:
        return !r->prefill && !r->decode;
    case REQ_PREFILL:
        if (!r->prefill || (r->prefill->role == ROLE_COLOCATED && r->decode)) return false;
        return r->prefill->role != ROLE_DECODE && (!r->decode || r->decode->role == ROLE_DECODE);
    case REQ_WAIT_KV:
        return r->prefill && r->prefill->role == ROLE_PREFILL &&
               (!r->decode || r->decode->role == ROLE_DECODE);
    case REQ_DECODE:
        return !r->prefill && r->decode && r->decode->role != ROLE_PREFILL;
    case REQ_DONE:
    case REQ_FAILED:
    case REQ_CANCELED:
        return false; /* ended requests are not in the table */
    }
    return false;
}

/* Invariant: the workers named fit the state, each of them holds this very attempt, and nothing ended is
 * alive. */
bool request_check(const request *r) {
    PRE(r);
    if (!sites_fit_state(r)) return false;
    if (r->log.count > r->log.capacity || r->log.held_count > TOKEN_LOG_HELD_MAX) return false;
    if (r->scored == 0 || r->scored > r->prompt_count) return false;
    if (r->log.count > r->params.max_tokens || r->given > r->log.count) return false;
    bool taken = request_handoff(r) == HANDOFF_RESERVED || request_handoff(r) == HANDOFF_COPYING;
    if (taken && !r->decode) return false;
    const hold *hp = r->prefill ? holds_current(&r->prefill->holds, r->id) : NULL;
    const hold *hd = r->decode ? holds_current(&r->decode->holds, r->id) : NULL;
    if ((r->prefill && !hp) || (r->decode && !hd)) return false;
    if (hd && hd->attempt != r->attempt) return false;
    return !hp || hp->attempt <= r->attempt;
}
