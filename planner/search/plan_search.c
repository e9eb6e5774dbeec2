#include "planner/search/plan_search.h"

#include "base/mem.h"
#include "planner/judge/pool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURNS_MOST 6

judge_case plan_case(const plan_input *in, const fleet_placement *p) {
    PRE(in);
    PRE(p);
    return (judge_case){.profile = in->profile,
                        .placement = p,
                        .load = in->load,
                        .arrivals = in->arrivals,
                        .limits = in->limits,
                        .extrapolate = in->extrapolate,
                        .one_host = in->one_host,
                        .max_requests = in->max_requests,
                        .max_queue = in->max_queue,
                        .max_context = in->max_context};
}

interval plan_goodput(const candidate *c) {
    PRE(c);
    PRE(c->found);
    const search_result *r = &c->found->result;
    interval v = {.mean = NAN, .low = NAN, .high = NAN, .n = 1};
    if (c->found->infeasible) return v;
    v.mean = r->crossing > 0 && isfinite(r->crossing) ? r->crossing : r->pass;
    /* What passed, passed; what failed, failed: the curves of bounds may only narrow that. */
    v.low = r->low > 0 && isfinite(r->low) ? fmax(r->low, r->pass) : r->pass;
    v.high = r->high > 0 && isfinite(r->high) ? fmin(r->high, r->fail) : r->fail;
    /* No rate passed, or none failed: that side is open. */
    v.low = isnan(v.low) ? 0 : fmin(v.low, v.mean);
    v.high = isnan(v.high) ? INFINITY : fmax(v.high, v.mean);
    v.mean /= c->devices;
    v.low /= c->devices;
    v.high /= c->devices;
    return v;
}

uint32_t plan_rejected(const plan_outcome *p, reject_reason r) {
    PRE(p);
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->list.count; i++) n += p->list.items[i].reason == r;
    return n;
}

uint32_t plan_fewest(const plan_outcome *p, double rate, uint32_t *devices) {
    PRE(p);
    PRE(rate > 0);
    PRE(devices);
    uint32_t best = PLAN_NOBODY;
    double least = INFINITY, most = 0;
    for (uint32_t i = 0; i < p->list.count; i++) {
        const candidate *c = &p->list.items[i];
        if (c->reason != REJECT_NOT || !c->found || isnan(plan_goodput(c).mean)) continue;
        double served = plan_goodput(c).low * c->devices, copies = ceil(rate / served);
        if (copies > 1 && !p->ratios) continue; /* with more devices it is a candidate of its own */
        double n = copies * c->devices;
        if (n > least || (n == least && plan_goodput(c).mean <= most)) continue;
        best = i;
        least = n;
        most = plan_goodput(c).mean;
    }
    *devices = least < UINT32_MAX ? (uint32_t)least : UINT32_MAX;
    return best;
}

/* ---- simulations, many at a time ---- */

typedef struct task {
    uint32_t index;   /* of the list */
    double incumbent; /* requests per second and device that the best of its group surely has; 0: none yet */
    uint32_t best;    /* that one */
} task;

typedef struct batch {
    const plan_input *in;
    candidate_list *list;
    const task *tasks;
    bool narrow;
} batch;

static judge_rules rules_of(const plan_input *in, const candidate *c, bool narrow) {
    judge_rules r = judge_rules_default();
    r.target = in->target;
    r.first_seed = in->seed;
    r.half_width = narrow ? (in->quick ? 0.02 : 0.01) : 0.04;
    r.resolution = narrow ? (in->quick ? 0.04 : 0.02) : 0.08;
    r.requests_cap = narrow ? 30000 : 3000;
    if (!narrow) r.seeds = 5;
    r.seeds_cap = narrow ? 16 : 6;
    r.start_rate = isfinite(c->bound) && c->bound > 0 ? c->bound * c->devices / 2 : 0;
    if (c->found && !c->found->infeasible) {
        interval known = plan_goodput(c);
        r.start_rate = fmax(0.97 * known.low, 0.85 * known.mean) * c->devices;
    }
    return r;
}

