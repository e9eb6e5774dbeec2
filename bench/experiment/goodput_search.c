#include "bench/experiment/goodput_search.h"

#include "base/mem.h"
#include "base/status.h"

#include <math.h>

#define LOWEST 1024.0 /* the first rate is halved at most to this part of it */

interval goodput_interval(const goodput_point *p) {
    PRE(p);
    return stats_seeds(p->attainments, p->seeds, p->good, p->members);
}

rate_point goodput_rate_point(const goodput_point *p) {
    PRE(p);
    rate_point out = {.rate = p->rate, .attainment = goodput_interval(p), .unstable = p->unstable};
    if (p->unsettled) out.attainment.low = 0;
    return out;
}

verdict goodput_judge(const goodput_rules *r, const goodput_point *p) {
    PRE(r);
    PRE(p);
    if (p->void_) return VERDICT_UNDECIDED;
    const rate_point point = goodput_rate_point(p);
    return search_judge(&point, r->target);
}

bool goodput_counts(const goodput_rules *r, const goodput_point *p) {
    PRE(r);
    PRE(p);
    return !p->void_ && (!p->unsettled || goodput_judge(r, p) == VERDICT_FAIL);
}

/* Where to look from here: what stays undecided points the way that its mean does. */
static bool is_below(const goodput_rules *r, const goodput_point *p) {
    verdict v = goodput_judge(r, p);
    if (p->void_ || v == VERDICT_FAIL) return true;
    return v == VERDICT_UNDECIDED && goodput_interval(p).mean < r->target;
}

double goodput_round(double rate) {
    PRE(rate > 0);
    double scale = pow(10, 2 - floor(log10(rate)));
    return round(rate * scale) / scale;
}

goodput_seeds goodput_seeds_of(const goodput_rules *r, const goodput_point *p) {
    PRE(r);
    PRE(p);
    if (p->void_ || p->unsettled || p->unstable) return GOODPUT_SEEDS_FEW;
    const interval i = goodput_interval(p);
    if ((i.high - i.low) / 2 <= GOODPUT_HALF_WIDTH) return GOODPUT_SEEDS_WIDTH; /* NAN is not narrow */
    return p->seeds < r->seeds_cap ? GOODPUT_SEEDS_MORE : GOODPUT_SEEDS_CAP;
}

const char *goodput_seeds_name(goodput_seeds s) {
    static const char *const names[] = {"more", "width", "cap", "few"};
    PRE((size_t)s < ARRAY_LEN(names));
    return names[s];
}

static goodput_next end(const char *why) {
    return (goodput_next){.step = GOODPUT_END, .why = why};
}

static goodput_next probe(const goodput_rules *r, double rate, const goodput_point *points, uint32_t count) {
    rate = goodput_round(rate);
    if (count >= r->probes_max) return end("as many rates were tried as is allowed");
    for (uint32_t i = 0; i < count; i++)
        if (points[i].rate == rate) return end("rates cannot be told apart any further");
    return (goodput_next){.step = GOODPUT_PROBE, .rate = rate};
}

goodput_next goodput_decide(const goodput_rules *r, const goodput_point *points, uint32_t count) {
    PRE(r);
    PRE((points || !count));
    for (uint32_t i = 0; i < count; i++)
        if (goodput_seeds_of(r, &points[i]) == GOODPUT_SEEDS_MORE)
            return (goodput_next){.step = GOODPUT_MORE_SEEDS, .rate = points[i].rate, .point = i};
    if (!count) return probe(r, r->start, points, count);
    double high = INFINITY, low = 0, least = INFINITY; /* lowest too high, highest good one below it */
    for (uint32_t i = 0; i < count; i++) {
        least = fmin(least, points[i].rate);
        if (is_below(r, &points[i])) high = fmin(high, points[i].rate);
    }
    for (uint32_t i = 0; i < count; i++)
        if (points[i].rate < high) low = fmax(low, points[i].rate);
    if (isinf(high)) {
        if (low >= r->max_rate) return end("the highest rate that is allowed still passes");
        return probe(r, fmin(low * 2, r->max_rate), points, count);
    }
    if (low == 0) {
        if (least <= r->start / LOWEST) return end("the lowest rate that makes sense does not pass");
        return probe(r, least / 2, points, count);
    }
    if (high <= low * (1 + r->resolution)) {
        bool is_void = false;
        for (uint32_t i = 0; i < count; i++) is_void = is_void || (points[i].rate == high && points[i].void_);
        return end(is_void ? "the next higher rate is void" : "the two rates are close enough");
    }
    return probe(r, (low + high) / 2, points, count);
}
