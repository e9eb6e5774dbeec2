#include "planner/measure/samples.h"

#include "base/clock.h"
#include "base/mem.h"
#include "bench/stats/stats.h"

#include <math.h>
#include <stdlib.h>

#define ALONE         0.05 /* share of a step that others may have computed in: places are known to 0.1 ms */
#define WAITED_MOST   (20 * NS_PER_MS) /* a longer gap is no gap: nothing was there to do */
#define CONTEXT_RATIO 1.2
#define FEW           3u /* steps, of which a disturbed one may be the middle */

/* That b was there to be computed when a ended: a further chunk, or the same batch again. */
static bool follows(const seen_step *a, const seen_step *b) {
    if (a->worker != b->worker || b->begin_ns < a->end_ns || b->begin_ns > a->end_ns + WAITED_MOST)
        return false;
    bool deeper = b->sum.chunks == 1 && b->sum.squares > b->sum.tokens * b->sum.tokens;
    bool again = b->sum.batch > 0 && b->sum.chunks == 0 && a->sum.chunks == 0 && a->sum.batch == b->sum.batch;
    return deeper || again;
}

void samples_add(samples *s, const seen *from) {
    PRE(s);
    PRE(from);
    for (uint32_t i = 0; i < from->step_count; i++) {
        const seen_step *t = &from->steps[i];
        if (t->end_ns <= t->begin_ns || (!t->sum.chunks && !t->sum.batch)) continue;
        if (s->count == s->room) {
            s->room = MAX(1024u, 2 * s->room);
            s->items = xrealloc(s->items, s->room, sizeof *s->items);
        }
        bool waited = i > 0 && follows(t - 1, t);
        s->items[s->count++] = (sample){.role = seen_role(from, t),
                                        .sum = t->sum,
                                        .ns = (double)(t->end_ns - t->begin_ns),
                                        .by_prefill = t->by_prefill,
                                        .by_decode = t->by_decode,
                                        .gap_ns = waited ? (double)(t->begin_ns - (t - 1)->end_ns) : NAN};
    }
}

void samples_done(samples *s) {
    PRE(s);
    free(s->items);
    *s = (samples){0};
}

bool sample_alone(const sample *s) {
    PRE(s);
    return s->by_prefill + s->by_decode <= ALONE;
}

double samples_gap_ns(const samples *s, worker_role role) {
    PRE(s);
    double *gaps = xcalloc(MAX(s->count, 1u), sizeof *gaps);
    size_t count = 0;
    for (uint32_t i = 0; i < s->count; i++)
        if (s->items[i].role == role && !isnan(s->items[i].gap_ns)) gaps[count++] = s->items[i].gap_ns;
    stats_sort(gaps, count);
    double median = stats_percentile(gaps, count, 50);
    free(gaps);
    return median;
}

/* ---- points ---- */

static point_phase phase_of(const latency_step *s) {
    if (!s->batch) return POINT_PREFILL;
    return s->chunks ? POINT_MIXED : POINT_DECODE;
}

/* Contexts of one bucket differ by a fifth at most. */
static int64_t bucket(const sample *s) {
    return s->sum.batch ? (int64_t)(log((double)s->sum.context) / log(CONTEXT_RATIO)) : 0;
}

#define ORDER(x, y)                                                                                          \
    do {                                                                                                     \
        if ((x) != (y)) return (x) < (y) ? -1 : 1;                                                           \
    } while (0)

static int compare(const void *a, const void *b) {
    const sample *x = a, *y = b;
    ORDER(x->role, y->role);
    ORDER(phase_of(&x->sum), phase_of(&y->sum));
    ORDER(x->sum.tokens, y->sum.tokens);
    ORDER(x->sum.squares, y->sum.squares);
    ORDER(x->sum.batch, y->sum.batch);
    ORDER(bucket(x), bucket(y));
    ORDER(x->ns, y->ns);
    return 0;
}

static bool same_point(const sample *a, const sample *b) {
    return a->role == b->role && phase_of(&a->sum) == phase_of(&b->sum) && a->sum.tokens == b->sum.tokens &&
           a->sum.squares == b->sum.squares && a->sum.batch == b->sum.batch && bucket(a) == bucket(b);
}

/* items: [n] of one point, by ns. */
static point of_samples(const sample *items, uint32_t n) {
    const latency_step *s = &items->sum;
    point p = {.role = items->role, .phase = phase_of(s), .n = n};
    double *ns = xcalloc(n, sizeof *ns), context = 0;
    for (uint32_t i = 0; i < n; i++) {
        ns[i] = items[i].ns;
        context += (double)items[i].sum.context / n;
    }
    p.x = p.phase == POINT_DECODE ? s->batch : (double)s->tokens;
    p.y = p.phase == POINT_DECODE ? context : (double)s->squares;
    p.batch = p.phase == POINT_MIXED ? s->batch : 0;
    p.context = p.phase == POINT_MIXED ? context : 0;
    p.ns = n < FEW ? ns[0] : stats_percentile(ns, n, 50);
    p.min_ns = ns[0];
    uint32_t kept = n;
    while (kept > 2 && ns[kept - 1] > 2 * p.ns) kept--;
    p.cv = kept > 1 ? stats_sd(ns, kept) / stats_mean(ns, kept) : 0;
    free(ns);
    return p;
}

/* A decode step after a pause, or after KV came, finds colder caches than those that follow, which most do.
 */
static bool counts(const sample *s) {
    if (s->role >= ROLE_COUNT || !sample_alone(s)) return false;
    return phase_of(&s->sum) != POINT_DECODE || !isnan(s->gap_ns);
}

void points_make(points *out, const samples *s) {
    PRE(out);
    PRE(s);
    sample *alone = xcalloc(MAX(s->count, 1u), sizeof *alone);
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->count; i++)
        if (counts(&s->items[i])) alone[count++] = s->items[i];
    qsort(alone, count, sizeof *alone, compare);
    *out = (points){.items = xcalloc(MAX(count, 1u), sizeof(point))};
    for (uint32_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && same_point(&alone[i], &alone[end]);) end++;
        if (alone[i].sum.batch && !alone[i].sum.chunks && end - i < FEW) continue;
        out->items[out->count++] = of_samples(&alone[i], end - i);
    }
    free(alone);
}

void points_done(points *p) {
    PRE(p);
    free(p->items);
    *p = (points){0};
}

const char *point_phase_name(point_phase phase) {
    static const char *const names[] = {"prefill", "decode", "mixed"};
    PRE(phase < ARRAY_LEN(names));
    return names[phase];
}
