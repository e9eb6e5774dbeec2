#include "bench/workload/trace.h"

#include <math.h>
#include <stdlib.h>

const char *trace_format_name(trace_format format) {
    static const char *const names[] = {
        [TRACE_AZURE] = "azure",     [TRACE_BURSTGPT] = "burstgpt", [TRACE_MOONCAKE] = "mooncake",
        [TRACE_BAILIAN] = "bailian", [TRACE_SHAREGPT] = "sharegpt", [TRACE_OWN] = "jsonl",
    };
    PRE((size_t)format < ARRAY_LEN(names));
    return names[format];
}

void trace_done(trace *t) {
    PRE(t);
    free(t->rows);
    free(t->prefixes);
    *t = (trace){0};
}

/* Room for one more element; NULL = the bound is reached, or no memory. */
static void *grow(void *array, uint32_t count, uint32_t *capacity, uint32_t max, size_t size) {
    if (count < *capacity) return array;
    uint32_t more = *capacity ? (*capacity > max / 2 ? max : *capacity * 2) : 256;
    void *grown = count >= max ? NULL : realloc(array, more * size);
    if (grown) *capacity = more;
    return grown;
}

/* Of prefixes that no row has yet. */
static uint32_t open_first(const trace *t) {
    const trace_row *last = t->count ? &t->rows[t->count - 1] : NULL;
    return last ? last->prefix_first + last->prefix_count : 0;
}

status trace_add_prefix(trace *t, const lines *l, trace_prefix prefix, errbuf *eb) {
    PRE(t);
    PRE(l);
    trace_prefix *grown =
        grow(t->prefixes, t->prefix_count, &t->prefix_capacity, TRACE_PREFIXES_MAX, sizeof *t->prefixes);
    if (!grown)
        return lines_bad(l, eb, "no room for more than %u shared blocks: want a shorter file",
                         t->prefix_count);
    t->prefixes = grown;
    t->prefixes[t->prefix_count++] = prefix;
    return ST_OK;
}

static status check_tokens(const lines *l, const char *what, int64_t tokens, errbuf *eb) {
    if (tokens < 0) return lines_bad(l, eb, "%lld %s tokens: less than none", (long long)tokens, what);
    if (tokens > TRACE_TOKENS_MAX)
        return lines_bad(l, eb, "%lld %s tokens: want at most %u", (long long)tokens, what, TRACE_TOKENS_MAX);
    return ST_OK;
}

/* The first row of the file says whether there are times, and where they begin. */
static status check_time(trace *t, const lines *l, double at_s, errbuf *eb) {
    if (t->count == 0 && t->left_out == 0) t->has_times = !isnan(at_s);
    if (t->has_times == isnan(at_s))
        return lines_bad(l, eb, "%s: want a time in every line, or in none",
                         t->has_times ? "no time, unlike the lines before"
                                      : "a time, unlike the lines before");
    if (!t->has_times) return ST_OK;
    if (isinf(at_s)) return lines_bad(l, eb, "the time is no finite number");
    if (t->count == 0) t->first_s = at_s;
    double before_s = t->count ? t->rows[t->count - 1].at_s : 0;
    if (at_s - t->first_s < before_s)
        return lines_bad(l, eb, "the time goes back by %g seconds: want the lines sorted by time",
                         before_s - (at_s - t->first_s));
    return ST_OK;
}

status trace_add(trace *t, const lines *l, double at_s, int64_t prompt_tokens, int64_t output_tokens,
                 errbuf *eb) {
    PRE(t);
    PRE(l);
    status st = check_tokens(l, "prompt", prompt_tokens, eb);
    if (st == ST_OK) st = check_tokens(l, "output", output_tokens, eb);
    if (st == ST_OK) st = check_time(t, l, at_s, eb);
    if (st != ST_OK) return st;
    uint32_t first = open_first(t);
    if (prompt_tokens == 0 || output_tokens == 0) {
        t->prefix_count = first;
        t->left_out++;
        return ST_OK;
    }
    uint64_t shared = 0;
    for (uint32_t i = first; i < t->prefix_count; i++) shared += t->prefixes[i].tokens;
    if (shared > (uint64_t)prompt_tokens)
        return lines_bad(l, eb, "shared blocks of %llu tokens in a prompt of %lld",
                         (unsigned long long)shared, (long long)prompt_tokens);
    trace_row *grown = grow(t->rows, t->count, &t->row_capacity, TRACE_ROWS_MAX, sizeof *t->rows);
    if (!grown) return lines_bad(l, eb, "no room for more than %u requests: want a shorter file", t->count);
    t->rows = grown;
    t->rows[t->count++] = (trace_row){.at_s = t->has_times ? at_s - t->first_s : 0,
                                      .prompt_tokens = (uint32_t)prompt_tokens,
                                      .output_tokens = (uint32_t)output_tokens,
                                      .prefix_first = first,
                                      .prefix_count = t->prefix_count - first};
    return ST_OK;
}

void trace_spread(trace *t, double seconds) {
    PRE(t);
    PRE(seconds >= 0);
    for (uint32_t i = 0, next; i < t->count; i = next) {
        double at = t->rows[i].at_s, room = seconds;
        for (next = i + 1; next < t->count && t->rows[next].at_s == at;) next++;
        if (next < t->count) room = fmin(room, t->rows[next].at_s - at);
        for (uint32_t j = i; j < next; j++) t->rows[j].at_s = at + room * (j - i) / (next - i);
    }
}
