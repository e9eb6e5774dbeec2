/* judge_rate and judge_search of judge.h: apart from judge.c, on which the parts rest that these use. */
#include "planner/judge/judge.h"

#include "planner/judge/lone.h"
#include "planner/judge/pool.h"
#include "planner/judge/rate.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>

#define WIDEST 0.05 /* half of an interval, however steep attainment falls */

static status check_rules(const judge_rules *r, errbuf *eb) {
    if (!(r->target > 0 && r->target <= 1))
        return errf(eb, ST_INVALID, "a target of %g: want more than 0, at most 1", r->target);
    if (!(r->half_width > 0))
        return errf(eb, ST_INVALID, "half a width of %g: want more than 0", r->half_width);
    if (r->seeds < 2 || r->seeds_cap < r->seeds || r->seeds_cap > JUDGE_SEEDS_MAX)
        return errf(eb, ST_INVALID, "%u to %u seeds: want 2 to %u", r->seeds, r->seeds_cap, JUDGE_SEEDS_MAX);
    if (r->requests_min < 1 || r->requests_cap < r->requests_min || r->requests_cap > JUDGE_REQUESTS_MAX)
        return errf(eb, ST_INVALID, "%llu to %llu requests of a seed: want 1 to %u",
                    (unsigned long long)r->requests_min, (unsigned long long)r->requests_cap,
                    JUDGE_REQUESTS_MAX);
    if (!(r->resolution > 0))
        return errf(eb, ST_INVALID, "a resolution of %g: want more than 0", r->resolution);
    if (!(r->start_rate >= 0) || isinf(r->start_rate))
        return errf(eb, ST_INVALID,
                    "a search from %g requests per second: want a finite number above 0, or 0",
                    r->start_rate);
    if (r->threads < 1 || r->threads > JUDGE_POOL_THREADS_MAX)
        return errf(eb, ST_INVALID, "%u threads: want 1 to %u", r->threads, JUDGE_POOL_THREADS_MAX);
    return ST_OK;
}

status judge_rate(judge_point *out, const judge_case *c, const judge_rules *r, double rate, errbuf *eb) {
    PRE(out);
    PRE(c);
    PRE(r);
    lone l;
    uint64_t simulated;
    status st = check_rules(r, eb);
    if (st == ST_OK) st = lone_run(&l, c, r->first_seed, r->target, eb);
    if (st == ST_OK)
        st = rate_run(out, c, r,
                      &(rate_ask){.rate = rate, .longest_s = l.longest_s, .half_width = r->half_width},
                      &simulated, eb);
    return st;
}

/* ---- the search ---- */

static verdict verdict_of(const judge_point *p, double target) {
    const rate_point at = judge_rate_point(p);
    return search_judge(&at, target);
}

/* What stays undecided points the way that its mean does. */
static bool too_high(const judge_point *p, double target) {
    verdict v = verdict_of(p, target);
    return v == VERDICT_FAIL || (v == VERDICT_UNDECIDED && p->attainment.mean < target);
}

static void insert(judge_goodput *out, const judge_point *p) {
    CHECK(out->count < JUDGE_POINTS_MAX);
    uint32_t at = out->count++;
    for (; at > 0 && out->points[at - 1].rate > p->rate; at--) out->points[at] = out->points[at - 1];
    out->points[at] = *p;
}

/* Where attainment falls steeply, so wide an interval says the rate to half of the resolution, and a narrower
 * one would be no use: as steep as between the tried rates on either side. Elsewhere as the rules say. */
static double narrow_enough(const judge_goodput *g, const judge_rules *r, double rate) {
    uint32_t above = 0;
    while (above < g->count && g->points[above].rate < rate) above++;
    if (above == 0 || above == g->count) return r->half_width;
    const judge_point *a = &g->points[above - 1], *b = &g->points[above];
    double slope = (a->attainment.mean - b->attainment.mean) / (b->rate - a->rate);
    return fmax(r->half_width, fmin(slope * rate * r->resolution / 2, WIDEST));
}

