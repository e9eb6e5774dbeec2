#include "planner/search/plan_samples.h"

#include "base/mem.h"
#include "bench/stats/steady.h"
#include "planner/judge/pool.h"

#include <math.h>
#include <stdlib.h>

#define KEY 12u /* of the bootstrap */

typedef struct taking {
    plan_samples *all; /* [count] */
    const plan_samples_how *how;
    plan_input in; /* without limits on TTFT and TPOT */
    uint32_t per;  /* tasks of one placement */
} taking;

static status take(void *ctx, uint32_t index, errbuf *eb) {
    const taking *t = ctx;
    plan_samples *s = &t->all[index / t->per];
    uint32_t rate = index % t->per / t->how->seeds, seed = index % t->how->seeds;
    if (rate >= s->rate_count) return ST_OK;
    plan_sample_cell *cell = &s->cells[rate][seed];
    judge_case one = plan_case(&t->in, &s->placement);
    replication *r = NULL;
    status st = replication_new(&r, &one, s->rates[rate], t->in.seed + seed, eb);
    if (st == ST_OK) st = replication_run(r, t->how->requests, t->how->requests / 4, eb);
    if (st == ST_OK) {
        const replication_sum *sum = replication_result(r);
        cell->pairs = xcalloc(sum->members + 1, sizeof *cell->pairs);
        cell->count = (uint32_t)replication_pairs(r, cell->pairs);
        cell->first_third = sum->first_third;
        cell->last_third = sum->last_third;
    }
    replication_free(r);
    return st == ST_INVALID ? ST_OK : st;
}

static void judge_growth(plan_samples *s) {
    for (uint32_t i = 0; i < s->rate_count; i++) {
        double first = 0, last = 0;
        uint32_t members = 0;
        for (uint32_t k = 0; k < s->seeds; k++) {
            first += s->cells[i][k].first_third;
            last += s->cells[i][k].last_third;
            members += s->cells[i][k].count;
        }
        s->unstable[i] = steady_growth(first, last, members, 1).unstable;
    }
}

status plan_samples_take(plan_samples *s, uint32_t count, const plan_samples_how *how, errbuf *eb) {
    PRE(s || !count);
    PRE(how);
    PRE(how->seeds >= 1);
    PRE(how->seeds <= PLAN_SAMPLES_SEEDS);
    taking t = {.all = s, .how = how, .in = *how->in, .per = PLAN_SAMPLES_RATES * how->seeds};
    t.in.limits.ttft_ms = t.in.limits.tpot_ms = INFINITY;
    errbuf ignored = {0};
    status st = judge_pool(how->in->threads, count * t.per, take, &t, eb ? eb : &ignored);
    for (uint32_t i = 0; i < count; i++) {
        s[i].seeds = how->seeds;
        if (st == ST_OK) judge_growth(&s[i]);
    }
    return st;
}

void plan_samples_done(plan_samples *s) {
    PRE(s);
    for (uint32_t i = 0; i < PLAN_SAMPLES_RATES; i++)
        for (uint32_t k = 0; k < PLAN_SAMPLES_SEEDS; k++) free(s->cells[i][k].pairs);
    *s = (plan_samples){0};
}

attainment_grid plan_samples_grid(const plan_samples *s, double ttft_ms, double tpot_ms, double *attainment) {
    PRE(s);
    PRE(attainment);
    for (uint32_t k = 0; k < s->seeds; k++) {
        for (uint32_t i = 0; i < s->rate_count; i++) {
            const plan_sample_cell *c = &s->cells[i][k];
            uint32_t good = 0;
            for (uint32_t n = 0; n < c->count; n++)
                good +=
                    c->pairs[n].rest_good && c->pairs[n].ttft_ms <= ttft_ms && c->pairs[n].tpot_ms <= tpot_ms;
            attainment[k * s->rate_count + i] = c->count ? (double)good / c->count : NAN;
        }
    }
    return (attainment_grid){.rates = s->rates,
                             .rate_count = s->rate_count,
                             .attainment = attainment,
                             .devices = s->devices,
                             .unstable = s->unstable};
}

/* Means over seeds, up to the first rate without a value or, if asked, at which the queue grows. */
static uint32_t means(const plan_samples *s, double ttft_ms, double tpot_ms, bool stable, double *mean) {
    double by_seed[PLAN_SAMPLES_SEEDS * PLAN_SAMPLES_RATES];
    (void)plan_samples_grid(s, ttft_ms, tpot_ms, by_seed);
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->rate_count && !(stable && s->unstable[i]); i++) {
        mean[i] = 0;
        for (uint32_t k = 0; k < s->seeds; k++) mean[i] += by_seed[k * s->rate_count + i] / s->seeds;
        if (isnan(mean[i])) break;
        n++;
    }
    return n;
}

double plan_samples_goodput(const plan_samples *s, double ttft_ms, double tpot_ms, double target) {
    PRE(s);
    double mean[PLAN_SAMPLES_RATES];
    uint32_t n = means(s, ttft_ms, tpot_ms, true, mean);
    if (!n) return 0;
    double at = search_crossing(s->rates, mean, n, target);
    return (isinf(at) ? s->rates[n - 1] : at) / s->devices;
}

double plan_samples_attainment(const plan_samples *s, double ttft_ms, double tpot_ms,
                               double rate_per_device) {
    PRE(s);
    double mean[PLAN_SAMPLES_RATES], rate = rate_per_device * s->devices;
    uint32_t n = means(s, ttft_ms, tpot_ms, false, mean);
    for (uint32_t i = 1; i < n; i++) {
        if (rate < s->rates[i - 1] || rate > s->rates[i]) continue;
        double part = (rate - s->rates[i - 1]) / (s->rates[i] - s->rates[i - 1]);
        return mean[i - 1] + part * (mean[i] - mean[i - 1]);
    }
    return NAN;
}

ratio plan_samples_ratio(const plan_samples *a, const plan_samples *b, double ttft_ms, double tpot_ms,
                         double target, uint32_t resamples) {
    PRE(a);
    PRE(b);
    PRE(a->seeds == b->seeds);
    double x[PLAN_SAMPLES_SEEDS * PLAN_SAMPLES_RATES], y[PLAN_SAMPLES_SEEDS * PLAN_SAMPLES_RATES];
    attainment_grid ga = plan_samples_grid(a, ttft_ms, tpot_ms, x),
                    gb = plan_samples_grid(b, ttft_ms, tpot_ms, y);
    return bootstrap_goodput_ratio(&ga, &gb, a->seeds, target, resamples, KEY);
}
