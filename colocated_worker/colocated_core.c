/* colocated_core - requests that stay in one worker: PREFILL{then_decode}, chunks, TOKENS[k], a token per
 * step, end.
 *
 * The baseline without a hand-off. A request takes an engine slot and pages for its prompt and the first
 * decode row when it comes, or is refused with NO_ROOM (the queue lives in the coordinator). Which phase gets
 * the next step is colocated_policy's decision. Out of pages: the youngest request is preempted, whether it
 * decodes already or not; it keeps nothing. */
#include "base/mem.h"
#include "colocated_worker/colocated_policy.h"
#include "worker_core/wstep.h"

#include <stddef.h>
#include <stdlib.h>

typedef struct colocated_core {
    wtable table; /* first: see wtable_core_stats */
    colocated_policy policy;
    wseq **all;              /* [capacity] scratch: who takes part, oldest first */
    batch_row *rows;         /* [capacity] of all */
    batch_verdict *verdicts; /* [capacity] of all */
    wseq **queue;            /* [capacity] scratch: prompts to be computed, oldest first */
    batch_prompt *prompts;   /* [capacity] of the queue */
    batch_chunk *chunks;     /* [capacity] */
    uint32_t first;          /* where the next round of decode rows starts */
} colocated_core;

_Static_assert(offsetof(colocated_core, table) == 0,
               "wtable_core_stats and its like take a core for its table");

static void *colocated_new(const wcore_options *opt, const wcore_sink *sink) {
    PRE(opt);
    PRE(opt->policy);
    PRE(opt->max_rows > KV_PAGE_TOKENS);
    colocated_core *c = xcalloc(1, sizeof *c);
    uint32_t capacity = 2 * opt->max_seqs; /* closing requests need room besides the live ones */
    CHECK(colocated_policy_find(opt->policy, &c->policy));
    wtable_init(&c->table, ROLE_COLOCATED, opt, sink, capacity);
    c->all = xcalloc(capacity, sizeof(wseq *));
    c->rows = xcalloc(capacity, sizeof *c->rows);
    c->verdicts = xcalloc(capacity, sizeof *c->verdicts);
    c->queue = xcalloc(capacity, sizeof(wseq *));
    c->prompts = xcalloc(capacity, sizeof *c->prompts);
    c->chunks = xcalloc(capacity, sizeof *c->chunks);
    return c;
}

static void colocated_free(void *core) {
    colocated_core *c = core;
    if (!c) return;
    wtable_done(&c->table);
    free(c->all);
    free(c->rows);
    free(c->verdicts);
    free(c->queue);
    free(c->prompts);
    free(c->chunks);
    free(c);
}

static void colocated_session(void *core, uint64_t epoch, uint64_t incarnation, uint64_t now_ns) {
    colocated_core *c = core;
    (void)now_ns;
    wtable_session(&c->table, epoch, incarnation);
}

static void on_prefill(colocated_core *c, const ctl_msg *m) {
    wtable *t = &c->table;
    wtable_need need = {.rows = m->work.prompt_count + m->work.output_count + 1,
                        .headroom = kv_pool_headroom(t->opt.page_count, wtable_count(t, WSEQ_DECODE)),
                        .slot = true,
                        .phase = WSEQ_PROMPT};
    wtable_admit(t, m, &need);
}

static void colocated_ctl(void *core, const ctl_msg *m, uint64_t now_ns) {
    colocated_core *c = core;
    (void)now_ns;
    if (m->kind == CTL_PREFILL)
        on_prefill(c, m);
    else if (m->kind == CTL_RELEASE || m->kind == CTL_CANCEL || m->kind == CTL_DROP)
        wtable_release(&c->table, m);
    else
        c->table.stats.stale++;
}

static void colocated_row(wtable *t, wseq *s, const step_item *item, const step_result *r) {
    bool first = s->phase == WSEQ_PROMPT;
    if (first) {
        s->rows_done += item->count;
        t->stats.prefill_rows += item->count;
        wtable_keep(t, s, s->rows_done);
        if (s->params.max_tokens == 0 && s->rows_done == wseq_rows(s)) { /* RELEASE follows */
            wtable_move(t, s, WSEQ_PINNED);
            wtable_leave_slot(t, s);
        }
        if (!item->sample) return;
        wtable_move(t, s, WSEQ_DECODE);
    } else {
        t->stats.decode_rows++;
        wtable_keep(t, s, wseq_rows(s));
    }
    CHECK(r->sampled);
    uint32_t index = s->output_count;
    wseq_add_id(s, r->token.id);
    token_out token = r->token;
    token.fin = wtable_finish(t, s, token.id);
    (first ? wstep_first_token : wstep_token)(t, s, index, &token);
    if (token.fin != FINISH_NONE) wtable_close(t, s, false);
}

