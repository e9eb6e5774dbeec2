#include "coordinator/pace.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"

#define COUNT_KNOWN 8.0
#define COUNT_SPAN  64.0 /* what is remembered: between half of both, and both */
#define NS_SPAN     (4.0 * 1e9)
#define WEIGHT      (1.0 / 16) /* of the newest in moving means */
#define QUANTILE    0.98       /* of the margin */
#define STEP        (1.0 / 4)  /* of the mean error: how far the margin moves at once */
#define WAIT_MAX_NS ((uint64_t)86400 * NS_PER_S)

void pace_left(pace *p, uint64_t tokens) {
    PRE(p);
    p->left_tokens += (double)tokens;
    p->left_count++;
}

static void shrink(pace *p, double by) {
    p->tokens /= by;
    p->count /= by;
    p->ns /= by;
}

void pace_note_turn(pace *p, bool waiting, uint64_t now_ns) {
    PRE(p);
    if (p->since_ns && (p->left_count > 0 || !waiting)) {
        p->ns += (double)(now_ns - p->since_ns);
        p->tokens += p->left_tokens;
        p->count += p->left_count;
        if (p->count > COUNT_SPAN && p->ns > NS_SPAN) shrink(p, 2);
    }
    p->since_ns = waiting ? now_ns : 0;
    p->left_tokens = p->left_count = 0;
}

void pace_doubt(pace *p) {
    PRE(p);
    if (p->count > COUNT_KNOWN) shrink(p, p->count / COUNT_KNOWN);
}

void pace_stage(pace *p, uint64_t stage_ns) {
    PRE(p);
    double ns = (double)stage_ns;
    p->stage_ns = p->stage_ns > 0 ? p->stage_ns + (ns - p->stage_ns) * WEIGHT : ns;
}

void pace_error(pace *p, int64_t late_ns) {
    PRE(p);
    double late = (double)late_ns, size = late < 0 ? -late : late;
    p->error_ns = p->error_ns > 0 ? p->error_ns + (size - p->error_ns) * WEIGHT : size;
    double step = STEP * MAX(p->error_ns, p->margin_ns / 4); /* one that is far too large comes down, too */
    p->margin_ns += step * (late > p->margin_ns ? QUANTILE : QUANTILE - 1);
    p->margin_ns = MAX(p->margin_ns, 0.0);
}

bool pace_known(const pace *p) {
    PRE(p);
    return p->count >= COUNT_KNOWN && p->ns > 0;
}

/* The time that goes by without anybody leaving counts, too. */
static double waited_ns(const pace *p, uint64_t now_ns) {
    return p->ns + (p->since_ns && now_ns > p->since_ns ? (double)(now_ns - p->since_ns) : 0);
}

static uint64_t take_ns(const pace *p, double things, double left, uint64_t now_ns) {
    if (!pace_known(p)) return 0;
    double ns = things / left * waited_ns(p, now_ns);
    return ns < (double)WAIT_MAX_NS ? (uint64_t)ns : WAIT_MAX_NS;
}

uint64_t pace_wait_ns(const pace *p, uint64_t tokens, uint64_t now_ns) {
    return take_ns(p, (double)tokens, p->tokens, now_ns);
}

uint64_t pace_wait_count_ns(const pace *p, uint64_t count, uint64_t now_ns) {
    return take_ns(p, (double)count, p->count, now_ns);
}

double pace_rate(const pace *p, uint64_t now_ns) {
    return pace_known(p) ? p->tokens / waited_ns(p, now_ns) * (double)NS_PER_S : 0;
}
