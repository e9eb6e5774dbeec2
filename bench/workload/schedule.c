#include "bench/workload/schedule.h"

#include "bench/workload/draw.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/mix.h"

#include <math.h>
#include <stdlib.h>

#define UNIQUE_TOKENS_MAX 96u /* of any range of two ids and more: as many bits as index and seed have */

uint64_t schedule_warmup_seed(uint64_t seed) {
    draw d = draw_begin(seed, 0, DRAW_SEED);
    return draw_bits(&d) >> 1; /* a row keeps seeds below 2^63 */
}

uint64_t schedule_tail_seed(uint64_t seed) {
    draw d = draw_begin(seed, 1, DRAW_SEED);
    return draw_bits(&d) >> 1; /* a row keeps seeds below 2^63 */
}

void schedule_done(schedule *s) {
    PRE(s);
    free(s->items);
    free(s->windows);
    *s = (schedule){0};
}

static bool is_ramp(const arrivals_options *a) {
    return a->kind == ARRIVALS_RAMP_LINEAR || a->kind == ARRIVALS_RAMP_EXPONENTIAL;
}

/* The one place that knows where times come from. */
static status times_make(double *at_s, uint32_t count, const workload *w, const arrivals_options *a,
                         double rate, uint64_t seed, errbuf *eb) {
    if (a->kind == ARRIVALS_TRACE) return arrivals_of_trace(at_s, count, w, rate, seed, eb);
    return arrivals_make(at_s, count, a, rate, seed, eb);
}

static planned planned_of(const workload *w, uint64_t seed, uint32_t index, uint64_t at_ns, row_phase phase) {
    workload_item it = workload_at(w, seed, index);
    return (planned){.seed = seed,
                     .at_ns = at_ns,
                     .index = index,
                     .prompt_tokens = it.prompt_tokens,
                     .output_tokens = it.output_tokens,
                     .phase = phase};
}

/* Seconds that are known to be in range; down, so that what is before an end in seconds is so in ns. */
static uint64_t ns_of(double s) {
    return (uint64_t)(s * (double)NS_PER_S);
}

static status check_counted(const arrivals_options *a, const schedule_counted_options *opt, errbuf *eb) {
    if (opt->requests == 0) return errf(eb, ST_INVALID, "0 requests: want at least one");
    if (opt->requests > SCHEDULE_COUNT_MAX || opt->warmups > SCHEDULE_COUNT_MAX - opt->requests)
        return errf(eb, ST_INVALID, "%u requests and %u warm-ups: want at most %u in all", opt->requests,
                    opt->warmups, SCHEDULE_COUNT_MAX);
    if (opt->rescale && (is_ramp(a) || a->kind == ARRIVALS_TRACE))
        return errf(eb, ST_INVALID, "arrivals of a ramp or a trace are not rescaled");
    return ST_OK;
}

status schedule_counted(schedule *out, const workload *w, const arrivals_options *arrivals,
                        const schedule_counted_options *opt, errbuf *eb) {
    PRE(out);
    PRE(w);
    PRE(arrivals);
    PRE(opt);
    status st = check_counted(arrivals, opt, eb);
    if (st != ST_OK) return st;
    uint32_t n = opt->requests, before = opt->warmups;
    double *at_s = malloc(n * sizeof *at_s);
    planned *items = malloc(((size_t)n + before) * sizeof *items);
    if (!at_s || !items) {
        st = errf(eb, ST_NOMEM, "no memory for %u requests", n + before);
        goto fail;
    }
    st = times_make(at_s, n, w, arrivals, opt->rate, opt->seed, eb);
    if (st != ST_OK) goto fail;
    if (opt->rescale && isfinite(opt->rate)) arrivals_rescale(at_s, n, opt->rate);
    if (at_s[n - 1] > SCHEDULE_SECONDS_MAX) {
        st = errf(eb, ST_INVALID, "%u requests at %g per second take %g seconds: want at most %g", n,
                  opt->rate, at_s[n - 1], SCHEDULE_SECONDS_MAX);
        goto fail;
    }
    uint64_t warm_seed = schedule_warmup_seed(opt->seed);
    for (uint32_t i = 0; i < before; i++) items[i] = planned_of(w, warm_seed, i, 0, ROW_WARMUP);
    for (uint32_t i = 0; i < n; i++)
        items[before + i] = planned_of(w, opt->seed, i, ns_of(at_s[i]), ROW_WINDOW);
    schedule_window window = {.seed = opt->seed, .end_ns = ROW_NEVER, .first = before, .count = n};
    *out = (schedule){.items = items,
                      .count = n + before,
                      .before_count = before,
                      .windows = xmemdup(&window, sizeof window),
                      .window_count = 1,
                      .end_ns = items[n + before - 1].at_ns};
    free(at_s);
    return ST_OK;

fail:
    free(at_s);
    free(items);
    return st;
}

