#include "planner/judge/rate.h"

#include "planner/judge/pool.h"
#include "planner/judge/replication.h"

#include "base/mem.h"
#include "bench/stats/steady.h"

#include <math.h>
#include <stdlib.h>

#define FAR         4 /* only_side: so many half widths off the target */
#define GROW_MOST   4 /* times as many arrivals at once */
#define GROW_LEAST  1.3
#define TRUST       2   /* growth is believed after so many times the longest stay */
#define STAYS       1.5 /* a request stays longer than alone: begin with that */
#define FULLER      8   /* and end with that */
#define SAYS_GROWTH 2   /* looks in a row, each at twice as many arrivals */

typedef struct run {
    const judge_case *c;
    const judge_rules *r;
    const rate_ask *ask;
    replication *seeds[JUDGE_SEEDS_MAX]; /* [count]; owned */
    uint32_t count, arrivals;
    uint32_t warmup;        /* half of the arrivals until it suffices, and from then on what it was */
    uint32_t arrivals_most; /* of a seed */
    uint32_t growing;       /* looks in a row at which the number in flight grew */
    interval attainment;
    bool unstable, settled;
} run;

static status run_seed(void *ctx, uint32_t index, errbuf *eb) {
    run *u = ctx;
    if (!u->seeds[index]) {
        status st = replication_new(&u->seeds[index], u->c, u->ask->rate, u->r->first_seed + index, eb);
        if (st != ST_OK) return st;
    }
    return replication_run(u->seeds[index], u->arrivals, u->warmup, eb);
}

/* Whether the warm-up is long enough: of those who came to an empty cluster none is there any more, and, by
 * the mean of all seeds, the queues have forgotten it. */
static bool has_settled(const run *u) {
    uint32_t n = u->arrivals;
    bool is = true;
    double *flight = xcalloc(2 * (size_t)n, sizeof *flight), *ttft = flight + n;
    for (uint32_t i = 0; i < u->count; i++) {
        const replication_sum *s = replication_result(u->seeds[i]);
        is = is && s->warmup_s >= s->longest_s;
        replication_series(u->seeds[i], flight, ttft);
    }
    size_t cut; /* within half of the arrivals */
    is = is && steady_mser5(flight, n, &cut) && steady_mser5(ttft, n, &cut);
    free(flight);
    return is;
}

static void look(run *u) {
    double x[JUDGE_SEEDS_MAX], first = 0, last = 0;
    uint32_t good = 0, members = 0;
    for (uint32_t i = 0; i < u->count; i++) {
        const replication_sum *s = replication_result(u->seeds[i]);
        x[i] = s->attainment;
        good += s->good;
        members += s->members;
        first += s->first_third;
        last += s->last_third;
    }
    u->settled = u->settled || has_settled(u);
    u->attainment = stats_seeds(x, u->count, good, members);
    bool believed =
        u->arrivals == u->arrivals_most || u->arrivals >= TRUST * u->ask->rate * u->ask->longest_s;
    bool grows = believed && steady_growth(first, last, members, 1).unstable;
    u->growing = grows ? u->growing + 1 : 0;
    u->unstable = u->growing >= SAYS_GROWTH || (grows && u->arrivals == u->arrivals_most);
}

/* How much wider the interval is than was asked; <= 1: narrow enough. */
static double too_wide(const run *u) {
    const interval *a = &u->attainment;
    double half = (a->high - a->low) / 2, want = u->ask->half_width;
    if (u->ask->only_side) want = fmax(want, fabs(a->mean - u->r->target) / FAR);
    return isnan(half) ? INFINITY : half / want;
}

static void grow_arrivals(run *u, double factor) {
    double most = fmin(factor, GROW_MOST) * u->arrivals;
    u->arrivals = most < u->arrivals_most ? (uint32_t)most : u->arrivals_most;
    if (!u->settled) u->warmup = u->arrivals / 2;
}

