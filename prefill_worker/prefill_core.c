/* prefill_core - the prefill worker's requests: PREFILL -> queue -> chunks -> TOKENS[k] -> pinned -> RELEASE.
 *
 * The KV of a prompt is offered to the transfer thread when its first chunk is about to be computed, so that
 * segments leave layer by layer as soon as a DEST is known. Not earlier: until then the prompt may still take
 * pages of the prefix cache that an older one with the same beginning has filled meanwhile. Rows that were
 * there already are offered as computed. Without a DEST the pages are parked. They stay pinned in any case
 * until RELEASE (or CANCEL, DROP): only the coordinator knows that a D has verified them, and a D that is
 * lost earlier is replaced by another one from the same pages, under the next attempt.
 *
 * A replay overtakes the prompts that its client's tokens do not wait for, those that have begun too.
 *
 * An engine slot is needed only while a prompt is computed; pinned prompts are bounded by the pool and
 * WTABLE_REQUESTS_MAX. */
#include "base/mem.h"
#include "prefill_worker/prefill_policy.h"
#include "worker_core/wstep.h"

#include <stddef.h>
#include <stdlib.h>

typedef struct prefill_core {
    wtable table; /* first: see wtable_core_stats */
    wseq **queue; /* [max_seqs] scratch: the first prompts to be computed, in the order of the table */
    batch_prompt *prompts; /* [max_seqs] of the queue */
    batch_chunk *chunks;   /* [max_seqs] */
} prefill_core;

_Static_assert(offsetof(prefill_core, table) == 0,
               "wtable_core_stats and its like take a core for its table");

static void *prefill_new(const wcore_options *opt, const wcore_sink *sink) {
    PRE(opt);
    PRE(opt->max_rows >= KV_PAGE_TOKENS);
    prefill_core *c = xcalloc(1, sizeof *c);
    uint32_t capacity = MAX(WTABLE_REQUESTS_MAX, opt->max_seqs);
    wtable_init(&c->table, ROLE_PREFILL, opt, sink, capacity);
    c->queue = xcalloc(opt->max_seqs, sizeof(wseq *));
    c->prompts = xcalloc(opt->max_seqs, sizeof *c->prompts);
    c->chunks = xcalloc(opt->max_seqs, sizeof *c->chunks);
    return c;
}

static void prefill_free(void *core) {
    prefill_core *c = core;
    if (!c) return;
    wtable_done(&c->table);
    free(c->queue);
    free(c->prompts);
    free(c->chunks);
    free(c);
}

static void prefill_session(void *core, uint64_t epoch, uint64_t incarnation, uint64_t now_ns) {
    prefill_core *c = core;
    (void)now_ns;
    wtable_session(&c->table, epoch, incarnation);
}

/* The device thread reports finished layers by request only, so one request is never offered while a step of
 * its last attempt runs. */
static bool last_attempt_runs(const wtable *t, const ctl_msg *m) {
    for (const wseq *s = wtable_closing(t, m->req); s; s = s->closing_before)
        if (s->in_step) return true;
    const wseq *live = wtable_find(t, m->req);
    return live && live->attempt < m->attempt && live->in_step;
}

static void on_prefill(prefill_core *c, const ctl_msg *m) {
    if (last_attempt_runs(&c->table, m)) {
        wtable_no_room(&c->table, m, "a step of its last attempt is still running here");
        return;
    }
    uint32_t rows = m->work.prompt_count + m->work.output_count;
    wseq *s = wtable_admit(&c->table, m, &(wtable_need){.rows = rows, .phase = WSEQ_PROMPT});
    if (!s) return;
    s->id = (kv_identity){
        .epoch = c->table.epoch, .p_inc = c->table.incarnation, .req = m->req, .attempt = m->attempt};
}

static void post_dest(wtable *t, const wseq *s, const char *endpoint, uint32_t token_begin) {
    xfer_cmd cmd = {.kind = X_DEST,
                    .id = s->id,
                    .peer_inc = s->id.d_inc,
                    .endpoint = endpoint,
                    .token_begin = token_begin};
    t->sink.xfer(t->sink.ctx, &cmd);
}

static void on_dest(prefill_core *c, const ctl_msg *m) {
    wseq *s = wtable_find(&c->table, m->req);
    if (!s || m->dest.new_attempt < s->attempt) {
        c->table.stats.stale++;
        return;
    }
    s->attempt = m->dest.new_attempt;
    s->id.attempt = s->attempt;
    s->id.d_inc = m->dest.d_inc;
    wtable_set_dest(&c->table, s, true);
    if (s->xfer_known) {
        post_dest(&c->table, s, m->dest.endpoint, m->dest.token_begin);
        return;
    }
    free(s->dest_endpoint);
    s->dest_endpoint = xstrdup(m->dest.endpoint);
    s->dest_begin = m->dest.token_begin;
}