/* What one candidate's simulation means for the others is no error. */
static status cannot(candidate *c, status st, const errbuf *eb) {
    if (st != ST_INVALID) return st;
    c->reason = REJECT_PROFILE;
    snprintf(c->why, sizeof c->why, "%.*s", (int)sizeof c->why - 1, eb->text);
    return ST_OK;
}

/* One look at the rate that the incumbent serves. false: it fails there, or cannot be simulated. */
static bool tested(const batch *b, const task *t, candidate *c, status *st, errbuf *eb) {
    judge_case one = plan_case(b->in, &c->placement);
    judge_rules rules = rules_of(b->in, c, false);
    judge_point p;
    *st = judge_rate(&p, &one, &rules, t->incumbent * c->devices, eb);
    if (*st != ST_OK) {
        *st = cannot(c, *st, eb);
        return false;
    }
    c->tested = p.requests;
    const rate_point at = judge_rate_point(&p);
    if (search_judge(&at, b->in->target) != VERDICT_FAIL) return true;
    c->reason = REJECT_BEATEN;
    snprintf(c->why, sizeof c->why,
             "%.3g %% are within the limits at %.4g requests/s/device, which %.48s serves%s",
             100 * p.attainment.mean, t->incumbent, b->list->items[t->best].placement.name,
             p.unstable ? "; its queue grows without end" : "");
    return false;
}

/* A first look is too short to tell that a point has settled, and of many devices so is a long one: the
 * interval, with its warm-up cut and the test of growth, is taken as it is. Points say whether they settled.
 */
static void take_as_is(judge_goodput *g, double target) {
    rate_point points[JUDGE_POINTS_MAX];
    for (uint32_t i = 0; i < g->count; i++)
        points[i] = (rate_point){g->points[i].rate, g->points[i].attainment, g->points[i].unstable};
    g->result = search_goodput(points, g->count, target);
}

static status simulate(void *ctx, uint32_t index, errbuf *eb) {
    const batch *b = ctx;
    const task *t = &b->tasks[index];
    candidate *c = &b->list->items[t->index];
    judge_case one = plan_case(b->in, &c->placement);
    judge_rules rules = rules_of(b->in, c, b->narrow);
    status st = ST_OK;
    if (t->incumbent > 0) {
        if (!tested(b, t, c, &st, eb)) return st;
        rules.start_rate = 0.9 * t->incumbent * c->devices;
    }
    judge_goodput *found = xcalloc(1, sizeof *found);
    st = judge_search(found, &one, &rules, eb);
    if (st != ST_OK) {
        free(found);
        return cannot(c, st, eb);
    }
    if (c->found) found->simulated += c->found->simulated;
    free(c->found);
    c->found = found;
    c->narrow = b->narrow;
    if (found->count && (!b->narrow || isnan(found->result.pass))) take_as_is(found, b->in->target);
    if (found->infeasible || isnan(plan_goodput(c).mean)) {
        c->reason = REJECT_SLO;
        snprintf(c->why, sizeof c->why, "no rate passes: %.*s", (int)sizeof c->why - 20, found->why);
    }
    return ST_OK;
}

static status run_batch(const plan_input *in, candidate_list *l, const task *tasks, uint32_t count,
                        bool narrow, errbuf *eb) {
    batch b = {.in = in, .list = l, .tasks = tasks, .narrow = narrow};
    return judge_pool(in->threads, count, simulate, &b, eb);
}

/* ---- order ---- */

/* Higher goodput per device first; then the order of ties. */
static int compare_found(const candidate *a, const candidate *b) {
    double x = plan_goodput(a).mean, y = plan_goodput(b).mean;
    if (fabs(x - y) > 1e-9 * fmax(x, y)) return x > y ? -1 : 1;
    return fleet_placement_compare(&a->placement, &b->placement);
}