static void colocated_stepped(void *core, const step_result *results, uint32_t count, uint64_t now_ns) {
    colocated_core *c = core;
    (void)now_ns;
    uint64_t rows_before = c->table.stats.decode_rows;
    wstep_end(&c->table, results, count, colocated_row);
    if (c->table.stats.decode_rows > rows_before) c->table.stats.decode_steps++;
}

static void colocated_xfer(void *core, const xfer_event *e, uint64_t now_ns) {
    (void)core;
    (void)e;
    (void)now_ns;
    CHECK(!"a colocated worker has no transfer thread");
}

static uint32_t gather(colocated_core *c, uint32_t count, wseq *s, uint32_t *pages) {
    bool decodes = s->phase == WSEQ_DECODE;
    batch_row row = {.wants_row = decodes,
                     .needs_page = decodes && kv_pages_for(wseq_rows(s)) > s->page_count,
                     .frees_now = true};
    *pages += row.needs_page;
    c->all[count] = s;
    c->rows[count++] = row;
    return count;
}

/* The sequences that decode, oldest first; and, when they need more pages than are free, the prompts among
 * them: somebody must give pages back then. */
static uint32_t gather_all(colocated_core *c, uint32_t free_pages) {
    const wtable *t = &c->table;
    uint32_t count = 0, pages = 0;
    for (wseq *s = wtable_first(t, WSEQ_DECODE); s; s = wtable_next(t, s))
        count = gather(c, count, s, &pages);
    if (pages <= free_pages) return count;
    count = 0;
    for (wseq *s = wtable_oldest(t); s; s = wtable_younger(t, s)) count = gather(c, count, s, &pages);
    for (uint32_t i = 0; i < count; i++) c->rows[i].pages = wpages_own(&t->pages, c->all[i]);
    return count;
}

/* Decode rows of the step, with their pages; returns how many rows they take. */
static uint32_t add_decodes(colocated_core *c, uint32_t decoding, uint32_t max_rows) {
    wtable *t = &c->table;
    batch_limits limits = {
        .free_pages = wpages_available(&t->pages), .first = c->first, .max_rows = max_rows};
    uint32_t count = gather_all(c, limits.free_pages), used = 0;
    batch_rows(c->rows, count, &limits, c->verdicts);
    c->first = decoding > max_rows ? (c->first + max_rows) % decoding : 0;
    for (uint32_t i = count; i-- > 0;)
        if (c->verdicts[i] == BATCH_PREEMPT) wtable_close(t, c->all[i], true);
    for (uint32_t i = 0; i < count; i++) {
        if (c->verdicts[i] != BATCH_ROW) continue;
        wseq *s = c->all[i];
        CHECK(wtable_grow(t, s, wseq_rows(s)));
        wstep_add(t, s, wseq_rows(s) - 1, 1, true);
        used++;
    }
    return used;
}

/* A chunk has a row at least, so no more prompts than rows can have one. */
static void add_chunks(colocated_core *c, uint32_t budget) {
    wtable *t = &c->table;
    uint32_t count = 0;
    for (wseq *s = wtable_first(t, WSEQ_PROMPT); s && count < budget; s = wtable_next(t, s)) {
        if (!s->open) wtable_look_again(t, s);
        c->queue[count] = s;
        c->prompts[count++] = (batch_prompt){.done = s->rows_done, .total = wseq_rows(s)};
    }
    uint32_t chunks = batch_chunks(c->prompts, count, budget, t->opt.chunk_tokens, c->chunks);
    for (uint32_t i = 0; i < chunks; i++) {
        const batch_chunk *k = &c->chunks[i];
        wseq *s = c->queue[k->index];
        wstep_add(t, s, k->begin, k->count, k->last && s->params.max_tokens > 0);
    }
}

static void colocated_turn(void *core, uint64_t now_ns) {
    colocated_core *c = core;
    wtable *t = &c->table;
    (void)now_ns;
    if (t->busy || t->live.count == 0) return;
    uint32_t decoding = wtable_count(t, WSEQ_DECODE), waiting = wtable_count(t, WSEQ_PROMPT);
    colocated_split split = colocated_policy_divide(c->policy, decoding, waiting, t->opt.max_rows);
    uint32_t used = split.decode_rows ? add_decodes(c, decoding, split.decode_rows) : 0;
    if (split.prompts) add_chunks(c, t->opt.max_rows - used);
    wstep_go(t);
}

const wcore_ops colocated_core_ops = {
    .role = ROLE_COLOCATED,
    .new_core = colocated_new,
    .free_core = colocated_free,
    .session = colocated_session,
    .ctl = colocated_ctl,
    .stepped = colocated_stepped,
    .xfer = colocated_xfer,
    .turn = colocated_turn,
    .stats = wtable_core_stats,
    .idle = wtable_core_idle,
    .check = wtable_core_check,
};
