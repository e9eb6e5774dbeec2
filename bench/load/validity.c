#include "bench/load/validity.h"

#include "base/clock.h"
#include "bench/stats/stats.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATE_MS       5.0 /* what the first rules allow */
#define LATE_OF_TTFT  0.05
#define CPU_SHARE_MAX 0.8
#define RATE_OFF_MAX  0.02
#define ERRORS_MAX    0.01
#define CACHED_MAX    0.01
#define IN_TIME_NS    (5 * NS_PER_MS)

static __attribute__((format(printf, 2, 3))) void reason(validity *v, const char *fmt, ...) {
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    v->reasons = xrealloc(v->reasons, v->reason_count + 1, sizeof *v->reasons);
    v->reasons[v->reason_count++] = xstrdup(text);
}

static bool member(const row *r) {
    return r->phase == ROW_WINDOW;
}

/* Sorted values of the members that have one */
static double *values(const row_list *rows, double (*value)(const row *), size_t *count) {
    double *out = xcalloc(rows->count + 1, sizeof *out);
    *count = 0;
    for (size_t i = 0; i < rows->count; i++) {
        if (!member(&rows->rows[i])) continue;
        double v = value(&rows->rows[i]);
        if (!isnan(v)) out[(*count)++] = v;
    }
    stats_sort(out, *count);
    return out;
}

static double late_ms(const row *r) {
    if (r->sent_ns == ROW_NEVER) return NAN;
    return r->sent_ns > r->scheduled_ns ? (double)(r->sent_ns - r->scheduled_ns) / 1e6 : 0;
}

static void judge_lateness(validity *v, const row_list *rows, const validity_facts *f) {
    size_t count, ttft_count;
    double *late = values(rows, late_ms, &count), *ttft = values(rows, row_ttft_ms, &ttft_count);
    v->late = (lateness){.p50_ms = stats_percentile(late, count, 50),
                         .p99_ms = stats_percentile(late, count, 99),
                         .max_ms = count ? late[count - 1] : NAN};
    double median = stats_percentile(ttft, ttft_count, 50);
    double limit = isnan(median) ? LATE_MS : fmax(LATE_MS, LATE_OF_TTFT * median);
    if (f->open_loop && v->late.p99_ms > limit)
        reason(v, "the client sent late: P99 lateness %.1f ms, more than %.1f ms", v->late.p99_ms, limit);
    free(late);
    free(ttft);
}

static void judge_rate(validity *v, const row_list *rows, const schedule *plan, const validity_facts *f) {
    uint32_t planned_count = 0, in_time = 0;
    uint64_t span_ns = 0, end_ns = 0;
    for (uint32_t i = 0; i < plan->window_count; i++) {
        const schedule_window *w = &plan->windows[i];
        uint64_t end = w->end_ns != ROW_NEVER ? w->end_ns
                       : w->count             ? plan->items[w->first + w->count - 1].at_ns
                                              : w->begin_ns;
        planned_count += w->count;
        span_ns += end - w->begin_ns;
        end_ns = MAX(end_ns, end);
    }
    for (size_t i = 0; i < rows->count; i++) {
        const row *r = &rows->rows[i];
        in_time += member(r) && r->sent_ns != ROW_NEVER && r->sent_ns <= end_ns + IN_TIME_NS;
    }
    v->achieved_rate = span_ns ? in_time / ((double)span_ns / 1e9) : NAN;
    if (!f->open_loop || f->interrupted || planned_count == 0) return;
    uint32_t missing = planned_count - in_time;
    if (missing > RATE_OFF_MAX * planned_count)
        reason(v, "the rate was not kept: %u of %u requests were sent in time (%.1f %% missing)", in_time,
               planned_count, 100.0 * missing / planned_count);
}

/* What overload looks like (refusals, deadlines of the client and, by 504, of the server) is a miss, and no
 * reason to doubt the run. */
static bool is_error(const row *r) {
    return r->outcome == ROW_UNFINISHED || r->outcome == ROW_UNSENT ||
           (r->outcome == ROW_FAILED && r->http != 504);
}

