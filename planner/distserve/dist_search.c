#include "planner/distserve/dist_search.h"

#include "base/mem.h"
#include "bench/stats/steady.h"
#include "bench/workload/arrivals.h"
#include "planner/distserve/dist_arrivals.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define PROBES_MAX 24u
#define START      1.0 /* requests per second and GPU: where the steady state's search begins */

bool dist_case_options(dist_options *out, const dist_case *c, const dist_config *config, char *why,
                       size_t size) {
    PRE(out);
    PRE(c);
    PRE(config);
    const uint32_t tp[] = {config->prefill_tp, config->decode_tp};
    const uint32_t pp[] = {config->cross * config->prefill_pp, config->cross * config->decode_pp};
    const distserve_engine *engines[2] = {NULL, NULL};
    uint64_t tokens[2] = {0, 0};
    for (size_t i = 0; i < (config->colocated ? 1 : 2); i++) {
        tokens[i] = dist_model_tokens(c->model, tp[i], pp[i]);
        engines[i] = profile_distserve_find(c->data, c->model->name, tp[i]);
        if (tokens[i] == 0)
            snprintf(why, size, "memory: no room for tp %u, pp %u", tp[i], pp[i]);
        else if (!engines[i])
            snprintf(why, size, "no profile of tp %u", tp[i]);
        if (tokens[i] == 0 || !engines[i]) return false;
    }
    size_t decode = config->colocated ? 0 : 1;
    *out = (dist_options){.colocated = config->colocated,
                          .prefill_count = 1,
                          .decode_count = 1,
                          .prefill_pp = pp[0],
                          .decode_pp = pp[decode],
                          .prefill_engine = engines[0],
                          .decode_engine = engines[decode],
                          .prefill_max_tokens = tokens[0],
                          .decode_max_tokens = tokens[decode]};
    return true;
}

static void set_lengths(dist_request *r, uint32_t count, const workload *w, uint64_t seed) {
    for (uint32_t i = 0; i < count; i++) {
        workload_item item = workload_at(w, seed, i);
        r[i].prompt = item.prompt_tokens;
        r[i].output = item.output_tokens;
    }
}

/* ---- its own rule ---- */

void dist_case_requests(dist_request *requests, uint32_t count, const dist_case *c, double rate) {
    PRE(c);
    dist_arrivals_poisson(requests, count, rate, c->seed);
    set_lengths(requests, count, c->load, c->seed);
}

static bool contained(const dist_latency *l, uint32_t count, const dist_case *c) {
    double *x = xcalloc(2u * (size_t)count, sizeof *x), *y = x + count;
    for (uint32_t i = 0; i < count; i++) {
        x[i] = l[i].ttft_ms;
        y[i] = l[i].tpot_ms;
    }
    stats_sort(x, count);
    stats_sort(y, count);
    bool good = stats_percentile(x, count, 100 * c->target) < c->limits.ttft_ms &&
                stats_percentile(y, count, 100 * c->target) < c->limits.tpot_ms;
    free(x);
    return good;
}

status dist_search_own(double *per_gpu, const dist_case *c, const dist_config *config,
                       const dist_options *opt, errbuf *eb) {
    PRE(per_gpu);
    PRE(c->requests > 0);
    PRE(c->rate_step > 0);
    dist_request *requests = xcalloc(c->requests, sizeof *requests);
    dist_latency *latencies = xcalloc(c->requests, sizeof *latencies);
    double low = 0, high = c->rate_max;
    status st = ST_OK;
    while (high - low > c->rate_step) {
        double rate = (low + high) / 2;
        dist_case_requests(requests, c->requests, c, rate * dist_config_gpus(config));
        st = dist_sim_run(latencies, requests, c->requests, opt, eb);
        if (st != ST_OK) break;
        if (contained(latencies, c->requests, c))
            low = rate;
        else
            high = rate;
    }
    if (st == ST_OK) *per_gpu = low;
    free(requests);
    free(latencies);
    return st;
}

/* ---- at steady state ---- */

typedef struct memory {
    dist_request *requests;
    dist_latency *latencies;
    double *begin_s, *end_s; /* two halves of one */
} memory;

