#include "bench/experiment/goodput_search.h"

#include "base/mem.h"
#include "base/status.h"

#include <math.h>
#include <stdlib.h>

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

goodput_next goodput_decide(const goodput_rules *r, const goodput_point *points, uint32_t count) {
    PRE(r);
    PRE((points || !count));
    for (uint32_t i = 0; i < count; i++)
        if (goodput_seeds_of(r, &points[i]) == GOODPUT_SEEDS_MORE)
            return (goodput_next){.step = GOODPUT_MORE_SEEDS, .rate = points[i].rate, .point = i};
    static const char *const why[] = {[SEARCH_CLOSE] = "the two rates are close enough",
                                      [SEARCH_FINEST] = "rates cannot be told apart any further",
                                      [SEARCH_TOP] = "the highest rate that is allowed still passes",
                                      [SEARCH_BOTTOM] = "the lowest rate that makes sense does not pass",
                                      [SEARCH_ENOUGH] = "as many rates were tried as is allowed"};
    const search_plan plan = {r->start, r->max_rate, r->resolution, r->probes_max};
    search_tried *tried = xcalloc(count + 1, sizeof *tried);
    for (uint32_t i = 0; i < count; i++) tried[i] = (search_tried){points[i].rate, is_below(r, &points[i])};
    search_step next = search_next(&plan, tried, count);
    free(tried);
    if (next.why == SEARCH_GOES_ON) return (goodput_next){.step = GOODPUT_PROBE, .rate = next.rate};
    goodput_next end = {.step = GOODPUT_END, .why = why[next.why]};
    for (uint32_t i = 0; i < count && next.why == SEARCH_CLOSE; i++)
        if (points[i].rate == next.high && points[i].void_) end.why = "the next higher rate is void";
    return end;
}
