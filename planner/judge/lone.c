#include "planner/judge/lone.h"

#include "planner/judge/replication.h"

#include "base/clock.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_GAP_NS (60 * NS_PER_S) /* too short a gap is found out, and made ten times longer */

typedef struct answers {
    const judge_case *c;
    uint64_t seed, gap_ns;
    uint32_t taken, ended;
    fleet_outcome outcomes[LONE_REQUESTS];
} answers;

static bool next(void *ctx, fleet_request *out) {
    answers *a = ctx;
    if (a->taken == LONE_REQUESTS) return false;
    workload_item it = workload_at(a->c->load, a->seed, a->taken);
    *out = (fleet_request){a->taken++ * a->gap_ns, it.prompt_tokens, it.output_tokens};
    return true;
}

static void ended(void *ctx, const fleet_outcome *o) {
    answers *a = ctx;
    a->ended++;
    a->outcomes[o->index] = *o;
}

/* *alone: no request was there while another one was. *prefill_ns: of steps with prompts, per request. */
static status try(answers *a, bool *alone, double *prefill_ns, errbuf *eb) {
    fleet *f;
    const fleet_options opt = judge_fleet_options(a->c, a->seed);
    const fleet_sink sink = {.ctx = a, .next = next, .ended = ended};
    status st = fleet_new(&f, &opt, &sink, eb);
    if (st != ST_OK) return st;
    st = fleet_run(f, a->gap_ns * (LONE_REQUESTS + 1), eb);
    *alone = a->ended == LONE_REQUESTS;
    for (uint32_t i = 0; *alone && i + 1 < LONE_REQUESTS; i++) {
        const fleet_outcome *o = &a->outcomes[i];
        *alone = o->end != FLEET_DONE || o->last_ns < a->outcomes[i + 1].at_ns;
    }
    *prefill_ns = 0;
    for (uint32_t i = 0; i < fleet_worker_count(f); i++) {
        fleet_worker_totals w = fleet_worker(f, i);
        *prefill_ns += (double)(w.prefill_ns + w.mixed_ns) / LONE_REQUESTS;
    }
    fleet_free(f);
    return st;
}

/* ---- capacity ---- */

typedef struct means {
    double prefill_ns, prompt, output; /* tokens */
    uint32_t biggest;                  /* pages of a request */
} means;

/* Time of a device for one token in a batch that is as large as pages, places and TPOT allow, ns. */
static double token_ns(const judge_case *c, worker_role role, const means *m) {
    const fleet_role *shape = &c->placement->roles[role];
    const profile_engine *e = profile_find(c->profile, role, shape->tp, shape->pp);
    CHECK(e); /* fleet_new asked for it */
    uint32_t pages = shape->kv_pages ? shape->kv_pages : e->kv_pages;
    uint32_t seqs = shape->max_seqs ? shape->max_seqs : e->max_seqs;
    double context = m->prompt + m->output / 2, most = fmin(seqs, pages * 16.0 / (m->prompt + m->output));
    double best = INFINITY;
    for (double batch = 1; batch <= fmax(most, 1) && batch < 1e6; batch *= 2) {
        latency_step s = {.batch = (uint32_t)batch, .context = (uint64_t)(batch * context)};
        double ns = profile_step_ns(e, &s, NULL) + e->gap_ns;
        if (batch > 1 && ns > c->limits.tpot_ms * (double)NS_PER_MS) break;
        best = fmin(best, ns / batch);
    }
    return best;
}

static double capacity(const judge_case *c, const means *m) {
    const fleet_role *roles = c->placement->roles;
    double tokens = m->output - 1, rate = 0; /* the first token is the prompt's */
    if (roles[ROLE_PREFILL].count) {
        rate = roles[ROLE_PREFILL].count / m->prefill_ns;
        if (tokens > 0) rate = fmin(rate, roles[ROLE_DECODE].count / (tokens * token_ns(c, ROLE_DECODE, m)));
    }
    if (roles[ROLE_COLOCATED].count) {
        double ns = m->prefill_ns + (tokens > 0 ? tokens * token_ns(c, ROLE_COLOCATED, m) : 0);
        rate += roles[ROLE_COLOCATED].count / ns;
    }
    return fmin(fmax(rate * (double)NS_PER_S, 1e-6), 1e9); /* also where steps cost nothing */
}

/* ---- ---- */

static double at_percentile(double *x, size_t n, double q) {
    stats_sort(x, n);
    return stats_percentile(x, n, q);
}

