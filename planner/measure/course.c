#include "planner/measure/course.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>

#define PAGE_TOKENS    16u /* of the config's kv_pages and chunk_tokens */
#define WAIT_NS        (120 * NS_PER_S)
#define LENGTHS_MAX    64u
#define WARM_TOKENS    128u
#define ANSWER_MOST    4096u
#define POOL_SHARE     0.8 /* of the pages: nobody is to be preempted */
#define REPEATS_MOST   8u
#define SHALLOW_TOKENS 16u
#define DEEP_BATCH     8
#define AGAIN_BATCH    16
#define CROWD_STEPS    10u /* of each of two workers, of prompts alone: some of them are disturbed */

/* What the shapes of the workers allow. */
typedef struct bounds {
    uint32_t chunk, budget; /* of a step's prompts */
    uint32_t context;       /* tokens of one request */
    uint32_t seqs, rows;    /* decoding at once; tokens that fit their pool */
    double token_ns;        /* of a prompt, as the warm-up had it */
} bounds;

static bounds bounds_of(const rig *r) {
    worker_role prompts = r->cfg->prefill.count ? ROLE_PREFILL : ROLE_COLOCATED;
    worker_role answers = r->cfg->decode.count ? ROLE_DECODE : ROLE_COLOCATED;
    const config_role *p = config_role_of(r->cfg, prompts), *d = config_role_of(r->cfg, answers);
    uint32_t pool = MIN(r->roles[prompts].pages, r->roles[answers].pages);
    bounds b = {.chunk = MIN(p->chunk_tokens, p->token_budget),
                .budget = p->token_budget,
                .seqs = MIN(d->max_seqs * d->count, p->max_seqs * p->count),
                .rows = (uint32_t)MIN(POOL_SHARE * pool * PAGE_TOKENS, 1e9)};
    b.context = MIN(r->max_context, b.rows);
    b.chunk = MIN(b.chunk, b.context / 2);
    b.budget = MIN(b.budget, b.context);
    return b;
}

static uint64_t deadline(void) {
    return clock_now_ns() + WAIT_NS;
}

/* The steps of the last `requests` requests become samples. */
static status keep(const course *c, uint32_t first, uint32_t requests, bool lone, errbuf *eb) {
    seen s;
    status st = rig_seen(c->rig, requests, &s, eb);
    if (st != ST_OK) return st;
    samples_add(c->steps, &s);
    if (lone && c->overheads && s.request_count == requests)
        for (uint32_t i = 0; i < requests; i++)
            overheads_add(c->overheads, asker_at(c->rig->ask, first + i), &s.requests[i], &s);
    seen_done(&s);
    return ST_OK;
}

/* ---- what is asked ---- */

/* One after the other; in rounds, so that what disturbs for a moment meets a length once. */
static status ask_lone(const course *c, const uint32_t *lengths, const uint32_t *repeats, uint32_t count,
                       uint32_t answer, errbuf *eb) {
    uint32_t first = 0, total = 0, most = 0;
    for (uint32_t i = 0; i < count; i++) most = MAX(most, repeats[i]);
    for (uint32_t round = 0; round < most; round++) {
        progress_say(c->progress, "lone prompts of %u to %u tokens, round %u of %u", lengths[0],
                     lengths[count - 1], round + 1, most);
        for (uint32_t i = 0; i < count; i++) {
            if (repeats[i] <= round) continue;
            uint32_t number = asker_send(c->rig->ask, lengths[i], answer);
            if (total++ == 0) first = number;
            status st = asker_wait(c->rig->ask, number, 1, UINT32_MAX, deadline(), eb);
            if (st != ST_OK) return st;
            progress_add(c->progress, lengths[i]);
        }
    }
    return total ? keep(c, first, total, true, eb) : ST_OK;
}

/* Together, behind a short one that is computed while they come. */
static status ask_burst(const course *c, uint32_t tokens, uint32_t count, errbuf *eb) {
    progress_say(c->progress, "%u prompts of %u tokens at once", count, tokens);
    uint32_t first = asker_send(c->rig->ask, SHALLOW_TOKENS, 1);
    for (uint32_t i = 0; i < count; i++) (void)asker_send(c->rig->ask, tokens, 1);
    status st = asker_wait(c->rig->ask, first, count + 1, UINT32_MAX, deadline(), eb);
    progress_add(c->progress, (double)tokens * count);
    return st == ST_OK ? keep(c, first, count + 1, false, eb) : st;
}

/* 1, 2, 3, 4, 6, 8, 12, 16, ... */
static uint32_t next_batch(uint32_t batch) {
    if (batch < 4) return batch + 1;
    return batch & (batch - 1) ? batch / 3 * 4 : batch / 2 * 3;
}

/* Some steps of the batch as it is, more of small ones, which are short; `number` is in it. */
static status let_decode(const course *c, uint32_t number, uint32_t batch, errbuf *eb) {
    uint32_t had = asker_at(c->rig->ask, number)->tokens;
    uint32_t steps = c->repeats * (batch <= 4 ? 4 : batch <= 8 ? 2 : 1);
    return asker_wait(c->rig->ask, number, 1, had + steps, deadline(), eb);
}

