#include "planner/search/bounds.h"

#include "base/mem.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SURE      1.02 /* of bounds: what step sizes between those tried may gain */
#define STEP_GRID 64

/* By which a share of the sample may differ from that of all requests. */
static double doubt_of(const bounds_input *in) {
    return 3 * sqrt(in->target * (1 - in->target) / MAX(in->demand->count, 1u));
}

/* What is known of placements with these workers, however many of each. */
typedef struct kind {
    fleet_placement one; /* one of each; without a name */
    reject_reason reason;
    char why[160];
    double rate[ROLE_COUNT]; /* requests per second of one worker, at most */
} kind;

static const char *const role_words[ROLE_COUNT] = {"prefill", "decode", "colocated"};

static double step_ns(const profile_engine *e, uint32_t before, uint32_t tokens, uint32_t batch,
                      double context, bool *covered) {
    latency_step s = {0};
    if (tokens) latency_add_chunk(&s, before, tokens);
    s.batch = batch;
    s.context = (uint64_t)llround(context);
    return profile_step_ns(e, &s, covered);
}

/* ---- a request that is alone ---- */

typedef struct lone {
    double ttft_ms, tpot_ms;
} lone;

static lone lone_of(const bounds_input *in, const profile_engine *p, const profile_engine *d,
                    const fleet_role *role, workload_item it) {
    const profile_overheads *o = &in->profile->overheads;
    double ns = o->arrive_ns + o->dispatch_ns + o->emit_ns;
    uint32_t chunk = MIN(role->chunk_tokens, role->max_rows);
    for (uint32_t at = 0; at < it.prompt_tokens; at += chunk) {
        ns += step_ns(p, at, MIN(chunk, it.prompt_tokens - at), 0, 0, NULL) * fmax(0, 1 - 3 * p->prefill_cv);
        if (at) ns += p->gap_ns;
    }
    double steps = it.output_tokens - 1.0;
    double each = steps > 0 ? (step_ns(d, 0, 0, 1, it.prompt_tokens + (steps + 1) / 2, NULL) + d->gap_ns) *
                                  fmax(0, 1 - 3 * d->decode_cv)
                            : 0;
    return (lone){ns / 1e6, each / 1e6};
}

static void judge_lone(kind *c, const bounds_input *in, const profile_engine *p, const profile_engine *d,
                       const fleet_role *role) {
    uint32_t n = in->demand->count, ttft = 0, tpot = 0, both = 0;
    double *ttfts = xcalloc(n, sizeof *ttfts), *tpots = xcalloc(n, sizeof *tpots);
    const slo *s = &in->limits;
    for (uint32_t i = 0; i < n; i++) {
        workload_item it = in->demand->items[i];
        lone l = lone_of(in, p, d, role, it);
        ttfts[i] = l.ttft_ms;
        tpots[i] = l.tpot_ms;
        bool first = l.ttft_ms <= s->ttft_ms && l.ttft_ms + (it.output_tokens - 1.0) * l.tpot_ms <= s->e2e_ms;
        bool next = l.tpot_ms <= s->tpot_ms && l.tpot_ms <= s->itl_max_ms;
        ttft += first;
        tpot += next;
        both += first && next;
    }
    double share = (double)both / n;
    if (share < in->target - doubt_of(in)) {
        bool is_ttft = ttft <= tpot;
        double *x = is_ttft ? ttfts : tpots;
        stats_sort(x, n);
        c->reason = REJECT_SLO;
        snprintf(
            c->why, sizeof c->why,
            "%s: %.3g %% of lone requests are within the limits, their %s is %.4g ms at P50, %.4g at P90",
            is_ttft ? "TTFT" : "TPOT", share * 100, is_ttft ? "TTFT" : "TPOT", stats_percentile(x, n, 50),
            stats_percentile(x, n, 90));
    }
    free(ttfts);
    free(tpots);
}

/* ---- saturation ---- */

/* Least time per request that prompts take; `shared_ns` of each step is paid by decode steps. */
static double prefill_request_ns(const bounds_input *in, const profile_engine *e, const fleet_role *role,
                                 double shared_ns) {
    double prompt = in->demand->prompt_mean, squares = in->demand->squares_mean / prompt, best = INFINITY;
    uint32_t extra = e->prefill.count;
    for (uint32_t i = 0; i <= STEP_GRID + extra; i++) {
        double x = i <= STEP_GRID ? pow(role->max_rows, (double)i / STEP_GRID)
                                  : e->prefill.knots[i - STEP_GRID - 1].x;
        if (x < 1 || x > role->max_rows) continue;
        latency_step s = {
            .chunks = 1, .tokens = (uint64_t)x, .squares = (uint64_t)((double)(uint64_t)x * squares)};
        double ns = fmax(0, profile_step_ns(e, &s, NULL) - shared_ns) / (double)s.tokens * prompt;
        best = fmin(best, ns);
    }
    return best;
}

