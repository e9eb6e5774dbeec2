#include "bench/report/verdict_text.h"

#include <math.h>
#include <string.h>

/* Every placement fails at the lowest rate that it was run at. */
static bool all_hopeless(const goodput_table *t, uint32_t workload, uint32_t s) {
    for (uint32_t p = 0; p < t->results->placement_count; p++) {
        const curve *c = &goodput_table_at(t, workload, s, p)->curve;
        if (!t->results->placements[p].again_of && c->done && !curve_hopeless(c)) return false;
    }
    return true;
}

standing verdict_standing(const goodput_table *t, uint32_t workload, uint32_t s) {
    uint32_t base = goodput_table_baseline(t, workload, s), rival = goodput_table_rival(t, workload, s);
    if (base == UINT32_MAX || rival == UINT32_MAX) return STANDING_ALONE;
    const table_entry *e = goodput_table_at(t, workload, s, rival);
    if (all_hopeless(t, workload, s)) return STANDING_NEITHER;
    if (e->to_baseline.low > 1) return STANDING_BETTER;
    if (e->to_baseline.high < 1) return STANDING_WORSE;
    return STANDING_UNDECIDED;
}

typedef struct tally {
    uint32_t of[STANDING_ALONE + 1];
    double least[STANDING_ALONE + 1], most[STANDING_ALONE + 1]; /* ratios */
    bool seeds; /* some ratio has no interval for want of seeds */
} tally;

static tally count(const goodput_table *t, uint32_t workload) {
    tally c = {0};
    for (int i = 0; i <= STANDING_ALONE; i++) c.least[i] = INFINITY, c.most[i] = 0;
    c.seeds = t->seed_count[workload] < 2;
    for (uint32_t s = 0; s < t->results->slo_count; s++) {
        standing st = verdict_standing(t, workload, s);
        c.of[st]++;
        if (st == STANDING_ALONE) continue;
        double r = goodput_table_at(t, workload, s, goodput_table_rival(t, workload, s))->to_baseline.mean;
        if (isnan(r)) continue;
        c.least[st] = MIN(c.least[st], r);
        c.most[st] = MAX(c.most[st], r);
    }
    return c;
}

static void add_range(const tally *c, standing st, buf *out) {
    if (c->most[st] == 0) return;
    if (c->most[st] - c->least[st] < 0.005)
        buf_addf(out, " (%.2f times)", c->most[st]);
    else
        buf_addf(out, " (%.2f to %.2f times)", c->least[st], c->most[st]);
}

/* "A, B and C": the SLOs of a standing; "all" of them has no names. */
static void add_slos(const goodput_table *t, uint32_t workload, standing st, uint32_t n, buf *out) {
    const results *r = t->results;
    uint32_t told = 0;
    for (uint32_t s = 0; s < r->slo_count; s++) {
        if (verdict_standing(t, workload, s) != st) continue;
        buf_addf(out, "%s%s", told == 0 ? "" : told + 1 == n ? " and " : ", ", r->slos[s].name);
        told++;
    }
}

/* The placement that is best most often, of baselines or of the others. */
static const char *champion(const goodput_table *t, uint32_t workload, bool baseline, bool *only) {
    uint32_t wins[RESULTS_PLACEMENTS_MAX] = {0}, best = 0, n = 0;
    for (uint32_t s = 0; s < t->results->slo_count; s++) {
        uint32_t p = baseline ? goodput_table_baseline(t, workload, s) : goodput_table_rival(t, workload, s);
        if (p == UINT32_MAX) continue;
        n += wins[p]++ == 0;
        if (wins[p] > wins[best]) best = p;
    }
    *only = n <= 1;
    return t->results->placements[best].name;
}

static void add_count(const goodput_table *t, uint32_t n, buf *out) {
    uint32_t all = t->results->slo_count;
    if (n == all)
        buf_adds(out, all == 1 ? "at the SLO" : "at all ");
    else
        buf_addf(out, "at %u of %u SLOs", n, all);
    if (n == all && all > 1) buf_addf(out, "%u SLOs", all);
}

