#include "planner/judge/judge.h"

#include "base/clock.h"

#include <math.h>

judge_rules judge_rules_default(void) {
    return (judge_rules){.target = 0.9,
                         .half_width = 0.01,
                         .seeds = 8,
                         .seeds_cap = 16,
                         .requests_min = 2000,
                         .requests_cap = 50000,
                         .first_seed = 1,
                         .resolution = 0.02,
                         .threads = 1};
}

static bool limits_itl(const slo *s) {
    return isfinite(s->itl_p99_ms) || isfinite(s->itl_max_ms);
}

fleet_options judge_fleet_options(const judge_case *c, uint64_t seed) {
    PRE(c);
    return (fleet_options){.profile = c->profile,
                           .placement = c->placement,
                           .max_requests = c->max_requests,
                           .max_queue = c->max_queue,
                           .max_context = c->max_context,
                           .seed = seed,
                           .extrapolate = c->extrapolate,
                           .want_gaps = limits_itl(&c->limits),
                           .one_host = c->one_host};
}

static double ms_between(uint64_t from_ns, uint64_t to_ns) {
    return (double)(to_ns - from_ns) / (double)NS_PER_MS;
}

slo_latencies judge_latencies(const fleet_outcome *o) {
    PRE(o);
    PRE(o->end == FLEET_DONE);
    slo_latencies l = {.ttft_ms = ms_between(o->at_ns, o->first_ns),
                       .e2e_ms = ms_between(o->at_ns, o->last_ns)};
    if (o->output_tokens > 1) l.tpot_ms = ms_between(o->first_ns, o->last_ns) / (o->output_tokens - 1);
    if (!isnan(o->itl_p99_ms)) l.itl_p99_ms = o->itl_p99_ms;
    if (!isnan(o->itl_max_ms)) l.itl_max_ms = o->itl_max_ms;
    return l;
}

rate_point judge_rate_point(const judge_point *p) {
    PRE(p);
    rate_point out = {.rate = p->rate, .attainment = p->attainment, .unstable = p->unstable};
    if (!p->settled) out.attainment.low = 0; /* it may fail, but not pass */
    return out;
}