/* Requests that were asked together: [first, first + count). */
typedef struct group {
    uint32_t first, count, tokens; /* tokens: of each prompt */
} group;

static uint32_t running(const asker *a, const group *g) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->count; i++) n += !asker_at(a, g->first + i)->ended;
    return n;
}

/* That their pages hold. */
static uint64_t rows_of(const asker *a, const group *g) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        const asked *q = asker_at(a, g->first + i);
        if (!q->ended) n += q->prompt_tokens + q->tokens;
    }
    return n;
}

/* False: the pool is too full for it. */
static bool grow(const course *c, const bounds *b, group *g, uint32_t batch, uint32_t answer) {
    asker *a = c->rig->ask;
    uint32_t there = running(a, g);
    uint64_t more = (uint64_t)(batch - MIN(batch, there)) * g->tokens;
    if (g->count && rows_of(a, g) + more > b->rows) return false;
    for (uint32_t k = there; k < batch; k++) {
        uint32_t number = asker_send(a, g->tokens, answer);
        if (g->count++ == 0) g->first = number;
    }
    progress_add(c->progress, (double)more);
    return true;
}

/* Batches up to `most` and down again; each is left alone for some steps. Prompts are computed beside those
 * that decode already. */
static status ask_growing(const course *c, const bounds *b, uint32_t tokens, uint32_t most, errbuf *eb) {
    asker *a = c->rig->ask;
    group g = {.tokens = tokens};
    uint32_t answer = MIN(b->context - tokens, ANSWER_MOST), sizes[LENGTHS_MAX], n = 0;
    status st = ST_OK;
    for (uint32_t batch = 1; st == ST_OK && batch <= most && n < LENGTHS_MAX; batch = next_batch(batch)) {
        progress_say(c->progress, "a batch of %u behind prompts of %u tokens", batch, tokens);
        if (!grow(c, b, &g, batch, answer)) break;
        sizes[n++] = batch;
        st = asker_wait(a, g.first, g.count, 2, deadline(), eb);
        if (st == ST_OK) st = let_decode(c, g.first + g.count - 1, batch, eb);
    }
    for (uint32_t left = g.count; st == ST_OK && n > 1; n--) {
        uint32_t batch = sizes[n - 2];
        progress_say(c->progress, "down to a batch of %u", batch);
        while (left > 1 && running(a, &g) > batch) asker_cancel(a, g.first + --left);
        while (left > 1 && asker_at(a, g.first + left - 1)->ended) left--;
        st = let_decode(c, g.first + left - 1, batch, eb);
    }
    for (uint32_t i = 0; i < g.count; i++) asker_cancel(a, g.first + i);
    return st == ST_OK && g.count ? keep(c, g.first, g.count, false, eb) : st;
}

/* ---- how much of it ---- */

/* The most that a growing batch of such prompts may have. */
static uint32_t batch_most(const course *c, const bounds *b, uint32_t tokens, double budget) {
    double most = MIN(b->seqs, b->rows / (tokens + 2.0 * c->repeats));
    return (uint32_t)MAX(MIN(most, budget / tokens), 1.0);
}

static uint32_t on_page(double tokens) {
    return MAX((uint32_t)tokens / PAGE_TOKENS * PAGE_TOKENS, PAGE_TOKENS);
}

/* Ascending: up to a chunk, powers of two and between; then some chunks deep, so that the same tokens come
 * behind many and behind few. deepest: of what the time is enough for. */
static uint32_t lone_lengths(uint32_t out[static LENGTHS_MAX], const bounds *b, uint32_t deepest) {
    uint32_t n = 0;
    out[n++] = 1;
    for (uint32_t t = PAGE_TOKENS; t < b->chunk && n < LENGTHS_MAX - 8; t *= 2) {
        out[n++] = t;
        if (t > PAGE_TOKENS && t + t / 2 < b->chunk) out[n++] = t + t / 2;
    }
    out[n++] = b->chunk;
    const double depths[] = {1.125, 1.5, 2.25, 3, 4.5, 6};
    for (size_t i = 0; i < ARRAY_LEN(depths); i++) {
        uint32_t tokens = on_page(depths[i] * b->chunk);
        if (tokens > out[n - 1] && tokens <= deepest) out[n++] = tokens;
    }
    return n;
}

/* In so many tokens of prompts, those lengths as often as it goes, the short ones more often. */
static void lone_repeats(uint32_t *out, const uint32_t *lengths, uint32_t count, double budget) {
    for (uint32_t i = 0; i < count; i++) {
        double times = budget / count / lengths[i];
        out[i] = (uint32_t)MAX(MIN(times, (double)REPEATS_MOST), 1.0);
        if (lengths[i] <= 64) out[i] = MAX(out[i], 3u);
    }
}

static status lone(const course *c, const bounds *b, double budget, uint32_t answer, errbuf *eb) {
    uint32_t lengths[LENGTHS_MAX], repeats[LENGTHS_MAX];
    uint32_t deepest = (uint32_t)MIN(MAX(budget / 4, 2.25 * b->chunk), b->context - answer - 1.0);
    uint32_t count = lone_lengths(lengths, b, deepest);
    lone_repeats(repeats, lengths, count, budget);
    return ask_lone(c, lengths, repeats, count, answer, eb);
}