/* Least time per request that decode steps take, each with `prompt_ns` of prompts per request beside; all of
 * them, and those of requests within TPOT alone. */
static double decode_request_ns(const bounds_input *in, const profile_engine *e, const fleet_role *role,
                                double prompt_ns) {
    const demand *d = in->demand;
    double limit = fmin(in->limits.tpot_ms, in->limits.itl_max_ms) * 1e6, all = INFINITY, good = INFINITY;
    for (uint32_t batch = 1; batch <= role->max_seqs; batch++) {
        double context = batch * d->context_mean;
        if (batch > 1 && context > SURE * 16.0 * role->kv_pages) break;
        double step = step_ns(e, 0, 0, batch, context, NULL) + e->gap_ns + prompt_ns * batch / d->steps_mean;
        double request = step * d->steps_mean / batch;
        all = fmin(all, request);
        if (step <= limit * SURE) good = fmin(good, request);
    }
    if (isinf(good)) return good;
    double share = demand_steps_of_shortest(d, in->target);
    return share * good + (1 - share) * all;
}

/* Requests per second of one worker, at most. */
static double worker_rate(const bounds_input *in, worker_role role, const profile_engine *e,
                          const fleet_role *r) {
    bool decodes = in->demand->steps_mean > 0;
    double ns = 0;
    if (role == ROLE_PREFILL || !decodes)
        ns = role == ROLE_DECODE ? 0 : prefill_request_ns(in, e, r, 0);
    else if (role == ROLE_DECODE)
        ns = decode_request_ns(in, e, r, 0);
    else {
        double shared =
            e->shared * fmin(step_cost_intercept_ns(&e->prefill), step_cost_intercept_ns(&e->decode));
        ns = decode_request_ns(in, e, r, prefill_request_ns(in, e, r, shared));
    }
    return ns > 0 ? SURE * 1e9 / ns : INFINITY;
}

/* ---- what a worker must have ---- */

