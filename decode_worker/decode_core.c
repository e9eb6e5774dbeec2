/* decode_core - the decode worker's requests: RESERVE -> KV arrives -> VERIFIED -> one token per step -> end.
 *
 * A sequence starts on this side's own evidence only: X_VERIFIED says that every segment and the SEAL came
 * and were right; from then on the pages are this thread's. Token k, which P sampled, is repeated to the
 * coordinator in the first TOKENS message.
 *
 * Out of pages: the youngest is preempted and keeps nothing. Reservations count as younger than anything that
 * runs, whenever they were made: they cost a second transfer only, from the pages that P still pins, and a
 * running sequence must never wait for them. */
#include "base/mem.h"
#include "decode_worker/decode_policy.h"
#include "kv/handoff.h"
#include "worker_core/wstep.h"

#include <stddef.h>
#include <stdlib.h>

typedef struct decode_core {
    wtable table;            /* first: see wtable_core_stats */
    wseq **seqs;             /* [capacity] scratch: the decode batch, oldest first, then the reservations */
    batch_row *rows;         /* [capacity] of them */
    batch_verdict *verdicts; /* [capacity] of them */
    uint32_t first;          /* where the next round starts */
} decode_core;

_Static_assert(offsetof(decode_core, table) == 0, "wtable_core_stats and its like take a core for its table");

static void *decode_new(const wcore_options *opt, const wcore_sink *sink) {
    PRE(opt);
    decode_core *c = xcalloc(1, sizeof *c);
    uint32_t capacity = 2 * opt->max_seqs; /* closing requests need room besides the live ones */
    wtable_init(&c->table, ROLE_DECODE, opt, sink, capacity);
    c->seqs = xcalloc(capacity, sizeof(wseq *));
    c->rows = xcalloc(capacity, sizeof *c->rows);
    c->verdicts = xcalloc(capacity, sizeof *c->verdicts);
    return c;
}

static void decode_free(void *core) {
    decode_core *c = core;
    if (!c) return;
    wtable_done(&c->table);
    free(c->seqs);
    free(c->rows);
    free(c->verdicts);
    free(c);
}

static void decode_session(void *core, uint64_t epoch, uint64_t incarnation, uint64_t now_ns) {
    decode_core *c = core;
    (void)now_ns;
    wtable_session(&c->table, epoch, incarnation);
}

static void on_reserve(decode_core *c, const ctl_msg *m) {
    const ctl_work *w = &m->work;
    wtable *t = &c->table;
    uint64_t hash = kv_ids_hash(KV_IDS_HASH_START, w->prompt, w->prompt_count);
    if (w->output_count) hash = kv_ids_hash(hash, w->output, w->output_count);
    if (hash != w->ids_hash) {
        wtable_no_room(t, m, "the token ids do not have the hash that came with them");
        return;
    }
    wtable_need need = {.rows = w->prompt_count + w->output_count + 1,
                        .headroom = kv_pool_headroom(t->opt.page_count, wtable_count(t, WSEQ_DECODE)),
                        .slot = true,
                        .phase = WSEQ_EXPECTED};
    wseq *s = wtable_admit(t, m, &need);
    if (!s) return;
    s->id = (kv_identity){
        .epoch = t->epoch, .p_inc = w->p_inc, .d_inc = t->incarnation, .req = m->req, .attempt = m->attempt};
    wtable_post(t, s, X_EXPECT);
    ctl_msg answer = {
        .kind = CTL_RESERVED, .req = m->req, .attempt = m->attempt, .reserved.d_have = s->hit_rows};
    wtable_send(t, &answer);
}

static void decode_ctl(void *core, const ctl_msg *m, uint64_t now_ns) {
    decode_core *c = core;
    (void)now_ns;
    if (m->kind == CTL_RESERVE)
        on_reserve(c, m);
    else if (m->kind == CTL_RELEASE || m->kind == CTL_CANCEL || m->kind == CTL_DROP)
        wtable_release(&c->table, m);
    else
        c->table.stats.stale++;
}

static void on_verified(decode_core *c, wseq *s, const xfer_event *e) {
    wtable *t = &c->table;
    ctl_msg told = {
        .kind = CTL_VERIFIED,
        .req = s->req,
        .attempt = s->attempt,
        .verified = {.bytes = e->bytes, .segments = e->segments, .exposed_ns = e->last_ns - e->first_ns}};
    wtable_send(t, &told);
    s->xfer_known = false;
    wtable_keep(t, s, wseq_rows(s));
    uint32_t index = s->output_count;
    wseq_add_id(s, e->first.id);
    s->first = e->first;
    if (e->finished) {
        ctl_token token = {.req = s->req, .attempt = s->attempt, .index = index, .token = e->first};
        wtable_close(t, s, false);
        ctl_msg m = {.kind = CTL_TOKENS, .tokens = {.tokens = &token, .count = 1}};
        wtable_send(t, &m);
        return;
    }
    wtable_move(t, s, WSEQ_DECODE);
    s->repeat_first = true;
}