static void prefill_ctl(void *core, const ctl_msg *m, uint64_t now_ns) {
    prefill_core *c = core;
    (void)now_ns;
    if (m->kind == CTL_PREFILL)
        on_prefill(c, m);
    else if (m->kind == CTL_DEST)
        on_dest(c, m);
    else if (m->kind == CTL_RELEASE || m->kind == CTL_CANCEL || m->kind == CTL_DROP)
        wtable_release(&c->table, m);
    else
        c->table.stats.stale++;
}

static void prefill_row(wtable *t, wseq *s, const step_item *item, const step_result *r) {
    s->rows_done += item->count;
    t->stats.prefill_rows += item->count;
    wtable_keep(t, s, s->rows_done);
    if (s->params.max_tokens == 0 &&
        s->rows_done == wseq_rows(s)) { /* nothing is handed off: RELEASE follows */
        wtable_move(t, s, WSEQ_PINNED);
        wtable_leave_slot(t, s);
    }
    if (!item->sample) return;
    CHECK(r->sampled);
    CHECK(s->rows_done == wseq_rows(s));
    uint32_t index = s->output_count++;
    s->first = r->token;
    s->first.fin = wtable_finish(t, s, r->token.id);
    wtable_move(t, s, WSEQ_PINNED);
    wtable_leave_slot(t, s);
    wstep_first_token(t, s, index, &s->first);
    wtable_post(t, s, X_SEAL);
}

static void prefill_stepped(void *core, const step_result *results, uint32_t count, uint64_t now_ns) {
    prefill_core *c = core;
    (void)now_ns;
    wstep_end(&c->table, results, count, prefill_row);
}

static void on_failed(prefill_core *c, const xfer_event *e) {
    wseq *s = wtable_find(&c->table, e->id.req);
    if (!s || e->id.attempt != s->attempt) return; /* of a hand-off that was replaced or dropped meanwhile */
    wtable_set_dest(&c->table, s, false);
    ctl_msg m = {.kind = CTL_HANDOFF_FAILED,
                 .req = s->req,
                 .attempt = s->attempt,
                 .failed = {.segment = e->segment, .why = e->why}};
    wtable_send(&c->table, &m);
}

static void prefill_xfer(void *core, const xfer_event *e, uint64_t now_ns) {
    prefill_core *c = core;
    (void)now_ns;
    switch (e->kind) {
    case X_DROPPED:
        wtable_dropped(&c->table, e->id.req);
        break;
    case X_FAILED:
        on_failed(c, e);
        break;
    case X_SENT:     /* the pages stay pinned: that they arrived is D's to say */
    case X_VERIFIED: /* a receiver's event */
    case X_PAIR:     /* the agent's */
        break;
    }
}

/* It will be computed from now on. */
static void begin(wtable *t, wseq *s) {
    CHECK(wtable_take_slot(t, s));
    wtable_post(t, s, X_OFFER);
    if (!s->dest_endpoint) return;
    post_dest(t, s, s->dest_endpoint, s->dest_begin);
    free(s->dest_endpoint);
    s->dest_endpoint = NULL;
}

static void prefill_turn(void *core, uint64_t now_ns) {
    prefill_core *c = core;
    wtable *t = &c->table;
    (void)now_ns;
    if (t->busy) return;
    uint32_t count = 0, slots = t->free_slot_count;
    for (wseq *s = wtable_first(t, WSEQ_PROMPT); s && count < t->opt.max_seqs; s = wtable_next(t, s)) {
        if (s->slot == WSEQ_NO_SLOT) {
            if (slots == 0) continue; /* a replay before prompts that have them all */
            slots--;
            wtable_look_again(t, s);
        }
        c->queue[count] = s;
        c->prompts[count++] =
            (batch_prompt){.done = s->rows_done, .total = wseq_rows(s), .replay = wseq_is_replay(s)};
    }
    prefill_limits limits = {
        .max_rows = t->opt.max_rows, .chunk_tokens = t->opt.chunk_tokens, .max_seqs = t->opt.max_seqs};
    uint32_t chunks = prefill_policy_form(c->prompts, count, &limits, c->chunks);
    for (uint32_t i = 0; i < chunks; i++) {
        const batch_chunk *k = &c->chunks[i];
        wseq *s = c->queue[k->index];
        if (s->slot == WSEQ_NO_SLOT) begin(t, s);
        wstep_add(t, s, k->begin, k->count, k->last && s->params.max_tokens > 0);
    }
    wstep_go(t);
}

const wcore_ops prefill_core_ops = {
    .role = ROLE_PREFILL,
    .new_core = prefill_new,
    .free_core = prefill_free,
    .session = prefill_session,
    .ctl = prefill_ctl,
    .stepped = prefill_stepped,
    .xfer = prefill_xfer,
    .turn = prefill_turn,
    .stats = wtable_core_stats,
    .idle = wtable_core_idle,
    .check = wtable_core_check,
};
