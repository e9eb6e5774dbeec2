/* Messages to workers. Each function also does the bookkeeping that must go with its message, so that no
 * caller can send one without the other: an offer makes a hold, a close marks it closing. */
#include "coordinator/state.h"

#include "kv/kv_layout.h"

void outbox_send(core *c, member *m, ctl_msg *msg) {
    PRE(c);
    PRE(m);
    PRE(msg);
    if (m->lost || !m->conn) return;
    msg->epoch = c->opt.epoch;
    msg->incarnation = m->incarnation;
    c->sink.send(c->sink.ctx, m->conn, msg);
}

static ctl_work work_of(const core *c, const request *r) {
    ctl_work w = {.prompt = r->prompt,
                  .prompt_count = r->prompt_count,
                  .output = r->log.ids,
                  .output_count = r->given,
                  .params = r->params,
                  .cache = c->opt.prefix_cache,
                  .salt = {r->salt[0], r->salt[1]}};
    if (!request_wants_prompt(r)) w.params.prompt_logprobs = -1; /* an earlier attempt has told them */
    return w;
}

void outbox_prefill(core *c, request *r, member *m, uint32_t hinted) {
    PRE(m->role != ROLE_DECODE);
    PRE(!r->prefill);
    bool colocated = m->role == ROLE_COLOCATED;
    uint32_t rows = request_rows(r), held = hinted * KV_PAGE_TOKENS;
    CHECK(held < rows);
    holds_add(&m->holds, r->id, r->attempt, kv_pages_for(colocated ? rows + 1 : rows), rows - held);
    if (!colocated && r->given > 0) holds_replay(&m->holds, r->id);
    r->prefill = m;
    ctl_msg msg = {.kind = CTL_PREFILL, .req = r->id, .attempt = r->attempt, .work = work_of(c, r)};
    msg.work.then_decode = colocated;
    request_table_place(&c->requests, r);
    outbox_send(c, m, &msg);
}

void outbox_reserve(core *c, request *r, member *d, uint32_t hinted, uint64_t now_ns) {
    PRE(d->role == ROLE_DECODE);
    PRE(!r->decode);
    PRE(r->prefill);
    holds_add(&d->holds, r->id, r->attempt, kv_pages_for(request_rows(r) + 1), 0);
    r->decode = d;
    r->hinted = hinted;
    sm_init(&r->handoff, &handoff_sm, now_ns);
    ctl_msg msg = {.kind = CTL_RESERVE, .req = r->id, .attempt = r->attempt, .work = work_of(c, r)};
    msg.work.p_inc = r->prefill->incarnation;
    msg.work.ids_hash = request_ids_hash(r);
    request_table_place(&c->requests, r);
    outbox_send(c, d, &msg);
}

void outbox_dest(core *c, request *r, uint32_t token_begin, uint64_t now_ns) {
    PRE(r->prefill);
    PRE(r->decode);
    PRE(request_handoff(r) == HANDOFF_RESERVED);
    hold *h = holds_current(&r->prefill->holds, r->id);
    CHECK(h);
    ctl_msg msg = {.kind = CTL_DEST, .req = r->id, .attempt = h->attempt};
    msg.dest = (ctl_dest){.d_inc = r->decode->incarnation,
                          .endpoint = r->decode->endpoint,
                          .new_attempt = r->attempt,
                          .token_begin = token_begin};
    h->attempt = r->attempt;
    sm_move(&r->handoff, HANDOFF_COPYING, now_ns);
    c->counts.handoffs_started++;
    outbox_send(c, r->prefill, &msg);
}

void outbox_close(core *c, member *m, request *r, ctl_kind kind) {
    PRE(kind == CTL_RELEASE || kind == CTL_CANCEL || kind == CTL_DROP);
    ctl_msg msg = {.kind = kind, .req = r->id, .attempt = holds_close(&m->holds, r->id)};
    core_stir_if_eased(c, m);
    outbox_send(c, m, &msg);
}

void outbox_drop_stale(core *c, member *m, uint64_t req, uint32_t attempt) {
    PRE(m);
    ctl_msg msg = {.kind = CTL_DROP, .req = req, .attempt = attempt};
    c->counts.drops_sent++;
    outbox_send(c, m, &msg);
}

static void introduce(core *c, member *p, const member *d) {
    ctl_msg msg = {.kind = CTL_PEER, .dest = {.d_inc = d->incarnation, .endpoint = d->endpoint}};
    outbox_send(c, p, &msg);
}

void outbox_introduce(core *c, member *m) {
    PRE(c);
    PRE(m);
    for (uint32_t i = 0; i < c->member_count; i++) {
        member *other = c->members[i];
        bool here = !other->lost && member_state_of(other) != MEMBER_JOINING;
        if (here && m->role == ROLE_PREFILL && other->role == ROLE_DECODE) introduce(c, m, other);
        if (here && m->role == ROLE_DECODE && other->role == ROLE_PREFILL) introduce(c, other, m);
    }
}

void outbox_mourn(core *c, const member *gone) {
    PRE(c);
    PRE(gone);
    worker_role other = gone->role == ROLE_PREFILL ? ROLE_DECODE : ROLE_PREFILL;
    if (gone->role == ROLE_COLOCATED) return;
    for (uint32_t i = 0; i < c->member_count; i++) {
        ctl_msg msg = {.kind = CTL_PEER_GONE, .dest = {.d_inc = gone->incarnation}};
        if (c->members[i]->role == other) outbox_send(c, c->members[i], &msg);
    }
}
