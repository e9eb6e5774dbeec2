#include "bench/workload/workload.h"

#include "bench/workload/draw.h"
#include "bench/workload/prompt.h"
#include "bench/workload/trace_file.h"

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
    uint64_t seed_mask; /* of prompts: 0 without a salt */
    trace file;         /* WORKLOAD_TRACE; else empty */
};

/* Where request `index` of a seed's stream stands in the file. */
typedef struct place {
    uint32_t row, begin; /* of the request, and of the stream's first one */
    uint32_t round;      /* how often the file has begun anew */
} place;

static place place_of(const workload *w, uint64_t seed, uint32_t index) {
    uint32_t begin = 0;
    if (seed) {
        draw d = draw_begin(seed, 0, DRAW_TRACE_BEGIN);
        begin = (uint32_t)draw_below(&d, w->file.count);
    }
    uint64_t at = (uint64_t)begin + index;
    return (place){
        .row = (uint32_t)(at % w->file.count), .begin = begin, .round = (uint32_t)(at / w->file.count)};
}

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
    trace file = {0};
    if (opt->kind == WORKLOAD_TRACE) {
        if (!opt->path) return errf(eb, ST_INVALID, "a trace without a path");
        trace_options how = {.spread_s = opt->spread_s, .chars_per_token = opt->chars_per_token};
        st = trace_read(&file, opt->path, &how, eb);
        if (st != ST_OK) return st;
    } else {
        prepare(&prompt);
        prepare(&output);
    }
    workload *w = xcalloc(1, sizeof *w);
    draw salt = draw_begin(opt->prompt_salt, 0, DRAW_SALT);
    *w = (workload){.kind = opt->kind,
                    .prompt = prompt,
                    .output = output,
                    .seed_mask = opt->prompt_salt ? draw_bits(&salt) : 0,
                    .file = file};
    *out = w;
    return ST_OK;
}

void workload_free(workload *w) {
    if (!w) return;
    trace_done(&w->file);
    free(w);
}

uint32_t workload_count(const workload *w) {
    PRE(w);
    return w->kind == WORKLOAD_TRACE ? w->file.count : UINT32_MAX;
}

static double span_s(const workload *w) {
    return w->file.rows[w->file.count - 1].at_s;
}

double workload_trace_rate(const workload *w) {
    PRE(w);
    if (w->kind != WORKLOAD_TRACE || !w->file.has_times || !(span_s(w) > 0)) return NAN;
    return (w->file.count - 1) / span_s(w);
}

bool workload_trace_facts(const workload *w, workload_facts *out) {
    PRE(w);
    PRE(out);
    if (w->kind != WORKLOAD_TRACE) return false;
    *out = (workload_facts){.format = trace_format_name(w->file.format),
                            .requests = w->file.count,
                            .left_out = w->file.left_out,
                            .has_times = w->file.has_times,
                            .has_prefixes = w->file.prefix_count > 0,
                            .lengths_estimated = w->file.format == TRACE_SHAREGPT};
    return true;
}

static workload_item trace_item(const workload *w, uint64_t seed, uint32_t index) {
    place p = place_of(w, seed, index);
    const trace_row *row = &w->file.rows[p.row];
    double rate = workload_trace_rate(w);
    double round_s = isnan(rate) ? 0 : w->file.count / rate;
    double at_s = w->file.has_times ? row->at_s - w->file.rows[p.begin].at_s + p.round * round_s : NAN;
    return (workload_item){.prompt_tokens = clip(&w->prompt, row->prompt_tokens),
                           .output_tokens = clip(&w->output, row->output_tokens),
                           .at_s = at_s};
}

workload_item workload_at(const workload *w, uint64_t seed, uint32_t index) {
    PRE(w);
    if (w->kind == WORKLOAD_TRACE) return trace_item(w, seed, index);
    draw prompt = draw_begin(seed, index, DRAW_PROMPT_LENGTH),
         output = draw_begin(seed, index, DRAW_OUTPUT_LENGTH);
    return (workload_item){.prompt_tokens = clip(&w->prompt, drawn(&w->prompt, w->kind, prompt)),
                           .output_tokens = clip(&w->output, drawn(&w->output, w->kind, output)),
                           .at_s = NAN};
}

uint64_t workload_prompt_seed(const workload *w, uint64_t seed) {
    PRE(w);
    return seed ^ w->seed_mask;
}

/* Writes the shared blocks that the prompt begins with, scaled like its length; returns where they end. */
static uint32_t fill_shared(const workload *w, uint64_t seed, uint32_t index, prompt_range range,
                            int32_t *ids, uint32_t count) {
    place p = place_of(w, seed, index);
    const trace_row *row = &w->file.rows[p.row];
    seed = workload_prompt_seed(w, seed);
    if (p.round) { /* another round of the file shares nothing with this one */
        draw d = draw_begin(seed, p.round, DRAW_ROUND);
        seed = draw_bits(&d);
    }
    double tokens = 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < row->prefix_count && at < count; i++) {
        const trace_prefix *shared = &w->file.prefixes[row->prefix_first + i];
        tokens += shared->tokens;
        uint32_t end = (uint32_t)fmin(round(tokens * w->prompt.scale), count);
        prompt_fill_block(ids + at, end - at, range, seed, shared->id);
        at = end;
    }
    return at;
}

void workload_prompt(const workload *w, uint64_t seed, uint32_t index, int32_t id_min, int32_t id_max,
                     int32_t *ids) {
    PRE(w);
    PRE(ids);
    PRE(id_min <= id_max);
    prompt_range range = {.id_min = id_min, .id_max = id_max};
    uint32_t count = workload_at(w, seed, index).prompt_tokens;
    uint32_t shared = w->kind == WORKLOAD_TRACE ? fill_shared(w, seed, index, range, ids, count) : 0;
    prompt_fill(ids + shared, count - shared, range, workload_prompt_seed(w, seed), index);
}