static void judge_errors(validity *v, const row_list *rows, const validity_facts *f) {
    uint32_t members = 0, bad = 0, left = 0;
    const char *first = NULL;
    for (size_t i = 0; i < rows->count; i++) {
        const row *r = &rows->rows[i];
        if (!member(r)) continue;
        members++;
        if (!is_error(r)) continue;
        left += r->outcome == ROW_UNFINISHED || r->outcome == ROW_UNSENT;
        bad++;
        if (!first) first = r->error;
    }
    if (f->interrupted) {
        reason(v, "the run was interrupted: %u of %u requests had ended", members - left, members);
        bad -= left;
        members -= left;
        if (members == 0) return;
    }
    if (members == 0)
        reason(v, "no request was a member of a window");
    else if (bad > ERRORS_MAX * members)
        reason(v, "%u of %u requests failed (%s)", bad, members, first ? first : "they were not sent");
}

static void judge_counts(validity *v, const row_list *rows, const validity_facts *f) {
    uint32_t prompts = 0, answers = 0, finishes = 0, unknown = 0, ok = 0;
    const row *prompt = NULL, *answer = NULL, *finish = NULL;
    uint64_t cached = 0, all = 0;
    for (size_t i = 0; i < rows->count; i++) {
        const row *r = &rows->rows[i];
        if (!member(r) || r->outcome != ROW_OK) continue;
        ok++;
        cached += r->cached_tokens;
        all += r->prompt_tokens;
        if (r->output_tokens == 0) {
            unknown++;
            continue;
        }
        if (r->prompt_tokens != r->prompt_asked + f->prompt_extra && prompts++ == 0) prompt = r;
        if (!f->ignore_eos) continue;
        if (r->output_tokens != r->output_asked && answers++ == 0) answer = r;
        if (r->finish[0] && strcmp(r->finish, "length") != 0 && finishes++ == 0) finish = r;
    }
    if (unknown) reason(v, "%u of %u answers came without usage: their tokens are not known", unknown, ok);
    if (prompt)
        reason(v, "%u of %u prompts had another length than asked (request %u: %u tokens, asked %u)", prompts,
               ok, prompt->index, prompt->prompt_tokens, prompt->prompt_asked + f->prompt_extra);
    if (answer)
        reason(v, "%u of %u answers had another length than asked (request %u: %u tokens, asked %u)", answers,
               ok, answer->index, answer->output_tokens, answer->output_asked);
    if (finish)
        reason(v, "%u of %u answers ended by '%s', not by their length, although ignore_eos was asked",
               finishes, ok, finish->finish);
    if (!f->shares_prefixes && all > 0 && (double)cached > CACHED_MAX * (double)all)
        reason(v, "%.1f %% of the prompt tokens came from a prefix cache, although no prompts share any",
               100.0 * (double)cached / (double)all);
}

/* What the answers said of it may be nothing at all: many servers count hits, and tell them nobody. */
static void judge_cache(validity *v, const validity_facts *f) {
    if (!f->shares_prefixes && f->cached_share > CACHED_MAX)
        reason(v,
               "%.1f %% of the prompt tokens that the server looked up were in its prefix cache (/metrics), "
               "although no prompts share any: switch it off, or give this run another --prompt-salt",
               100 * f->cached_share);
}

void validity_judge(validity *v, const row_list *rows, const schedule *plan, const validity_facts *f) {
    PRE(v);
    PRE(rows);
    PRE(plan);
    PRE(f);
    *v = (validity){0};
    judge_lateness(v, rows, f);
    if (f->cpu_share > CPU_SHARE_MAX)
        reason(v, "the client was busy %.0f %% of its core: it may have measured itself", f->cpu_share * 100);
    judge_rate(v, rows, plan, f);
    judge_errors(v, rows, f);
    judge_counts(v, rows, f);
    judge_cache(v, f);
}

void validity_done(validity *v) {
    PRE(v);
    for (size_t i = 0; i < v->reason_count; i++) free(v->reasons[i]);
    free(v->reasons);
    *v = (validity){0};
}
