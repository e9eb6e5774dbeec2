#include "planner/judge/replication.h"

#include "base/clock.h"
#include "base/mem.h"
#include "bench/stats/steady.h"

#include <math.h>
#include <stdlib.h>

#define DRAIN_PARTS 16u /* of the arrivals: how often one looks whether all have ended */

typedef struct record {
    double at_s, end_s; /* end: INFINITY, it has not ended */
    double ttft_ms, tpot_ms, itl_ms;
    double hopeless_s; /* from then on it cannot keep its limits any more */
    uint64_t at_ns;
    uint32_t prompt_tokens, output_tokens;
    bool good, ttft_good, tpot_good, itl_good, refused;
} record;

struct replication {
    const judge_case *c;
    uint64_t seed;
    arrivals_stream stream;
    fleet *fleet;
    record *records; /* [made], by index */
    uint32_t made, capacity, taken, arrivals, warmup;
    double *ends; /* [ended], s, ascending; as large as records */
    uint32_t ended;
    replication_sum sum;
};

/* ---- what goes in ---- */

static void make_until(replication *r, uint32_t count) {
    if (count > r->capacity) {
        r->capacity = MAX(count, r->capacity * 2);
        r->records = xrealloc(r->records, r->capacity, sizeof *r->records);
        r->ends = xrealloc(r->ends, r->capacity, sizeof *r->ends);
    }
    const slo *s = &r->c->limits;
    for (; r->made < count; r->made++) {
        workload_item it = workload_at(r->c->load, r->seed, r->made);
        double at_s = arrivals_next(&r->stream);
        double most_ms = fmin(s->e2e_ms, s->ttft_ms + s->tpot_ms * (it.output_tokens - 1));
        if (it.output_tokens == 1) most_ms = fmin(s->e2e_ms, s->ttft_ms); /* not INFINITY * 0 */
        uint64_t before_ns = r->made ? r->records[r->made - 1].at_ns : 0;
        r->records[r->made] = (record){.at_s = at_s,
                                       .end_s = INFINITY,
                                       .hopeless_s = at_s + most_ms / 1e3,
                                       .at_ns = MAX((uint64_t)llround(at_s * (double)NS_PER_S), before_ns),
                                       .prompt_tokens = it.prompt_tokens,
                                       .output_tokens = it.output_tokens};
    }
}

static bool next(void *ctx, fleet_request *out) {
    replication *r = ctx;
    make_until(r, r->taken + 1);
    const record *rec = &r->records[r->taken++];
    *out = (fleet_request){rec->at_ns, rec->prompt_tokens, rec->output_tokens};
    return true;
}

/* ---- what comes out ---- */

static void ended(void *ctx, const fleet_outcome *o) {
    replication *r = ctx;
    CHECK(o->index < r->taken);
    record *rec = &r->records[o->index];
    const slo *s = &r->c->limits;
    bool done = o->end == FLEET_DONE;
    rec->refused = !done;
    rec->end_s = done ? (double)o->last_ns / (double)NS_PER_S : rec->at_s;
    double before = r->ended ? r->ends[r->ended - 1] : 0;
    r->ends[r->ended++] = fmax(before, rec->end_s);
    if (!done) return;
    slo_latencies l = judge_latencies(o);
    rec->ttft_ms = l.ttft_ms;
    rec->tpot_ms = l.tpot_ms;
    rec->itl_ms = l.itl_p99_ms;
    rec->good = slo_kept(s, &l);
    rec->ttft_good = l.ttft_ms <= s->ttft_ms;
    rec->tpot_good = l.tpot_ms <= s->tpot_ms;
    rec->itl_good = l.itl_p99_ms <= s->itl_p99_ms && l.itl_max_ms <= s->itl_max_ms;
}

/* ---- life ---- */

status replication_new(replication **out, const judge_case *c, double rate, uint64_t seed, errbuf *eb) {
    PRE(out);
    PRE(c);
    replication *r = xcalloc(1, sizeof *r);
    r->c = c;
    r->seed = seed;
    status st = arrivals_begin(&r->stream, c->arrivals, c->load, rate, seed, eb);
    if (st != ST_OK) goto fail;
    const fleet_options opt = judge_fleet_options(c, seed);
    const fleet_sink sink = {.ctx = r, .next = next, .ended = ended};
    st = fleet_new(&r->fleet, &opt, &sink, eb);
    if (st != ST_OK) goto fail;
    *out = r;
    return ST_OK;

fail:
    replication_free(r);
    return st;
}

void replication_free(replication *r) {
    if (!r) return;
    fleet_free(r->fleet);
    free(r->records);
    free(r->ends);
    free(r);
}

/* ---- sums ---- */

static double now_s(const replication *r) {
    return (double)fleet_totals_of(r->fleet).now_ns / (double)NS_PER_S;
}

static void take_growth(replication *r) {
    uint32_t n = r->arrivals;
    double *begin_s = xmalloc(2 * (size_t)n * sizeof *begin_s), *end_s = begin_s + n;
    for (uint32_t i = 0; i < n; i++) {
        begin_s[i] = r->records[i].at_s;
        end_s[i] = r->records[i].end_s;
    }
    double from_s = r->sum.warmup_s, to_s = begin_s[n - 1], third = (to_s - from_s) / 3;
    if (to_s > from_s) {
        r->sum.first_third = steady_in_flight(begin_s, end_s, n, from_s, from_s + third);
        r->sum.last_third = steady_in_flight(begin_s, end_s, n, to_s - third, to_s);
    }
    free(begin_s);
}