static void add_alone(const goodput_table *t, uint32_t workload, buf *out) {
    bool some = goodput_table_baseline(t, workload, 0) != UINT32_MAX ||
                goodput_table_rival(t, workload, 0) != UINT32_MAX;
    if (!some)
        buf_adds(out, "No verdict: no cell of this workload counts (see the table of cells).");
    else if (goodput_table_baseline(t, workload, 0) == UINT32_MAX)
        buf_adds(out, "No verdict: no placement with data is marked as baseline, so there is nothing to "
                      "compare with.");
    else
        buf_adds(out, "No verdict: every placement with data is a baseline, so there is nothing to compare "
                      "them with.");
}

static void add_rest(const goodput_table *t, uint32_t workload, const tally *c, buf *out) {
    if (c->of[STANDING_UNDECIDED]) {
        buf_adds(out, " Undecided at ");
        add_slos(t, workload, STANDING_UNDECIDED, c->of[STANDING_UNDECIDED], out);
        buf_adds(out, ": the interval of the ratio contains 1, or is open.");
    }
    if (c->of[STANDING_NEITHER]) {
        buf_adds(out, " No placement reaches the target at ");
        add_slos(t, workload, STANDING_NEITHER, c->of[STANDING_NEITHER], out);
        buf_adds(out, ".");
    }
}

static void add_one_sided(const goodput_table *t, uint32_t workload, const tally *c, bool better, buf *out) {
    standing st = better ? STANDING_BETTER : STANDING_WORSE;
    bool only, only_base;
    const char *name = champion(t, workload, false, &only);
    const char *base = champion(t, workload, true, &only_base);
    if (better)
        buf_addf(out,
                 "Disaggregate: %s%s has a higher goodput per device than the best colocated baseline "
                 "(%s%s) ",
                 name, only ? "" : " (most often)", base, only_base ? "" : ", most often");
    else
        buf_addf(out,
                 "Do not disaggregate: the best colocated baseline (%s%s) has a higher goodput per device "
                 "than %s%s ",
                 base, only_base ? "" : ", most often", name, only ? "" : " (most often)");
    add_count(t, c->of[st], out);
    if (better) {
        add_range(c, st, out);
    } else if (c->most[st] > 0) {
        buf_addf(out, "; the ratio is %.2f", c->least[st]);
        if (c->most[st] - c->least[st] >= 0.005) buf_addf(out, " to %.2f", c->most[st]);
    }
    buf_adds(out, ".");
    add_rest(t, workload, c, out);
}

static void add_undecided(const goodput_table *t, uint32_t workload, const tally *c, buf *out) {
    if (c->of[STANDING_UNDECIDED] == 0) {
        buf_adds(out, "No verdict: no placement reaches the target at any rate that was run, under any SLO.");
        return;
    }
    if (c->seeds)
        buf_adds(out, "Undecided: with one seed there is no interval; point estimates alone decide nothing");
    else
        buf_adds(out, "Undecided: the intervals of the ratios contain 1, or are open");
    if (c->most[STANDING_UNDECIDED] > 0) {
        buf_addf(out, "; the ratio to the best baseline is %.2f", c->least[STANDING_UNDECIDED]);
        if (c->most[STANDING_UNDECIDED] - c->least[STANDING_UNDECIDED] >= 0.005)
            buf_addf(out, " to %.2f", c->most[STANDING_UNDECIDED]);
    }
    buf_adds(out, ".");
    if (c->of[STANDING_NEITHER]) {
        tally rest = *c;
        rest.of[STANDING_UNDECIDED] = 0;
        add_rest(t, workload, &rest, out);
    }
}

void verdict_text(const goodput_table *t, uint32_t workload, buf *out) {
    PRE(t);
    PRE(out);
    tally c = count(t, workload);
    uint32_t better = c.of[STANDING_BETTER], worse = c.of[STANDING_WORSE];
    if (c.of[STANDING_ALONE]) {
        add_alone(t, workload, out);
    } else if (better == 0 && worse == 0) {
        add_undecided(t, workload, &c, out);
    } else if (better == 0 || worse == 0) {
        add_one_sided(t, workload, &c, better > 0, out);
    } else {
        buf_adds(out, "It depends on the SLO: disaggregate at ");
        add_slos(t, workload, STANDING_BETTER, better, out);
        add_range(&c, STANDING_BETTER, out);
        buf_adds(out, "; do not at ");
        add_slos(t, workload, STANDING_WORSE, worse, out);
        add_range(&c, STANDING_WORSE, out);
        buf_adds(out, ".");
        add_rest(t, workload, &c, out);
    }
}