static status check_seconds(const char *what, double s, bool may_be_zero, errbuf *eb) {
    if (!(may_be_zero ? s >= 0 : s > 0) || s > SCHEDULE_SECONDS_MAX)
        return errf(eb, ST_INVALID, "%s of %g seconds: want %s, at most %g", what, s,
                    may_be_zero ? "0 or more" : "more than 0", SCHEDULE_SECONDS_MAX);
    return ST_OK;
}

static status check_steady(const workload *w, const arrivals_options *a, const schedule_steady_options *opt,
                           errbuf *eb) {
    status st = check_seconds("a warm-up", opt->warmup_s, true, eb);
    if (st == ST_OK) st = check_seconds("a window", opt->window_s, false, eb);
    if (st == ST_OK) st = check_seconds("a tail", opt->tail_s, true, eb);
    if (st != ST_OK) return st;
    if (opt->seed_count == 0 || opt->seed_count > SCHEDULE_SEEDS_MAX)
        return errf(eb, ST_INVALID, "%u seeds: want 1 to %u", opt->seed_count, SCHEDULE_SEEDS_MAX);
    for (uint32_t i = 0; i < opt->seed_count; i++)
        for (uint32_t j = 0; j < i; j++)
            if (opt->seeds[i] == opt->seeds[j])
                return errf(eb, ST_INVALID, "seed %llu stands twice: windows of one seed are no replications",
                            (unsigned long long)opt->seeds[i]);
    if (is_ramp(a)) return errf(eb, ST_INVALID, "a ramp has no steady state: want another kind of arrivals");
    double rate = isnan(opt->rate) && a->kind == ARRIVALS_TRACE ? workload_trace_rate(w) : opt->rate;
    if (!(rate > 0) || isinf(rate))
        return errf(eb, ST_INVALID, "%g requests per second: a steady state wants a finite rate above 0",
                    rate);
    double expected = rate * (opt->warmup_s + opt->tail_s + opt->window_s * opt->seed_count);
    if (expected > SCHEDULE_COUNT_MAX)
        return errf(eb, ST_INVALID,
                    "about %.0f requests in all: want at most %u; lower the rate or the seconds", expected,
                    SCHEDULE_COUNT_MAX);
    return ST_OK;
}

/* A steady list while it grows. */
typedef struct planner {
    const workload *w;
    const arrivals_options *arrivals;
    double rate;
    planned *items; /* [count]; owned by the planner until it is done */
    uint32_t count, capacity;
} planner;

/* What arrives in [begin_ns, begin_ns + length_ns) of a seed's stream. */
typedef struct part {
    uint64_t seed, begin_ns, length_ns;
    row_phase phase;
} part;

static status add_item(planner *p, planned item, errbuf *eb) {
    if (p->count == p->capacity) {
        if (p->count >= SCHEDULE_COUNT_MAX)
            return errf(eb, ST_INVALID, "more than %u requests in all: lower the rate or the seconds",
                        SCHEDULE_COUNT_MAX);
        uint32_t capacity = MIN(MAX(p->capacity * 2, 1024u), SCHEDULE_COUNT_MAX);
        planned *items = realloc(p->items, capacity * sizeof *items);
        if (!items) return errf(eb, ST_NOMEM, "no memory for %u requests", capacity);
        p->items = items;
        p->capacity = capacity;
    }
    p->items[p->count++] = item;
    return ST_OK;
}

/* So many arrivals that the last one is past length_s, or more than there may be. A sequence begins with
 * every shorter one, so making it anew, longer, changes nothing. Caller frees with free. */
static status times_until(const planner *p, uint64_t seed, double length_s, double **out, uint32_t *count,
                          errbuf *eb) {
    double mean = (isnan(p->rate) ? workload_trace_rate(p->w) : p->rate) * length_s;
    uint32_t n = (uint32_t)MIN(mean + 6 * sqrt(mean) + 16, (double)SCHEDULE_COUNT_MAX + 1);
    double *at_s = NULL;
    for (;; n = MIN(n * 2, SCHEDULE_COUNT_MAX + 1)) {
        free(at_s);
        at_s = malloc(n * sizeof *at_s);
        if (!at_s) return errf(eb, ST_NOMEM, "no memory for %u requests", n);
        status st = times_make(at_s, n, p->w, p->arrivals, p->rate, seed, eb);
        if (st != ST_OK) {
            free(at_s);
            return st;
        }
        if (at_s[n - 1] >= length_s || n > SCHEDULE_COUNT_MAX) break;
    }
    *out = at_s;
    *count = n;
    return ST_OK;
}