static bool counts(const candidate *c) {
    return c->reason == REJECT_NOT && c->found && !isnan(plan_goodput(c).mean);
}

/* The best `most` of a kind, best first, of the list from `from` on. */
static uint32_t best_of(const candidate_list *l, uint32_t from, bool colocated, uint32_t *out,
                        uint32_t most) {
    uint32_t n = 0;
    for (uint32_t i = from; i < l->count; i++) {
        if (l->items[i].colocated != colocated || !counts(&l->items[i])) continue;
        uint32_t at = n;
        while (at > 0 && compare_found(&l->items[i], &l->items[out[at - 1]]) < 0) at--;
        if (at == most) continue;
        n = MIN(n + 1, most);
        memmove(&out[at + 1], &out[at], (n - 1 - at) * sizeof *out);
        out[at] = i;
    }
    return n;
}

/* ---- rounds ---- */

static bool is_full(const plan_outcome *o, const candidate *c) {
    return c - o->list.items >= o->full_from;
}

/* Candidates that compete: of a kind and, unless ratios are searched, of as many devices. What a unit does
 * says nothing of its copies together, so those compete with each other alone. */
static bool same_group(const plan_outcome *o, const candidate *a, const candidate *b) {
    return a->colocated == b->colocated && is_full(o, a) == is_full(o, b) &&
           (o->ratios || a->devices == b->devices);
}

/* The one with the highest lower bound in c's group; PLAN_NOBODY: none was simulated yet. */
static uint32_t incumbent_of(const plan_outcome *o, const candidate *c) {
    uint32_t best = PLAN_NOBODY;
    for (uint32_t i = 0; i < o->list.count; i++) {
        const candidate *k = &o->list.items[i];
        if (!counts(k) || !same_group(o, k, c)) continue;
        if (best == PLAN_NOBODY || plan_goodput(k).low > plan_goodput(&o->list.items[best]).low) best = i;
    }
    return best;
}

static bool waits(const candidate *c) {
    return c->reason == REJECT_NOT && !c->found;
}

/* Best bound first; of equal ones, larger steps first. */
static int by_promise(const plan_outcome *o, uint32_t a, uint32_t b) {
    const candidate *x = &o->list.items[a], *y = &o->list.items[b];
    if (x->bound != y->bound) return x->bound > y->bound ? -1 : 1;
    uint32_t rows = 0, other = 0;
    for (uint32_t r = 0; r < ROLE_COUNT; r++) {
        if (x->placement.roles[r].count) rows = MAX(rows, x->placement.roles[r].chunk_tokens);
        if (y->placement.roles[r].count) other = MAX(other, y->placement.roles[r].chunk_tokens);
    }
    if (rows != other) return rows > other ? -1 : 1;
    return (a > b) - (a < b);
}

/* Up to PLAN_ROUND of a group that wait, the most promising first; one where nobody was simulated yet. */
static uint32_t next_of_group(plan_outcome *o, uint32_t first, task *out) {
    const candidate *of = &o->list.items[first];
    uint32_t best = incumbent_of(o, of), most = best == PLAN_NOBODY ? 1 : PLAN_ROUND, n = 0;
    double low = best == PLAN_NOBODY ? 0 : plan_goodput(&o->list.items[best]).low;
    for (uint32_t i = first; i < o->list.count; i++) {
        candidate *c = &o->list.items[i];
        if (!waits(c) || !same_group(o, c, of)) continue;
        if (c->bound < low) {
            c->reason = REJECT_SATURATION;
            snprintf(c->why, sizeof c->why, "its work allows %.4g requests/s/device at most, %s has %.4g",
                     c->bound, o->list.items[best].placement.name, low);
            continue;
        }
        uint32_t at = n;
        while (at > 0 && by_promise(o, i, out[at - 1].index) < 0) at--;
        if (at == most) continue;
        n = MIN(n + 1, most);
        memmove(&out[at + 1], &out[at], (n - 1 - at) * sizeof *out);
        out[at] = (task){.index = i, .incumbent = low, .best = best};
    }
    return n;
}