static const char *busiest(const judge_case *c, const judge_point *p, char *out, size_t size) {
    if (c->placement->roles[ROLE_COLOCATED].count)
        snprintf(out, size, "workers %.0f %% busy", 100 * fmax(p->prefill_busy, p->decode_busy));
    else if (p->prefill_busy >= p->decode_busy)
        snprintf(out, size, "prefill workers %.0f %% busy", 100 * p->prefill_busy);
    else
        snprintf(out, size, "decode workers %.0f %% busy", 100 * p->decode_busy);
    return out;
}

/* What goes wrong at the lowest rate that is too high. */
static void say_limit(judge_goodput *out, const judge_case *c, double target) {
    uint32_t at = 0;
    while (at < out->count && !too_high(&out->points[at], target)) at++;
    if (at == out->count) {
        snprintf(out->why, sizeof out->why, "nothing, up to the highest rate that was tried");
        return;
    }
    const judge_point *p = &out->points[at];
    const struct {
        const char *name;
        double kept;
    } all[] = {{"TTFT", p->attainment_ttft}, {"TPOT", p->attainment_tpot}, {"ITL", p->attainment_itl}};
    size_t worst = 0;
    for (size_t i = 1; i < ARRAY_LEN(all); i++)
        if (all[i].kept < all[worst].kept) worst = i; /* NAN is not less */
    char busy[64], pages[64] = "", refused[64] = "";
    if (p->pages_most > 0.98)
        snprintf(pages, sizeof pages, "; KV pages of a %s worker run out", worker_role_name(p->pages_role));
    if (p->refused >= 0.01)
        snprintf(refused, sizeof refused, "; the queue refuses %.2g %%", 100 * p->refused);
    snprintf(out->why, sizeof out->why, "%s: %.3g %% keep it at %.3g requests/s; %s%s%s%s", all[worst].name,
             100 * all[worst].kept, p->rate, busiest(c, p, busy, sizeof busy), pages, refused,
             p->unstable ? "; the queue grows without end" : "");
}

static void sum_up(judge_goodput *out, const judge_case *c, double target) {
    rate_point points[JUDGE_POINTS_MAX];
    for (uint32_t i = 0; i < out->count; i++) points[i] = judge_rate_point(&out->points[i]);
    out->result = search_goodput(points, out->count, target);
    say_limit(out, c, target);
    out->infeasible = out->result.fail == out->result.lowest;
}

status judge_search(judge_goodput *out, const judge_case *c, const judge_rules *r, errbuf *eb) {
    PRE(out);
    PRE(c);
    PRE(r);
    lone l;
    status st = check_rules(r, eb);
    if (st == ST_OK) st = lone_run(&l, c, r->first_seed, r->target, eb);
    if (st != ST_OK) return st;
    judge_goodput got = {.simulated = l.count, .result = {.pass = NAN, .fail = NAN}};
    got.infeasible = lone_misses(&l, &c->limits, r->target, got.why, sizeof got.why);
    const search_plan plan = {.start = r->start_rate > 0 ? r->start_rate : search_round(l.capacity / 2),
                              .max_rate = 1e9,
                              .resolution = r->resolution,
                              .probes_max = JUDGE_POINTS_MAX};
    search_tried tried[JUDGE_POINTS_MAX];
    while (!got.infeasible) {
        const search_step step = search_next(&plan, tried, got.count);
        if (step.why != SEARCH_GOES_ON) break;
        judge_point p;
        uint64_t simulated = 0;
        const rate_ask ask = {.rate = step.rate,
                              .longest_s = l.longest_s,
                              .half_width = narrow_enough(&got, r, step.rate),
                              .only_side = true};
        st = rate_run(&p, c, r, &ask, &simulated, eb);
        if (st != ST_OK) return err_prefix(eb, st, "%.3g requests per second", step.rate);
        tried[got.count] = (search_tried){p.rate, too_high(&p, r->target)};
        insert(&got, &p);
        got.simulated += simulated;
    }
    if (got.count) sum_up(&got, c, r->target);
    *out = got;
    return ST_OK;
}