static void take_workers(replication *r) {
    double now_ns = (double)MAX(fleet_totals_of(r->fleet).now_ns, 1u);
    for (uint32_t i = 0; i < fleet_worker_count(r->fleet); i++) {
        fleet_worker_totals w = fleet_worker(r->fleet, i);
        double busy = (double)w.busy_ns / w.lanes / now_ns,
               pages = w.pages ? (double)w.pages_most / w.pages : 0;
        if (w.role != ROLE_DECODE) r->sum.prefill_busy = fmax(r->sum.prefill_busy, busy);
        if (w.role != ROLE_PREFILL) r->sum.decode_busy = fmax(r->sum.decode_busy, busy);
        if (pages > r->sum.pages_most) r->sum.pages_role = w.role;
        r->sum.pages_most = fmax(r->sum.pages_most, pages);
    }
}

static void sum_up(replication *r) {
    uint32_t first = r->warmup;
    r->sum = (replication_sum){.warmup_s = r->records[first].at_s, .members = r->arrivals - first};
    for (uint32_t i = 0; i < r->arrivals; i++) {
        const record *rec = &r->records[i];
        r->sum.longest_s = fmax(r->sum.longest_s, fmin(rec->end_s, now_s(r)) - rec->at_s);
        if (i < first) continue;
        r->sum.good += rec->good;
        r->sum.ttft_good += rec->ttft_good;
        r->sum.tpot_good += rec->tpot_good;
        r->sum.itl_good += rec->itl_good;
        r->sum.refused += rec->refused;
    }
    r->sum.attainment = (double)r->sum.good / r->sum.members;
    take_growth(r);
    take_workers(r);
}

/* Whether one of the arrivals is there that may still keep its limits. *from: none before it is. */
static bool one_hopes(const replication *r, uint32_t *from) {
    double now = now_s(r);
    for (; *from < r->arrivals; ++*from) {
        const record *rec = &r->records[*from];
        if (isinf(rec->end_s) && now <= rec->hopeless_s) return true;
    }
    return false;
}

/* Until all of the arrivals have ended, or have no hope; those that are left when as many have come again are
 * misses. */
static status run_out(replication *r, errbuf *eb) {
    uint32_t from = 0, at = r->arrivals, step = r->arrivals / DRAIN_PARTS + 1;
    for (;;) {
        make_until(r, at);
        uint64_t until_ns = MAX(r->records[at - 1].at_ns, fleet_totals_of(r->fleet).now_ns);
        status st = fleet_run(r->fleet, until_ns, eb);
        if (st != ST_OK || !one_hopes(r, &from) || at >= 2 * (uint64_t)r->arrivals) return st;
        at += step;
    }
}

status replication_run(replication *r, uint32_t arrivals, uint32_t warmup, errbuf *eb) {
    PRE(r);
    PRE(arrivals >= r->arrivals);
    PRE(warmup < arrivals);
    if (arrivals == r->arrivals && warmup == r->warmup) return ST_OK;
    status st = ST_OK;
    r->warmup = warmup;
    if (arrivals > r->arrivals) {
        r->arrivals = arrivals;
        st = run_out(r, eb);
    }
    if (st == ST_OK) sum_up(r);
    return st;
}

const replication_sum *replication_result(const replication *r) {
    PRE(r);
    return &r->sum;
}

fleet_totals replication_totals(const replication *r) {
    PRE(r);
    return fleet_totals_of(r->fleet);
}

/* ms; one that has not come counts with the time that was waited for it. */
static double ttft_ms_of(const replication *r, const record *rec) {
    return isinf(rec->end_s) ? (now_s(r) - rec->at_s) * 1e3 : rec->ttft_ms;
}

void replication_series(const replication *r, double *in_flight, double *ttft_ms) {
    PRE(r);
    uint32_t gone = 0;
    for (uint32_t i = 0; i < r->arrivals; i++) {
        const record *rec = &r->records[i];
        while (gone < r->ended && r->ends[gone] <= rec->at_s) gone++;
        in_flight[i] += (double)(i + 1) - gone;
        ttft_ms[i] += ttft_ms_of(r, rec);
    }
}

size_t replication_latencies(const replication *r, replication_metric m, double *out) {
    PRE(r);
    PRE(out);
    size_t n = 0;
    for (uint32_t i = r->warmup; i < r->arrivals; i++) {
        const record *rec = &r->records[i];
        bool there = isinf(rec->end_s), several = !there && rec->output_tokens > 1;
        if (rec->refused) continue;
        switch (m) {
        case REPLICATION_TTFT:
            out[n++] = ttft_ms_of(r, rec);
            break;
        case REPLICATION_TPOT:
            if (several) out[n++] = rec->tpot_ms;
            break;
        case REPLICATION_ITL:
            if (several) out[n++] = rec->itl_ms;
            break;
        }
    }
    return n;
}

size_t replication_pairs(const replication *r, replication_pair *out) {
    PRE(r);
    PRE(out);
    size_t n = 0;
    for (uint32_t i = r->warmup; i < r->arrivals; i++) {
        const record *rec = &r->records[i];
        bool over = !rec->refused && isfinite(rec->end_s);
        bool in_time = over && (rec->end_s - rec->at_s) * 1e3 <= r->c->limits.e2e_ms;
        out[n++] = (replication_pair){.ttft_ms = over ? (float)rec->ttft_ms : INFINITY,
                                      .tpot_ms = over ? (float)rec->tpot_ms : INFINITY,
                                      .rest_good = over && rec->itl_good && in_time};
    }
    return n;
}