/* Of each group some. Caller frees *out with free. */
static uint32_t next_round(plan_outcome *o, task **out) {
    bool *seen = xcalloc(o->list.count + 1, sizeof *seen);
    task *tasks = NULL;
    uint32_t n = 0;
    for (uint32_t i = 0; i < o->list.count; i++) {
        if (seen[i] || !waits(&o->list.items[i])) continue;
        for (uint32_t k = i; k < o->list.count; k++)
            seen[k] = seen[k] || same_group(o, &o->list.items[i], &o->list.items[k]);
        tasks = xrealloc(tasks, n + PLAN_ROUND + 1, sizeof *tasks);
        n += next_of_group(o, i, tasks + n);
    }
    free(seen);
    *out = tasks;
    return n;
}

static void tell(const plan_input *in, const plan_outcome *o, const char *what) {
    if (!in->progress) return;
    uint32_t done = 0, left = 0;
    for (uint32_t i = 0; i < o->list.count; i++) {
        done += o->list.items[i].found != NULL;
        left += waits(&o->list.items[i]);
    }
    char text[128];
    snprintf(text, sizeof text, "%s: %u placements simulated, %u wait, %u rejected", what, done, left,
             o->list.count - plan_rejected(o, REJECT_NOT));
    in->progress(text);
}

static status run_rounds(plan_outcome *o, const plan_input *in, errbuf *eb) {
    for (;;) {
        task *tasks;
        uint32_t n = next_round(o, &tasks);
        if (n) tell(in, o, "search");
        status st = n ? run_batch(in, &o->list, tasks, n, false, eb) : ST_OK;
        free(tasks);
        if (!n || st != ST_OK) return st;
    }
}

/* ---- finalists ---- */

/* Of each kind the best, and those whose interval reaches its. */
static uint32_t finalists(const candidate_list *l, uint32_t from, uint32_t most, task *out) {
    uint32_t n = 0;
    for (int colocated = 0; colocated < 2; colocated++) {
        uint32_t top[PLAN_FINALISTS + 1], some = best_of(l, from, colocated, top, most);
        for (uint32_t i = 0; i < some; i++) {
            const candidate *c = &l->items[top[i]];
            if (!c->narrow && plan_goodput(c).high >= plan_goodput(&l->items[top[0]]).low)
                out[n++] = (task){.index = top[i]};
        }
    }
    return n;
}

static status run_finalists(plan_outcome *o, const plan_input *in, uint32_t from, errbuf *eb) {
    for (int turn = 0; turn < TURNS_MOST; turn++) { /* the best may now be one that was not in it */
        task tasks[2 * (PLAN_FINALISTS + 1)];
        uint32_t n = finalists(&o->list, from, o->ratios ? 2 : PLAN_FINALISTS, tasks);
        if (!n) return ST_OK;
        tell(in, o, "finalists");
        status st = run_batch(in, &o->list, tasks, n, true, eb);
        if (st != ST_OK) return st;
    }
    return ST_OK;
}

/* ---- many devices ---- */

static void append(candidate_list *l, const fleet_placement *p, const candidate *unit) {
    l->items = xrealloc(l->items, l->count + 1, sizeof *l->items);
    candidate c = *unit;
    char text[sizeof c.placement.name];
    c.placement = *p;
    c.devices = fleet_placement_devices(p);
    c.found = NULL;
    c.tested = 0;
    c.narrow = false;
    snprintf(c.placement.name, sizeof c.placement.name, "%s", fleet_placement_text(p, text, sizeof text));
    l->items[l->count++] = c;
}