static void on_failed(decode_core *c, wseq *s, const xfer_event *e) {
    ctl_msg m = {.kind = CTL_HANDOFF_FAILED,
                 .req = s->req,
                 .attempt = s->attempt,
                 .failed = {.segment = e->segment, .why = e->why}};
    wtable_send(&c->table, &m);
    wtable_close(&c->table, s, false);
}

static void decode_xfer(void *core, const xfer_event *e, uint64_t now_ns) {
    decode_core *c = core;
    (void)now_ns;
    if (e->kind == X_DROPPED) {
        wtable_dropped(&c->table, e->id.req);
        return;
    }
    wseq *s = wtable_find(&c->table, e->id.req);
    if (!s || s->phase != WSEQ_EXPECTED || e->id.attempt != s->attempt || e->id.p_inc != s->id.p_inc) return;
    if (e->kind == X_VERIFIED)
        on_verified(c, s, e);
    else if (e->kind == X_FAILED)
        on_failed(c, s, e);
}

static void decode_row(wtable *t, wseq *s, const step_item *item, const step_result *r) {
    (void)item;
    CHECK(r->sampled);
    t->stats.decode_rows++;
    if (s->repeat_first) wstep_token(t, s, s->output_count - 1, &s->first);
    s->repeat_first = false;
    wtable_keep(t, s, wseq_rows(s));
    uint32_t index = s->output_count;
    wseq_add_id(s, r->token.id);
    token_out token = r->token;
    token.fin = wtable_finish(t, s, token.id);
    wstep_token(t, s, index, &token);
    if (token.fin != FINISH_NONE) wtable_close(t, s, false);
}

static void decode_stepped(void *core, const step_result *results, uint32_t count, uint64_t now_ns) {
    decode_core *c = core;
    (void)now_ns;
    c->table.stats.decode_steps++;
    wstep_end(&c->table, results, count, decode_row);
}

/* Appends the sequences of the phase; counts those that need a page for their next row. */
static uint32_t gather(decode_core *c, uint32_t count, wseq_phase phase, uint32_t *pages) {
    const wtable *t = &c->table;
    bool runs = phase == WSEQ_DECODE;
    for (wseq *s = wtable_first(t, phase); s; s = wtable_next(t, s)) {
        batch_row row = {.wants_row = runs,
                         .needs_page = runs && kv_pages_for(wseq_rows(s)) > s->page_count,
                         .frees_now = !s->xfer_known};
        *pages += row.needs_page;
        c->seqs[count] = s;
        c->rows[count++] = row;
    }
    return count;
}

static void decode_turn(void *core, uint64_t now_ns) {
    decode_core *c = core;
    wtable *t = &c->table;
    (void)now_ns;
    if (t->busy || wtable_count(t, WSEQ_DECODE) == 0) return;
    uint32_t pages = 0, free_pages = wpages_available(&t->pages);
    uint32_t count = gather(c, 0, WSEQ_DECODE, &pages);
    if (pages > free_pages) { /* somebody must give pages back: reservations have a part only then */
        count = gather(c, count, WSEQ_EXPECTED, &pages);
        for (uint32_t i = 0; i < count; i++) c->rows[i].pages = wpages_own(&t->pages, c->seqs[i]);
    }
    batch_limits limits = {.free_pages = free_pages,
                           .coming_pages = t->coming_pages,
                           .first = c->first,
                           .max_rows = t->opt.max_rows};
    c->first = decode_policy_form(c->rows, count, &limits, c->verdicts);
    for (uint32_t i = count; i-- > 0;)
        if (c->verdicts[i] == BATCH_PREEMPT) wtable_close(t, c->seqs[i], true);
    for (uint32_t i = 0; i < count; i++) {
        if (c->verdicts[i] != BATCH_ROW) continue;
        wseq *s = c->seqs[i];
        CHECK(wtable_grow(t, s, wseq_rows(s)));
        wstep_add(t, s, wseq_rows(s) - 1, 1, true);
    }
    wstep_go(t);
}

const wcore_ops decode_core_ops = {
    .role = ROLE_DECODE,
    .new_core = decode_new,
    .free_core = decode_free,
    .session = decode_session,
    .ctl = decode_ctl,
    .stepped = decode_stepped,
    .xfer = decode_xfer,
    .turn = decode_turn,
    .stats = wtable_core_stats,
    .idle = wtable_core_idle,
    .check = wtable_core_check,
};