/* false: enough is known, or the caps are reached. */
static bool goes_on(run *u) {
    if (u->unstable) return false;
    bool can_grow = u->arrivals < u->arrivals_most;
    double wide = too_wide(u);
    /* An empty cluster does better than a settled one: what fails already fails for good. */
    if (wide <= 1 && !u->growing && u->attainment.high < u->r->target) return false;
    if (u->growing || !u->settled) {
        grow_arrivals(u, 2);
        return can_grow;
    }
    if (wide <= 1) return false;
    if (u->count < u->r->seeds_cap) {
        u->count = (uint32_t)fmin(ceil(u->count * fmax(wide * wide, GROW_LEAST)), u->r->seeds_cap);
        return true;
    }
    grow_arrivals(u, fmax(wide * wide, GROW_LEAST));
    return can_grow;
}

/* ---- what it found ---- */

static void percentiles(const run *u, replication_metric m, double out[3]) {
    size_t n = 0, most = 0;
    for (uint32_t i = 0; i < u->count; i++) most += replication_result(u->seeds[i])->members;
    double *x = xmalloc((most + 1) * sizeof *x);
    for (uint32_t i = 0; i < u->count; i++) n += replication_latencies(u->seeds[i], m, x + n);
    stats_sort(x, n);
    static const double q[] = {50, 90, 99};
    for (uint32_t i = 0; i < ARRAY_LEN(q); i++) out[i] = stats_percentile(x, n, q[i]);
    free(x);
}

static void tell(const run *u, judge_point *out, uint64_t *simulated) {
    judge_point p = {.rate = u->ask->rate,
                     .attainment = u->attainment,
                     .unstable = u->unstable,
                     .settled = u->settled,
                     .seeds = u->count,
                     .itl_ms = {NAN, NAN, NAN}};
    uint64_t ttft = 0, tpot = 0, itl = 0, refused = 0;
    *simulated = 0;
    for (uint32_t i = 0; i < u->count; i++) {
        const replication_sum *s = replication_result(u->seeds[i]);
        fleet_totals t = replication_totals(u->seeds[i]);
        p.requests += s->members;
        p.steps_outside += t.steps_outside;
        *simulated += t.arrived;
        ttft += s->ttft_good;
        tpot += s->tpot_good;
        itl += s->itl_good;
        refused += s->refused;
        p.prefill_busy += s->prefill_busy / u->count;
        p.decode_busy += s->decode_busy / u->count;
        if (s->pages_most > p.pages_most) p.pages_role = s->pages_role;
        p.pages_most = fmax(p.pages_most, s->pages_most);
    }
    double n = (double)p.requests;
    bool limits_itl = judge_fleet_options(u->c, 0).want_gaps;
    p.attainment_ttft = (double)ttft / n;
    p.attainment_tpot = (double)tpot / n;
    p.attainment_itl = limits_itl ? (double)itl / n : NAN;
    p.refused = (double)refused / n;
    percentiles(u, REPLICATION_TTFT, p.ttft_ms);
    percentiles(u, REPLICATION_TPOT, p.tpot_ms);
    if (limits_itl) percentiles(u, REPLICATION_ITL, p.itl_ms);
    *out = p;
}

status rate_run(judge_point *out, const judge_case *c, const judge_rules *r, const rate_ask *ask,
                uint64_t *simulated, errbuf *eb) {
    PRE(out);
    PRE(r->seeds_cap <= JUDGE_SEEDS_MAX);
    run u = {.c = c, .r = r, .ask = ask, .count = r->seeds};
    double stay = 2 * ask->rate * ask->longest_s; /* half of it is as long as the longest stay */
    double most = 2 * (double)r->requests_cap + FULLER * stay;
    u.arrivals_most = (uint32_t)fmin(most, JUDGE_REQUESTS_MAX);
    u.arrivals = (uint32_t)fmin((double)r->requests_min * 2 + STAYS * stay, u.arrivals_most);
    u.warmup = u.arrivals / 2;
    status st;
    do {
        st = judge_pool(r->threads, u.count, run_seed, &u, eb);
        if (st == ST_OK) look(&u);
    } while (st == ST_OK && goes_on(&u));
    if (st == ST_OK) tell(&u, out, simulated);
    for (uint32_t i = 0; i < JUDGE_SEEDS_MAX; i++) replication_free(u.seeds[i]);
    return st;
}