typedef struct window {
    uint32_t good, members;
    bool unstable;
} window;

static status one_seed(window *out, const dist_case *c, const dist_options *opt, double rate, uint64_t seed,
                       memory *m, errbuf *eb) {
    uint32_t n = c->window_requests, from = n / 5, to = n - n / 5;
    const arrivals_options poisson = {.kind = ARRIVALS_GAMMA, .burstiness = 1};
    status st = arrivals_make(m->begin_s, n, &poisson, rate, seed, eb);
    if (st != ST_OK) return st;
    for (uint32_t i = 0; i < n; i++) m->requests[i].at_ms = m->begin_s[i] * 1000;
    set_lengths(m->requests, n, c->load, seed);
    st = dist_sim_run(m->latencies, m->requests, n, opt, eb);
    if (st != ST_OK) return st;
    *out = (window){.members = to - from};
    for (uint32_t i = 0; i < n; i++) {
        const dist_latency *l = &m->latencies[i];
        m->end_s[i] = l->end_ms / 1000;
        if (i < from || i >= to) continue;
        out->good += l->ttft_ms <= c->limits.ttft_ms && l->tpot_ms <= c->limits.tpot_ms;
    }
    growth g = steady_growth_of(m->begin_s, m->end_s, n, m->begin_s[from], m->begin_s[to], 1);
    out->unstable = g.unstable;
    return ST_OK;
}

static status one_rate(rate_point *out, const dist_case *c, const dist_options *opt, double rate, memory *m,
                       errbuf *eb) {
    double attainments[DIST_SEEDS];
    uint32_t good = 0, members = 0, grow = 0;
    for (uint32_t i = 0; i < DIST_SEEDS; i++) {
        window w;
        status st = one_seed(&w, c, opt, rate, c->seed + 1u + i, m, eb);
        if (st != ST_OK) return st;
        attainments[i] = (double)w.good / w.members;
        good += w.good;
        members += w.members;
        grow += w.unstable;
    }
    *out = (rate_point){.rate = rate,
                        .attainment = stats_seeds(attainments, DIST_SEEDS, good, members),
                        .unstable = grow > DIST_SEEDS / 2};
    return ST_OK;
}

static int by_rate(const void *a, const void *b) {
    double x = ((const rate_point *)a)->rate, y = ((const rate_point *)b)->rate;
    return (x > y) - (x < y);
}

/* What stays undecided points the way that its mean does. */
static bool too_high(const rate_point *p, double target) {
    verdict v = search_judge(p, target);
    return v == VERDICT_FAIL || (v == VERDICT_UNDECIDED && p->attainment.mean < target);
}

status dist_search_steady(search_result *out, const dist_case *c, const dist_config *config,
                          const dist_options *opt, errbuf *eb) {
    PRE(out);
    PRE(c->window_requests >= 100);
    uint32_t n = c->window_requests;
    memory m = {xcalloc(n, sizeof *m.requests), xcalloc(n, sizeof *m.latencies),
                xcalloc(2u * (size_t)n, sizeof *m.begin_s), NULL};
    m.end_s = m.begin_s + n;
    const search_plan plan = {.start = search_round(START * dist_config_gpus(config)),
                              .max_rate = INFINITY,
                              .resolution = c->resolution,
                              .probes_max = PROBES_MAX};
    rate_point points[PROBES_MAX];
    search_tried tried[PROBES_MAX];
    uint32_t count = 0;
    status st = ST_OK;
    for (;;) {
        search_step next = search_next(&plan, tried, count);
        if (next.why != SEARCH_GOES_ON) break;
        st = one_rate(&points[count], c, opt, next.rate, &m, eb);
        if (st != ST_OK) break;
        tried[count] = (search_tried){next.rate, too_high(&points[count], c->target)};
        count++;
    }
    if (st == ST_OK) {
        qsort(points, count, sizeof *points, by_rate);
        *out = search_goodput(points, count, c->target);
    }
    free(m.requests);
    free(m.latencies);
    free(m.begin_s);
    return st;
}
