#include "bench/workload/arrivals.h"

#include "bench/workload/draw.h"
#include "bench/workload/workload.h"

#include "base/mem.h"

#include <math.h>
#include <stdbool.h>

static bool is_ramp(const arrivals_options *opt) {
    return opt->kind == ARRIVALS_RAMP_LINEAR || opt->kind == ARRIVALS_RAMP_EXPONENTIAL;
}

status arrivals_check(const arrivals_options *opt, errbuf *eb) {
    PRE(opt);
    if ((opt->kind == ARRIVALS_GAMMA || is_ramp(opt)) && !(opt->burstiness >= ARRIVALS_BURSTINESS_MIN))
        return errf(eb, ST_INVALID, "burstiness %g: want at least %g (1 = Poisson, inf = constant)",
                    opt->burstiness, ARRIVALS_BURSTINESS_MIN);
    if (!is_ramp(opt)) return ST_OK;
    if (!(opt->ramp_from > 0) || !isfinite(opt->ramp_from))
        return errf(eb, ST_INVALID, "the ramp starts at %g requests per second: want a number above 0",
                    opt->ramp_from);
    if (!(opt->ramp_to > 0) || !isfinite(opt->ramp_to))
        return errf(eb, ST_INVALID, "the ramp ends at %g requests per second: want a number above 0",
                    opt->ramp_to);
    return ST_OK;
}

/* The rate at arrival i of a ramp, as vLLM has it: by the request's index, not by the time. */
static double ramp_rate(const arrivals_options *opt, uint32_t i, uint32_t count) {
    double progress = (double)i / MAX(count - 1, 1u);
    if (opt->kind == ARRIVALS_RAMP_LINEAR) return opt->ramp_from + (opt->ramp_to - opt->ramp_from) * progress;
    return opt->ramp_from * pow(opt->ramp_to / opt->ramp_from, progress);
}

/* Of mean 1 */
static double unit_gap(const arrivals_options *opt, uint64_t seed, uint32_t i) {
    if (opt->kind == ARRIVALS_CONSTANT || isinf(opt->burstiness)) return 1;
    draw d = draw_begin(seed, i, DRAW_GAP);
    return draw_gamma(&d, opt->burstiness);
}

status arrivals_make(double *at_s, uint32_t count, const arrivals_options *opt, double rate, uint64_t seed,
                     errbuf *eb) {
    PRE(at_s || !count);
    PRE(opt);
    PRE(opt->kind != ARRIVALS_TRACE);
    status st = arrivals_check(opt, eb);
    if (st != ST_OK) return st;
    if (!(rate > 0))
        return errf(eb, ST_INVALID, "%g requests per second: want a number above 0, or inf", rate);
    if (count > ARRIVALS_COUNT_MAX)
        return errf(eb, ST_INVALID, "%u requests in one stream: want at most %u", count, ARRIVALS_COUNT_MAX);
    if (isinf(rate) && is_ramp(opt))
        return errf(eb, ST_INVALID, "a ramp has its own rates: want a finite request rate");

    double sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        double gap = unit_gap(opt, seed, i);
        sum += is_ramp(opt) ? gap / ramp_rate(opt, i, count) : gap;
        at_s[i] = isinf(rate) ? 0 : sum / rate;
    }
    return ST_OK;
}

status arrivals_of_trace(double *at_s, uint32_t count, const workload *w, double rate, uint64_t seed,
                         errbuf *eb) {
    PRE(at_s || !count);
    PRE(w);
    if (count > ARRIVALS_COUNT_MAX)
        return errf(eb, ST_INVALID, "%u requests in one stream: want at most %u", count, ARRIVALS_COUNT_MAX);
    double own = workload_trace_rate(w);
    if (isnan(own))
        return errf(eb, ST_INVALID, "the workload has no times of its own: want a trace, or other arrivals");
    if (!isnan(rate) && !(rate > 0))
        return errf(eb, ST_INVALID, "%g requests per second: want a number above 0, or inf", rate);
    double factor = isnan(rate) ? 1 : own / rate;
    for (uint32_t i = 0; i < count; i++) at_s[i] = workload_at(w, seed, i).at_s * factor;
    return ST_OK;
}

void arrivals_rescale(double *at_s, uint32_t count, double rate) {
    PRE(at_s || !count);
    PRE(rate > 0);
    if (!count || at_s[count - 1] <= 0) return;
    double factor = (count / rate) / at_s[count - 1];
    for (uint32_t i = 0; i < count; i++) at_s[i] *= factor;
}

status arrivals_begin(arrivals_stream *s, const arrivals_options *opt, const workload *w, double rate,
                      uint64_t seed, errbuf *eb) {
    PRE(s);
    PRE(opt);
    if (is_ramp(opt)) return errf(eb, ST_INVALID, "a ramp has no end of its own: want other arrivals");
    if (!(rate > 0) || isinf(rate))
        return errf(eb, ST_INVALID, "%g requests per second: want a finite number above 0", rate);
    bool by_file = opt->kind == ARRIVALS_TRACE;
    status st = by_file ? arrivals_of_trace(NULL, 0, w, rate, seed, eb) : arrivals_check(opt, eb);
    if (st != ST_OK) return st;
    *s = (arrivals_stream){.options = *opt, .w = w, .rate = rate, .seed = seed};
    return ST_OK;
}

double arrivals_next(arrivals_stream *s) {
    PRE(s);
    PRE(s->next < ARRIVALS_COUNT_MAX);
    uint32_t i = s->next++;
    if (s->options.kind == ARRIVALS_TRACE)
        return workload_at(s->w, s->seed, i).at_s * (workload_trace_rate(s->w) / s->rate);
    s->sum += unit_gap(&s->options, s->seed, i);
    return s->sum / s->rate;
}