/* The unit as often as it fits and, of a disaggregated one, with a prefill worker more or less. */
static void append_full(plan_outcome *o, uint32_t unit) {
    candidate_list *l = &o->list;
    const candidate u = l->items[unit];
    fleet_placement full = candidates_scale(&u.placement, o->check_devices);
    append(l, &full, &u);
    if (u.colocated) return;
    fleet_role *p = &full.roles[ROLE_PREFILL], *d = &full.roles[ROLE_DECODE];
    uint32_t p_count = p->count;
    for (int more = -1; more <= 1; more++) {
        if ((int64_t)p_count + more < 1 || (p_count + (uint32_t)more) * p->devices >= o->check_devices)
            continue;
        p->count = p_count + (uint32_t)more;
        d->count = (o->check_devices - p->count * p->devices) / d->devices;
        bool there = d->count == 0;
        for (uint32_t i = 0; i < l->count; i++)
            there |= fleet_placement_compare(&l->items[i].placement, &full) == 0;
        if (!there) append(l, &full, &u);
    }
}

static status run_full(plan_outcome *o, const plan_input *in, const bounds_input *known, uint32_t *from,
                       errbuf *eb) {
    o->full_from = *from = o->list.count;
    for (int colocated = 0; colocated < 2; colocated++) {
        uint32_t top[3 + 1], n = best_of(&o->list, 0, colocated, top, in->quick || colocated ? 1 : 2);
        for (uint32_t i = 0; i < n; i++) append_full(o, top[i]);
    }
    candidate_list full = {.items = o->list.items + *from, .count = o->list.count - *from};
    bounds_judge(&full, known);
    return run_rounds(o, in, eb);
}

status plan_search(plan_outcome *out, const plan_input *in, errbuf *eb) {
    PRE(out);
    PRE(in);
    PRE(in->threads >= 1);
    plan_outcome o = {.best = PLAN_NOBODY,
                      .best_of = {PLAN_NOBODY, PLAN_NOBODY},
                      .ratios = in->devices > CANDIDATES_UNIT,
                      .full_from = UINT32_MAX,
                      .check_devices = MIN(in->devices, PLAN_CHECK_DEVICES),
                      .demand = demand_of(in->load, in->seed)};
    candidate_options which = {.profile = in->profile,
                               .demand = &o.demand,
                               .devices = in->devices,
                               .devices_per_instance_max = in->devices_per_instance_max,
                               .kv_pages = in->kv_pages,
                               .max_seqs = in->max_seqs,
                               .quick = in->quick};
    bounds_input known = {.profile = in->profile,
                          .demand = &o.demand,
                          .limits = in->limits,
                          .target = in->target,
                          .heads = in->heads,
                          .extrapolate = in->extrapolate};
    uint32_t from = 0;
    status st = candidates_list(&o.list, &which, eb);
    if (st == ST_OK) {
        bounds_judge(&o.list, &known);
        st = run_rounds(&o, in, eb);
    }
    if (st == ST_OK && o.ratios) st = run_full(&o, in, &known, &from, eb);
    if (st == ST_OK) st = run_finalists(&o, in, from, eb);
    if (st != ST_OK) {
        plan_done(&o);
        return st;
    }
    for (int colocated = 0; colocated < 2; colocated++) {
        uint32_t top[2];
        /* Where no full size serves it a unit may, on fewer devices. */
        if (best_of(&o.list, from, colocated, top, 1) || best_of(&o.list, 0, colocated, top, 1))
            o.best_of[colocated] = top[0];
    }
    uint32_t a = o.best_of[0], b = o.best_of[1];
    o.best = a == PLAN_NOBODY || (b != PLAN_NOBODY && compare_found(&o.list.items[b], &o.list.items[a]) < 0)
                 ? b
                 : a;
    for (uint32_t i = 0; i < o.list.count; i++)
        o.simulated +=
            o.list.items[i].tested + (o.list.items[i].found ? o.list.items[i].found->simulated : 0);
    *out = o;
    return ST_OK;
}

void plan_done(plan_outcome *p) {
    PRE(p);
    candidates_done(&p->list);
    demand_done(&p->demand);
    *p = (plan_outcome){.best = PLAN_NOBODY, .best_of = {PLAN_NOBODY, PLAN_NOBODY}};
}