static void take(lone *out, const answers *a, double target) {
    double *x = xmalloc(4 * LONE_REQUESTS * sizeof *x);
    double *ttft = x, *tpot = ttft + LONE_REQUESTS, *itl = tpot + LONE_REQUESTS, *e2e = itl + LONE_REQUESTS;
    size_t n = 0, several = 0;
    const slo *s = &a->c->limits;
    out->count = LONE_REQUESTS;
    for (uint32_t i = 0; i < LONE_REQUESTS; i++) {
        const fleet_outcome *o = &a->outcomes[i];
        if (o->end != FLEET_DONE) {
            out->refused++;
            continue;
        }
        slo_latencies l = judge_latencies(o);
        out->good += slo_kept(s, &l);
        out->ttft_good += l.ttft_ms <= s->ttft_ms;
        out->tpot_good += l.tpot_ms <= s->tpot_ms;
        out->itl_good += l.itl_p99_ms <= s->itl_p99_ms && l.itl_max_ms <= s->itl_max_ms;
        out->e2e_good += l.e2e_ms <= s->e2e_ms;
        ttft[n] = l.ttft_ms;
        e2e[n++] = l.e2e_ms;
        if (o->output_tokens == 1) continue;
        tpot[several] = l.tpot_ms;
        itl[several++] = isfinite(s->itl_max_ms) ? l.itl_max_ms : l.itl_p99_ms;
    }
    double q = target * 100;
    out->ttft_ms = at_percentile(ttft, n, q);
    out->tpot_ms = at_percentile(tpot, several, q);
    out->itl_ms = at_percentile(itl, several, q);
    out->e2e_ms = at_percentile(e2e, n, q);
    out->longest_s = n ? e2e[n - 1] / 1e3 : 0;
    free(x);
}

status lone_run(lone *out, const judge_case *c, uint64_t seed, double target, errbuf *eb) {
    PRE(out);
    PRE(c);
    answers *a = xmalloc(sizeof *a);
    bool alone = false;
    means m = {0};
    status st = ST_OK;
    uint64_t gap_ns = FIRST_GAP_NS;
    while (st == ST_OK && !alone && gap_ns < UINT64_MAX / 10 / (LONE_REQUESTS + 1)) {
        *a = (answers){.c = c, .seed = seed, .gap_ns = gap_ns};
        st = try(a, &alone, &m.prefill_ns, eb);
        gap_ns *= 10;
    }
    if (st == ST_OK && !alone)
        st = errf(eb, ST_INVALID, "a lone request takes longer than %.3g s: check the profile",
                  (double)a->gap_ns / (double)NS_PER_S);
    if (st == ST_OK) {
        lone got = {0};
        take(&got, a, target);
        for (uint32_t i = 0; i < LONE_REQUESTS; i++) {
            m.prompt += (double)a->outcomes[i].prompt_tokens / LONE_REQUESTS;
            m.output += (double)a->outcomes[i].output_tokens / LONE_REQUESTS;
        }
        got.capacity = capacity(c, &m);
        *out = got;
    }
    free(a);
    return st;
}

bool lone_misses(const lone *l, const slo *s, double target, char *why, size_t size) {
    PRE(l);
    PRE(s);
    PRE(why);
    if (stats_wilson(l->good, l->count).high >= target) return false;
    if (l->count - l->refused < target * l->count) {
        snprintf(why, size, "%.3g %% of the requests fit no worker: KV pages or context are too few for them",
                 100.0 * l->refused / l->count);
        return true;
    }
    const struct {
        const char *name;
        uint32_t good;
        double is_ms, limit_ms;
    } all[] = {{"TTFT", l->ttft_good, l->ttft_ms, s->ttft_ms},
               {"TPOT", l->tpot_good, l->tpot_ms, s->tpot_ms},
               {"ITL", l->itl_good, l->itl_ms, fmin(s->itl_p99_ms, s->itl_max_ms)},
               {"E2E", l->e2e_good, l->e2e_ms, s->e2e_ms}};
    size_t worst = 0;
    for (size_t i = 1; i < ARRAY_LEN(all); i++)
        if (all[i].good < all[worst].good) worst = i;
    snprintf(why, size, "%s of a lone request is %.4g ms at the %.4gth percentile: the limit is %.4g ms",
             all[worst].name, all[worst].is_ms, target * 100, all[worst].limit_ms);
    return true;
}