/* Until caches, pages and pairs have been used; tells how fast prompts are. */
static status warm_up(const course *c, bounds *b, errbuf *eb) {
    progress_say(c->progress, "warm-up");
    uint32_t tokens = MIN(WARM_TOKENS, b->chunk);
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t number = asker_send(c->rig->ask, tokens, 4);
        status st = asker_wait(c->rig->ask, number, 1, UINT32_MAX, deadline(), eb);
        if (st != ST_OK) return st;
    }
    seen s;
    status st = rig_seen(c->rig, 2, &s, eb);
    if (st != ST_OK) return st;
    for (uint32_t i = 0; i < s.step_count; i++)
        if (s.steps[i].sum.tokens) {
            double ns = (double)(s.steps[i].end_ns - s.steps[i].begin_ns) / (double)s.steps[i].sum.tokens;
            b->token_ns = b->token_ns > 0 ? MIN(b->token_ns, ns) : ns;
        }
    seen_done(&s);
    return b->token_ns > 0 ? ST_OK : errf(eb, ST_INVALID, "the steps of the warm-up are not in the trace");
}

/* Several prompts in a step. */
static status bursts(const course *c, const bounds *b, errbuf *eb) {
    uint32_t whole = MAX(2 * b->budget / b->chunk, 2u);
    status st = ask_burst(c, b->chunk, whole, eb);
    if (st == ST_OK) st = ask_burst(c, on_page(b->chunk / 4), 2 * whole, eb);
    return st == ST_OK ? ask_burst(c, SHALLOW_TOKENS, 8, eb) : st;
}

static status growing(const course *c, const bounds *b, uint32_t tokens, double budget, errbuf *eb) {
    return ask_growing(c, b, tokens, batch_most(c, b, tokens, budget), eb);
}

static status disaggregated(const course *c, const bounds *b, double budget, errbuf *eb) {
    double deep = MIN(0.45 * budget, b->rows);
    c->rig->counted = 2;
    c->rig->counted_tokens = b->chunk;
    status st = rig_count(c->rig, &c->rig->before, eb);
    if (st == ST_OK) st = ask_lone(c, &c->rig->counted_tokens, &c->rig->counted, 1, 2, eb);
    if (st == ST_OK) st = rig_count(c->rig, &c->rig->after, eb);
    if (st == ST_OK) st = lone(c, b, 0.35 * budget, 2, eb);
    if (st == ST_OK) st = bursts(c, b, eb);
    if (st == ST_OK) st = growing(c, b, SHALLOW_TOKENS, 0.1 * budget, eb);
    uint32_t tokens = on_page(MIN(deep / DEEP_BATCH, b->context / 2));
    if (st == ST_OK) st = growing(c, b, tokens, deep, eb);
    return st == ST_OK ? growing(c, b, SHALLOW_TOKENS, AGAIN_BATCH * SHALLOW_TOKENS, eb) : st;
}

static status colocated(const course *c, const bounds *b, double budget, errbuf *eb) {
    status st = lone(c, b, 0.25 * budget, 1, eb);
    if (st == ST_OK) st = bursts(c, b, eb);
    if (st == ST_OK) st = growing(c, b, SHALLOW_TOKENS, 0.1 * budget, eb);
    if (st == ST_OK) st = growing(c, b, on_page(b->chunk / 4), 0.15 * budget, eb);
    return st == ST_OK ? growing(c, b, b->chunk, 0.4 * budget, eb) : st;
}

/* Two workers' batches beside each other's prompts and batches, then their prompts alone. */
static status crowd(const course *c, const bounds *b, double budget, errbuf *eb) {
    uint32_t tokens = on_page(b->chunk / 2);
    status st = growing(c, b, tokens, MIN(0.6 * budget, 12.0 * tokens), eb);
    if (st != ST_OK) return st;
    uint32_t want = 2 * CROWD_STEPS * MAX(b->budget / b->chunk, 1u);
    double most = 0.8 * budget / b->chunk; /* two compute them: that takes the 0.4 that are left */
    return ask_burst(c, b->chunk, (uint32_t)MIN((double)want, MAX(most, 2.0)), eb);
}

status course_run(const course *c, course_kind kind, errbuf *eb) {
    PRE(c);
    PRE(c->seconds > 0);
    bounds b = bounds_of(c->rig);
    if (b.context < 4 * PAGE_TOKENS)
        return errf(eb, ST_INVALID,
                    "requests of %u tokens at most are too short to measure with: see "
                    "model.max_context and kv_pages",
                    b.context);
    status st = warm_up(c, &b, eb);
    if (st != ST_OK) return st;
    double budget = 0.7 * c->seconds * 1e9 / b.token_ns; /* of tokens: the rest is for decoding */
    progress_work(c->progress, budget);
    if (kind == COURSE_DISAGGREGATED) return disaggregated(c, &b, budget, eb);
    if (kind == COURSE_COLOCATED) return colocated(c, &b, budget, eb);
    return crowd(c, &b, budget, eb);
}