static status add_part(planner *p, part of, errbuf *eb) {
    if (of.length_ns == 0) return ST_OK;
    double length_s = (double)of.length_ns / (double)NS_PER_S, *at_s = NULL;
    uint32_t n = 0;
    status st = times_until(p, of.seed, length_s, &at_s, &n, eb);
    if (st != ST_OK) return st;
    for (uint32_t i = 0; i < n && st == ST_OK; i++) {
        if (at_s[i] >= length_s || ns_of(at_s[i]) >= of.length_ns) break;
        st = add_item(p, planned_of(p->w, of.seed, i, of.begin_ns + ns_of(at_s[i]), of.phase), eb);
    }
    free(at_s);
    return st;
}

/* Windows back to back from begin_ns. */
static status add_windows(planner *p, schedule_window *windows, const schedule_steady_options *opt,
                          uint64_t begin_ns, errbuf *eb) {
    uint64_t length_ns = ns_of(opt->window_s);
    for (uint32_t i = 0; i < opt->seed_count; i++, begin_ns += length_ns) {
        uint32_t first = p->count;
        status st = add_part(p, (part){opt->seeds[i], begin_ns, length_ns, ROW_WINDOW}, eb);
        if (st != ST_OK) return st;
        if (p->count == first)
            return errf(eb, ST_INVALID,
                        "no request arrives in the window of seed %llu: want more than %g seconds",
                        (unsigned long long)opt->seeds[i], opt->window_s);
        windows[i] = (schedule_window){.seed = opt->seeds[i],
                                       .begin_ns = begin_ns,
                                       .end_ns = begin_ns + length_ns,
                                       .first = first,
                                       .count = p->count - first};
    }
    return ST_OK;
}

status schedule_steady(schedule *out, const workload *w, const arrivals_options *arrivals,
                       const schedule_steady_options *opt, errbuf *eb) {
    PRE(out);
    PRE(w);
    PRE(arrivals);
    PRE(opt);
    PRE(opt->seeds || !opt->seed_count);
    status st = check_steady(w, arrivals, opt, eb);
    if (st != ST_OK) return st;
    planner p = {.w = w, .arrivals = arrivals, .rate = opt->rate};
    schedule_window *windows = xcalloc(opt->seed_count, sizeof *windows);
    uint64_t warmup_ns = ns_of(opt->warmup_s), tail_ns = ns_of(opt->tail_s);
    uint64_t tail_begin = warmup_ns + opt->seed_count * ns_of(opt->window_s);
    uint64_t warmup_seed = schedule_warmup_seed(opt->seeds[0]), tail_seed = schedule_tail_seed(opt->seeds[0]);

    st = add_part(&p, (part){warmup_seed, 0, warmup_ns, ROW_WARMUP}, eb);
    if (st == ST_OK) st = add_windows(&p, windows, opt, warmup_ns, eb);
    if (st == ST_OK) st = add_part(&p, (part){tail_seed, tail_begin, tail_ns, ROW_TAIL}, eb);
    if (st != ST_OK) {
        free(p.items);
        free(windows);
        return st;
    }
    *out = (schedule){.items = p.items,
                      .count = p.count,
                      .windows = windows,
                      .window_count = opt->seed_count,
                      .end_ns = tail_begin + tail_ns};
    return ST_OK;
}

/* ---- prompts ---- */

/* Of length and ids. With 2^22 requests two different prompts have one hash once in two million runs. */
static uint64_t prompt_hash(const planned *p, const workload *w, prompt_range range, int32_t *ids) {
    bool alike = range.id_min == range.id_max;
    uint64_t hash = mix64(p->prompt_tokens);
    if (alike) return hash;
    prompt_fill(ids, p->prompt_tokens, range, workload_prompt_seed(w, p->seed), p->index);
    for (uint32_t i = 0; i < p->prompt_tokens; i++) hash = mix64(hash + (uint64_t)(int64_t)ids[i]);
    return hash;
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

uint32_t schedule_repeated_prompts(const schedule *s, const workload *w, prompt_range range) {
    PRE(s);
    PRE(w);
    uint32_t unique = prompt_unique_tokens(range), count = 0, repeated = 0;
    uint64_t *hashes = xcalloc((size_t)s->count + 1, sizeof *hashes);
    int32_t ids[UNIQUE_TOKENS_MAX];
    for (uint32_t i = 0; i < s->count; i++) {
        const planned *p = &s->items[i];
        if (p->phase != ROW_TAIL && p->prompt_tokens < unique)
            hashes[count++] = prompt_hash(p, w, range, ids);
    }
    qsort(hashes, count, sizeof *hashes, by_value);
    for (uint32_t i = 1; i < count; i++) repeated += hashes[i] == hashes[i - 1];
    free(hashes);
    return repeated;
}
