#include "planner/measure/overheads.h"

#include "base/mem.h"
#include "bench/stats/stats.h"

#include <math.h>
#include <stdlib.h>

static double between(uint64_t from_ns, uint64_t to_ns) {
    if (from_ns == SEEN_NEVER || to_ns == SEEN_NEVER) return NAN;
    return (double)to_ns - (double)from_ns;
}

/* The request's first step with chunks or without, and the last; SEEN_NEVER: none. */
typedef struct its_steps {
    uint64_t first_begin_ns, last_end_ns;
} its_steps;

static its_steps steps_of(const seen *s, const seen_request *r, bool prompt) {
    its_steps its = {SEEN_NEVER, SEEN_NEVER};
    for (uint32_t i = 0; i < s->step_count; i++) {
        const seen_step *t = &s->steps[i];
        uint64_t middle_ns = t->begin_ns + (t->end_ns - t->begin_ns) / 2;
        if ((t->sum.chunks > 0) != prompt || middle_ns < r->born_ns || middle_ns > r->end_ns) continue;
        if (its.first_begin_ns == SEEN_NEVER || t->begin_ns < its.first_begin_ns)
            its.first_begin_ns = t->begin_ns;
        if (its.last_end_ns == SEEN_NEVER || t->end_ns > its.last_end_ns) its.last_end_ns = t->end_ns;
    }
    return its;
}

void overheads_add(overheads *o, const asked *q, const seen_request *r, const seen *s) {
    PRE(o);
    PRE(q);
    PRE(r);
    PRE(s);
    if (o->count == o->room) {
        o->room = MAX(64u, 2 * o->room);
        o->items = xrealloc(o->items, o->room, sizeof *o->items);
    }
    its_steps prompt = steps_of(s, r, true), decode = steps_of(s, r, false);
    uint64_t first_ns = q->tokens > 0 ? q->token_ns[0] : SEEN_NEVER;
    o->items[o->count++] = (overhead){
        .arrive = between(q->sent_ns, r->begin_ns[SEEN_PREFILL]),
        .dispatch = between(r->begin_ns[SEEN_PREFILL], prompt.first_begin_ns),
        .emit = between(prompt.last_end_ns, first_ns),
        .handoff = between(r->begin_ns[SEEN_DECODE_WAIT], decode.first_begin_ns),
        .transfer = between(r->begin_ns[SEEN_HANDOFF], r->begin_ns[SEEN_DECODE_WAIT]),
        .prompt_tokens = q->prompt_tokens,
    };
}

void overheads_done(overheads *o) {
    PRE(o);
    free(o->items);
    *o = (overheads){0};
}

/* Of what is a number; sorts x. */
static double median_of(double *x, uint32_t count) {
    size_t n = 0;
    for (uint32_t i = 0; i < count; i++)
        if (!isnan(x[i])) x[n++] = x[i];
    stats_sort(x, n);
    return stats_percentile(x, n, 50);
}

/* field: offset of a double. */
static double median(const overheads *o, size_t field) {
    double *x = xcalloc(MAX(o->count, 1u), sizeof *x);
    for (uint32_t i = 0; i < o->count; i++) x[i] = *(const double *)((const char *)&o->items[i] + field);
    double m = median_of(x, o->count);
    free(x);
    return m;
}

/* Stamps of two processes meet here: a short time may come out below nothing. */
static double not_negative(double x) {
    return x > 0 ? x : 0;
}

profile_overheads overheads_of(const overheads *o) {
    PRE(o);
    return (profile_overheads){
        .arrive_ns = not_negative(median(o, offsetof(overhead, arrive))),
        .dispatch_ns = not_negative(median(o, offsetof(overhead, dispatch))),
        .emit_ns = not_negative(median(o, offsetof(overhead, emit))),
        .handoff_ns = not_negative(median(o, offsetof(overhead, handoff))),
    };
}

double overheads_transfer_ns(const overheads *o, double token_ns) {
    PRE(o);
    double *x = xcalloc(MAX(o->count, 1u), sizeof *x);
    for (uint32_t i = 0; i < o->count; i++)
        x[i] = o->items[i].transfer - token_ns * o->items[i].prompt_tokens;
    double m = median_of(x, o->count);
    free(x);
    return m;
}
