#include "planner/search/plan_verdict.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

const char *plan_answer_name(plan_answer a) {
    static const char *const names[] = {[ANSWER_INFEASIBLE] = "infeasible",
                                        [ANSWER_COLOCATED] = "colocated",
                                        [ANSWER_DISAGGREGATE] = "disaggregate",
                                        [ANSWER_UNDECIDED] = "undecided"};
    PRE((size_t)a < ARRAY_LEN(names));
    return names[a];
}

const char *plan_value_text(interval v, char *out, size_t size) {
    PRE(out);
    double half = fmax(v.high - v.mean, v.mean - v.low);
    if (isnan(v.mean)) {
        snprintf(out, size, "unknown");
    } else if (isinf(v.high) && isfinite(v.low)) {
        snprintf(out, size, "at least %.4g", v.low);
    } else if (isfinite(v.high) && !isfinite(v.low)) {
        snprintf(out, size, "at most %.4g", v.high);
    } else if (!(half > 0) || !isfinite(half)) {
        snprintf(out, size, "%.4g", v.mean);
    } else {
        int digits = (int)fmax(0, fmin(9, ceil(-log10(half)))); /* one digit of the half-width */
        if (half * pow(10, digits) < 1.95) digits++;
        snprintf(out, size, "%.*f +- %.*f", digits, v.mean, digits, half);
    }
    return out;
}

void plan_reasons_text(const plan_outcome *o, buf *out) {
    PRE(o);
    PRE(out);
    const char *comma = "";
    for (reject_reason r = REJECT_NOT + 1; r < REJECT_REASONS; r++) {
        uint32_t n = plan_rejected(o, r);
        if (!n) continue;
        const candidate *first = o->list.items;
        while (first->reason != r) first++;
        buf_addf(out, "%s%u %s (%s)", comma, n, reject_name(r), first->why);
        comma = ", ";
    }
}

/* ---- the sentence ---- */

/* "colocated 3 x tp1 1.84 +- 0.03" */
static void add_contender(buf *b, const candidate *c) {
    char value[64], text[64];
    fleet_placement shown = c->placement;
    buf_addf(b, "%s %s", fleet_placement_text(&shown, text, sizeof text),
             plan_value_text(plan_goodput(c), value, sizeof value));
}

static void say_other(buf *b, const plan_outcome *o, const plan_input *in, bool colocated) {
    const candidate *first = NULL;
    uint32_t n = 0;
    for (uint32_t i = 0; i < o->list.count; i++) {
        if (o->list.items[i].colocated != colocated) continue;
        if (!first) first = &o->list.items[i];
        n++;
    }
    const char *kind = colocated ? "colocated" : "disaggregated";
    if (!first)
        buf_addf(b, "; no %s placement fits %u device%s", kind, in->devices, in->devices == 1 ? "" : "s");
    else
        buf_addf(b, "; none of %u %s placements can serve it (%s: %s)", n, kind, reject_name(first->reason),
                 first->why);
}

static bool is_decided(const plan_outcome *o, ratio paired) {
    const candidate *a = &o->list.items[o->best_of[0]], *b = &o->list.items[o->best_of[1]];
    if (!isnan(paired.mean)) return paired.low > 1; /* of the best to the other */
    interval x = plan_goodput(a), y = plan_goodput(b);
    return x.low > y.high || y.low > x.high;
}

static void say_both(plan_verdict *v, buf *b, const plan_outcome *o, ratio paired, const char *flips) {
    uint32_t other = o->best == o->best_of[0] ? o->best_of[1] : o->best_of[0];
    const candidate *best = &o->list.items[o->best];
    bool decided = is_decided(o, paired);
    v->answer = !decided ? ANSWER_UNDECIDED : best->colocated ? ANSWER_COLOCATED : ANSWER_DISAGGREGATE;
    buf_adds(b, !decided ? "undecided: " : best->colocated ? "do not disaggregate: " : "disaggregate: ");
    add_contender(b, best);
    buf_adds(b, ", ");
    add_contender(b, &o->list.items[other]);
    buf_adds(b, " requests/s/device");
    if (!decided && isnan(paired.mean)) buf_adds(b, ": the intervals overlap");
    if (!decided && !isnan(paired.mean))
        buf_addf(b, ": their ratio is between %.3g and %.3g", paired.low, paired.high);
    if (decided && flips[0]) buf_addf(b, "; flips at %s", flips);
}

static void say_one(plan_verdict *v, buf *b, const plan_outcome *o, const plan_input *in) {
    const candidate *best = &o->list.items[o->best];
    v->answer = best->colocated ? ANSWER_COLOCATED : ANSWER_DISAGGREGATE;
    buf_adds(b, best->colocated ? "do not disaggregate: " : "disaggregate: ");
    add_contender(b, best);
    buf_adds(b, " requests/s/device");
    say_other(b, o, in, !best->colocated);
}

/* What stands between the answer and a cluster that runs. */
static void say_reservations(buf *b, const plan_outcome *o, const plan_input *in) {
    const fleet_placement *p = &o->list.items[o->best].placement;
    bool parallel = false;
    for (uint32_t i = 0; i < ROLE_COUNT; i++)
        parallel |= p->roles[i].count && (p->roles[i].tp > 1 || p->roles[i].pp > 1);
    const judge_goodput *g = o->list.items[o->best].found;
    bool settled = false;
    for (uint32_t i = 0; g && i < g->count; i++)
        settled |= g->points[i].settled && g->points[i].rate <= g->result.crossing;
    if (g && g->count && !settled) buf_adds(b, "; not settled in as many requests as were simulated");
    if (o->ratios && o->best < o->full_from)
        buf_addf(b, "; no larger placement serves it as well: %u of %u devices",
                 o->list.items[o->best].devices, in->devices);
    if (parallel) buf_adds(b, "; Baton cannot run tp or pp above 1 yet");
    if (o->ratios && o->best >= o->full_from && in->devices > o->check_devices)
        buf_addf(b, "; simulated with %u of %u devices, to be repeated", o->check_devices, in->devices);
}

plan_verdict plan_verdict_of(const plan_outcome *o, const plan_input *in, ratio paired, const char *flips) {
    PRE(o);
    PRE(in);
    PRE(flips);
    plan_verdict v = {.answer = ANSWER_INFEASIBLE, .paired = paired};
    buf b = {0};
    if (o->best == PLAN_NOBODY) {
        buf_addf(&b, "infeasible: no placement on up to %u device%s can serve it: ", in->devices,
                 in->devices == 1 ? "" : "s");
        if (o->list.count)
            plan_reasons_text(o, &b);
        else
            buf_adds(&b, "the profile has no engine that is so small");
    } else if (o->best_of[0] != PLAN_NOBODY && o->best_of[1] != PLAN_NOBODY) {
        say_both(&v, &b, o, paired, flips);
    } else {
        say_one(&v, &b, o, in);
    }
    if (o->best != PLAN_NOBODY) say_reservations(&b, o, in);
    snprintf(v.text, sizeof v.text, "%s", b.data);
    buf_done(&b);
    return v;
}