static bool reject(kind *c, reject_reason reason, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static bool reject(kind *c, reject_reason reason, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    c->reason = reason;
    vsnprintf(c->why, sizeof c->why, fmt, args);
    va_end(args);
    return false;
}

static bool judge_engine(kind *c, const bounds_input *in, worker_role role) {
    const fleet_role *r = &c->one.roles[role];
    const profile_engine *e = profile_find(in->profile, role, r->tp, r->pp);
    if (!e)
        return reject(c, REJECT_PROFILE, "no profile of a %s engine with tp %u, pp %u", role_words[role],
                      r->tp, r->pp);
    if (role != ROLE_DECODE && !e->prefill.count)
        return reject(c, REJECT_PROFILE, "no profile of prefill steps with tp %u, pp %u", r->tp, r->pp);
    if (role != ROLE_PREFILL && !e->decode.count && in->demand->steps_mean > 0)
        return reject(c, REJECT_PROFILE, "no profile of decode steps with tp %u, pp %u", r->tp, r->pp);
    if (in->heads && in->heads % r->tp != 0)
        return reject(c, REJECT_HEADS, "tp %u does not divide %u heads", r->tp, in->heads);
    return true;
}

/* Share of the sample's requests that an empty worker of the role holds; the others are refused. */
static double share_that_fits(const bounds_input *in, worker_role role, const fleet_role *r) {
    uint32_t fit = 0, most = in->profile->max_context;
    for (uint32_t i = 0; i < in->demand->count; i++) {
        const workload_item *w = &in->demand->items[i];
        uint64_t all = (uint64_t)w->prompt_tokens + w->output_tokens;
        uint64_t here = role == ROLE_PREFILL ? w->prompt_tokens : all;
        fit += (here + 15) / 16 <= r->kv_pages && (!most || all <= most);
    }
    return (double)fit / MAX(in->demand->count, 1u);
}

static bool judge_memory(kind *c, const bounds_input *in, worker_role role) {
    const fleet_role *r = &c->one.roles[role];
    uint32_t tokens = role == ROLE_PREFILL ? in->demand->prompt_p99 : in->demand->tokens_p99;
    uint32_t pages = (tokens + 15) / 16, most = in->profile->max_context;
    if (!r->kv_pages)
        return reject(c, REJECT_MEMORY,
                      "the profile does not say how many KV pages a %s worker has: give "
                      "--kv-pages",
                      role_words[role]);
    double share = share_that_fits(in, role, r);
    if (share >= in->target - doubt_of(in)) return true;
    if (pages > r->kv_pages)
        return reject(c, REJECT_MEMORY, "a request of %u tokens (P99) takes %u pages, a %s worker has %u",
                      tokens, pages, role_words[role], r->kv_pages);
    if (most && in->demand->tokens_p99 > most)
        return reject(c, REJECT_MEMORY, "a request has %u tokens (P99), the context is %u",
                      in->demand->tokens_p99, most);
    return reject(c, REJECT_MEMORY, "%.2f %% of requests fit the pages of a %s worker and the context",
                  100 * share, role_words[role]);
}

static bool judge_link(kind *c, const bounds_input *in) {
    const profile_link *l = &in->profile->link;
    if (c->one.roles[ROLE_COLOCATED].count) return true;
    if (!l->known) return reject(c, REJECT_LINK, "the profile knows no link: give --link BYTES/S,KV_BYTES");
    if (!(l->bytes_per_s > 0))
        return reject(c, REJECT_LINK, "the link moves %g bytes/s: no hand-off ends", l->bytes_per_s);
    return true;
}

static void judge_kind(kind *c, const bounds_input *in) {
    if (!judge_link(c, in)) return;
    for (worker_role role = 0; role < ROLE_COUNT; role++) {
        if (!c->one.roles[role].count) continue;
        if (!judge_engine(c, in, role) || !judge_memory(c, in, role)) return;
    }
    bool colocated = c->one.roles[ROLE_COLOCATED].count > 0;
    worker_role first = colocated ? ROLE_COLOCATED : ROLE_PREFILL,
                next = colocated ? ROLE_COLOCATED : ROLE_DECODE;
    const fleet_role *p = &c->one.roles[first], *d = &c->one.roles[next];
    judge_lone(c, in, profile_find(in->profile, first, p->tp, p->pp),
               profile_find(in->profile, next, d->tp, d->pp), p);
    for (worker_role role = 0; c->reason == REJECT_NOT && role < ROLE_COUNT; role++) {
        const fleet_role *r = &c->one.roles[role];
        if (!r->count) continue;
        c->rate[role] = worker_rate(in, role, profile_find(in->profile, role, r->tp, r->pp), r);
        if (!(c->rate[role] > 0))
            (void)reject(c, REJECT_SLO, "TPOT: no step of a %s worker under load is within the limit",
                         role_words[role]);
    }
}

static void take(candidate *c, const kind *k, const bounds_input *in) {
    c->reason = k->reason;
    snprintf(c->why, sizeof c->why, "%s", k->why);
    if (k->reason != REJECT_NOT) return;
    double rate = INFINITY;
    for (worker_role role = 0; role < ROLE_COUNT; role++)
        if (c->placement.roles[role].count) rate = fmin(rate, c->placement.roles[role].count * k->rate[role]);
    const profile_link *link = &in->profile->link;
    if (!c->colocated && link->known && link->fabric_bytes_per_s > 0 && link->kv_token_bytes > 0)
        rate = fmin(rate, SURE * link->fabric_bytes_per_s / (link->kv_token_bytes * in->demand->prompt_mean));
    c->bound = rate / c->devices;
}

void bounds_judge(candidate_list *l, const bounds_input *in) {
    PRE(l);
    PRE(in);
    kind *kinds = NULL;
    uint32_t count = 0;
    for (uint32_t i = 0; i < l->count; i++) {
        kind k = {.one = l->items[i].placement};
        k.one.name[0] = 0;
        for (worker_role role = 0; role < ROLE_COUNT; role++)
            k.one.roles[role].count = MIN(k.one.roles[role].count, 1u);
        uint32_t at = 0;
        while (at < count && fleet_placement_compare(&kinds[at].one, &k.one) != 0) at++;
        if (at == count) {
            judge_kind(&k, in);
            kinds = xrealloc(kinds, count + 1, sizeof *kinds);
            kinds[count++] = k;
        }
        take(&l->items[i], &kinds[at], in);
    }
    free(kinds);
}
