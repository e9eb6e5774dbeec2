#include "bench/workload/workload.h"

#include "bench/workload/draw.h"
#include "bench/workload/prompt.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* How the lengths of one side come about. */
typedef struct length_rule {
    double mean, range, cv, scale;
    uint32_t min, max; /* after the scale; max 0 = no bound */
    double log_mean, log_sd;
} length_rule;

struct workload {
    workload_kind kind;
    length_rule prompt, output;
};

static status check_length(const char *side, const length_rule *l, workload_kind kind, errbuf *eb) {
    if (kind != WORKLOAD_TRACE && !(l->mean > 0 && l->mean <= WORKLOAD_TOKENS_MAX))
        return errf(eb, ST_INVALID, "mean %s length %g: want a number above 0, at most %u", side, l->mean,
                    WORKLOAD_TOKENS_MAX);
    if (kind == WORKLOAD_UNIFORM && !(l->range >= 0 && l->range <= 1))
        return errf(eb, ST_INVALID, "range ratio %g of the %s length: want 0 to 1", l->range, side);
    if (kind == WORKLOAD_LOGNORMAL && !(l->cv >= 0 && l->cv <= 100))
        return errf(eb, ST_INVALID, "coefficient of variation %g of the %s length: want 0 to 100", l->cv,
                    side);
    if (!(l->scale > 0 && l->scale <= WORKLOAD_TOKENS_MAX))
        return errf(eb, ST_INVALID, "%s lengths times %g: want a factor above 0", side, l->scale);
    if (l->min > WORKLOAD_TOKENS_MAX || l->max > WORKLOAD_TOKENS_MAX)
        return errf(eb, ST_INVALID, "%s lengths from %u to %u: want at most %u", side, l->min, l->max,
                    WORKLOAD_TOKENS_MAX);
    if (l->max && l->min > l->max)
        return errf(eb, ST_INVALID, "%s lengths from %u to %u: the smallest is above the largest", side,
                    l->min, l->max);
    return ST_OK;
}

/* The mean of exp(N(m, s^2)) is exp(m + s^2 / 2), its squared coefficient of variation exp(s^2) - 1. */
static void prepare(length_rule *l) {
    double variance = log1p(l->cv * l->cv);
    l->log_sd = sqrt(variance);
    l->log_mean = log(l->mean) - variance / 2;
}

/* Rounded half away from zero, then clipped; a request has at least one token on either side. */
static uint32_t clip(const length_rule *l, double tokens) {
    uint32_t low = MAX(l->min, 1u), high = l->max ? l->max : WORKLOAD_TOKENS_MAX;
    double n = round(tokens * l->scale);
    return n <= low ? low : n >= high ? high : (uint32_t)n;
}

static double drawn(const length_rule *l, workload_kind kind, draw d) {
    switch (kind) {
    case WORKLOAD_FIXED:
        return l->mean;
    case WORKLOAD_UNIFORM: {
        /* As `vllm bench serve --random-range-ratio` has it: whole numbers, ends included. */
        uint64_t low = (uint64_t)floor(l->mean * (1 - l->range)),
                 high = (uint64_t)ceil(l->mean * (1 + l->range));
        return (double)(low + draw_below(&d, high - low + 1));
    }
    case WORKLOAD_LOGNORMAL:
        return exp(l->log_mean + l->log_sd * draw_normal(&d));
    case WORKLOAD_TRACE:
        break;
    }
    CHECK(!"a trace's lengths are not drawn");
    return 0;
}

status workload_new(workload **out, const workload_options *opt, errbuf *eb) {
    PRE(out);
    PRE(opt);
    length_rule prompt = {.mean = opt->prompt_mean,
                          .range = opt->prompt_range,
                          .cv = opt->prompt_cv,
                          .scale = opt->prompt_scale == 0 ? 1 : opt->prompt_scale,
                          .min = opt->prompt_min,
                          .max = opt->prompt_max};
    length_rule output = {.mean = opt->output_mean,
                          .range = opt->output_range,
                          .cv = opt->output_cv,
                          .scale = opt->output_scale == 0 ? 1 : opt->output_scale,
                          .min = opt->output_min,
                          .max = opt->output_max};
    status st = check_length("prompt", &prompt, opt->kind, eb);
    if (st == ST_OK) st = check_length("output", &output, opt->kind, eb);
    if (st != ST_OK) return st;
    if (opt->kind == WORKLOAD_TRACE) return errf(eb, ST_UNSUPPORTED, "traces cannot be read yet");

    prepare(&prompt);
    prepare(&output);
    workload *w = xcalloc(1, sizeof *w);
    *w = (workload){.kind = opt->kind, .prompt = prompt, .output = output};
    *out = w;
    return ST_OK;
}

void workload_free(workload *w) {
    free(w);
}

uint32_t workload_count(const workload *w) {
    PRE(w);
    return UINT32_MAX;
}

double workload_trace_rate(const workload *w) {
    PRE(w);
    return NAN;
}

workload_item workload_at(const workload *w, uint64_t seed, uint32_t index) {
    PRE(w);
    return (workload_item){
        .prompt_tokens =
            clip(&w->prompt, drawn(&w->prompt, w->kind, draw_begin(seed, index, DRAW_PROMPT_LENGTH))),
        .output_tokens =
            clip(&w->output, drawn(&w->output, w->kind, draw_begin(seed, index, DRAW_OUTPUT_LENGTH))),
        .at_s = NAN};
}

void workload_prompt(const workload *w, uint64_t seed, uint32_t index, int32_t id_min, int32_t id_max,
                     int32_t *ids) {
    PRE(w);
    PRE(ids);
    prompt_range range = {.id_min = id_min, .id_max = id_max};
    prompt_fill(ids, workload_at(w, seed, index).prompt_tokens, range, seed, index);
}
