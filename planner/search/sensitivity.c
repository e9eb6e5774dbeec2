#include "planner/search/sensitivity.h"

#include "base/mem.h"
#include "planner/judge/pool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define POOL          (2 * SENSITIVITY_EACH)
#define FACTOR        16.0 /* how far limits are moved, either way */
#define STEPS         16   /* on the way */
#define RESAMPLES     200u
#define REQUESTS_MOST 20000.0 /* of a seed */
#define LIMITS(l)     (l)->ttft_ms, (l)->tpot_ms

/* The few of each kind: [0, some[0]) disaggregated, the others colocated. */
typedef struct pool {
    plan_samples items[POOL];
    uint32_t some[2];
} pool;

/* ---- who ---- */

static bool usable(const candidate *c) {
    return c->reason == REJECT_NOT || c->reason == REJECT_SLO || c->reason == REJECT_BEATEN ||
           c->reason == REJECT_SATURATION;
}

static double goodput_of(const candidate *c) {
    return c->found && c->reason == REJECT_NOT && !isnan(plan_goodput(c).mean)
               ? plan_goodput(c).mean * c->devices
               : 0;
}

/* Ratios stand for themselves: what was simulated with all devices would take too long. */
static bool small(const plan_outcome *o, const candidate *c) {
    return !o->ratios || c->devices <= CANDIDATES_UNIT;
}

/* The best of the kind or, if none can serve, one that has as many devices as there may be. */
static uint32_t reference(const plan_outcome *o, bool colocated) {
    uint32_t at = o->ratios ? PLAN_NOBODY : o->best_of[colocated];
    double most = 0;
    for (uint32_t i = 0; o->ratios && i < o->list.count; i++) {
        const candidate *c = &o->list.items[i];
        if (c->colocated != colocated || !small(o, c) || goodput_of(c) / c->devices <= most) continue;
        most = goodput_of(c) / c->devices;
        at = i;
    }
    for (uint32_t i = o->list.count; at == PLAN_NOBODY && i > 0; i--) {
        const candidate *c = &o->list.items[i - 1];
        if (c->colocated == colocated && usable(c) && small(o, c)) at = i - 1;
    }
    return at;
}

/* How far c is from the reference: near ones first, but of chunks those that differ. */
static double distance(const candidate *c, const candidate *ref) {
    const fleet_role *a = c->placement.roles, *b = ref->placement.roles;
    if (!c->colocated)
        return fabs((double)a[ROLE_PREFILL].count - b[ROLE_PREFILL].count) +
               (a[ROLE_PREFILL].max_rows != b[ROLE_PREFILL].max_rows ? 2.5 : 0) +
               (a[ROLE_PREFILL].devices != b[ROLE_PREFILL].devices ? 4 : 0) +
               (a[ROLE_DECODE].devices != b[ROLE_DECODE].devices ? 4 : 0);
    double shape = a[ROLE_COLOCATED].devices != b[ROLE_COLOCATED].devices ? 20 : 0;
    if (c->placement.prefill_first != ref->placement.prefill_first) return shape;
    double times = fabs(log2((double)a[ROLE_COLOCATED].chunk_tokens / b[ROLE_COLOCATED].chunk_tokens));
    return shape + (times < 1.5 ? 10 + times : times);
}

static uint32_t choose(const plan_outcome *o, bool colocated, uint32_t out[SENSITIVITY_EACH]) {
    uint32_t ref = reference(o, colocated), n = 1;
    if (ref == PLAN_NOBODY) return 0;
    const candidate *to = &o->list.items[ref];
    out[0] = ref;
    for (uint32_t i = 0; i < o->list.count; i++) {
        const candidate *c = &o->list.items[i];
        if (i == ref || c->colocated != colocated || !usable(c) || !small(o, c)) continue;
        if (c->devices != to->devices && !o->ratios) continue;
        uint32_t at = n;
        while (at > 1 && distance(c, to) < distance(&o->list.items[out[at - 1]], to)) at--;
        if (at == SENSITIVITY_EACH) continue;
        n = MIN(n + 1, SENSITIVITY_EACH);
        for (uint32_t k = n - 1; k > at; k--) out[k] = out[k - 1];
        out[at] = i;
    }
    return n;
}

/* ---- at which rates ---- */

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Over all that the workers can do without limits; closer where the goodput is. */
static void set_rates(plan_samples *s, double most, double goodput, uint32_t wide) {
    s->rate_count = 0;
    for (uint32_t i = 0; i < wide; i++)
        s->rates[s->rate_count++] = most * 0.1 * pow(10.2, (double)i / (wide - 1));
    static const double near[] = {0.93, 0.98, 1.02, 1.08};
    for (size_t i = 0; goodput > 0 && i < ARRAY_LEN(near); i++) s->rates[s->rate_count++] = goodput * near[i];
    qsort(s->rates, s->rate_count, sizeof *s->rates, ascending);
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->rate_count; i++)
        if (!n || s->rates[i] > s->rates[n - 1] * 1.001) s->rates[n++] = s->rates[i];
    s->rate_count = n;
}

/* Requests of a seed, so that it settles: several times what is in flight at the goodput. */
static uint32_t requests_of(const plan_outcome *o, uint32_t devices, double least, double times) {
    double stay = 0;
    for (int k = 0; k < 2; k++) {
        const candidate *c = o->best_of[k] == PLAN_NOBODY ? NULL : &o->list.items[o->best_of[k]];
        const judge_point *p = NULL;
        for (uint32_t i = 0; c && i < c->found->count; i++)
            if (!p || c->found->points[i].rate <= c->found->result.crossing) p = &c->found->points[i];
        if (!p || isnan(p->ttft_ms[0])) continue;
        double gap_ms = isnan(p->tpot_ms[0]) ? 0 : p->tpot_ms[0];
        double each_s = (p->ttft_ms[0] + gap_ms * o->demand.output_mean) / 1e3;
        stay = fmax(stay, p->rate / c->devices * devices * each_s);
    }
    return (uint32_t)fmin(least + times * stay, REQUESTS_MOST);
}

typedef struct taking {
    const plan_input *in; /* with what is changed */
    const plan_outcome *found;
    uint32_t seeds, requests, wide, each; /* each: placements of a kind */
    bool near;                            /* rates close to the goodput, too */
    bool only[2];                         /* kinds that are wanted */
} taking;

static status take_pool(pool *p, const taking *t, errbuf *eb) {
    *p = (pool){0};
    demand d = demand_of(t->in->load, t->in->seed);
    const bounds_input free_of_limits = {.profile = t->in->profile,
                                         .demand = &d,
                                         .limits = slo_none(),
                                         .target = t->in->target,
                                         .extrapolate = true};
    uint32_t n = 0;
    for (int colocated = 0; colocated < 2; colocated++) {
        uint32_t who[SENSITIVITY_EACH], some = t->only[colocated] ? choose(t->found, colocated, who) : 0;
        some = MIN(some, t->each);
        for (uint32_t i = 0; i < some; i++) {
            candidate c = t->found->list.items[who[i]];
            double goodput = t->near ? goodput_of(&c) : 0;
            c.reason = REJECT_NOT;
            if (t->found->ratios) {
                fleet_placement scaled = candidates_scale(&c.placement, CANDIDATES_UNIT);
                goodput *= (double)fleet_placement_devices(&scaled) / c.devices;
                c.placement = scaled;
                c.devices = fleet_placement_devices(&scaled);
            }
            bounds_judge(&(candidate_list){.items = &c, .count = 1}, &free_of_limits);
            if (c.reason != REJECT_NOT || !(c.bound > 0) || isinf(c.bound)) continue;
            plan_samples *s = &p->items[n++];
            s->placement = c.placement;
            s->devices = c.devices;
            p->some[colocated]++;
            set_rates(s, c.bound * c.devices, goodput, t->wide);
        }
    }
    demand_done(&d);
    const plan_samples_how how = {.in = t->in, .seeds = t->seeds, .requests = t->requests};
    return plan_samples_take(p->items, n, &how, eb);
}

static void pool_done(pool *p) {
    for (uint32_t i = 0; i < POOL; i++) plan_samples_done(&p->items[i]);
}

/* ---- what it says ---- */

static const plan_samples *best_in(const pool *p, bool colocated, const slo *l, double target,
                                   double *value) {
    const plan_samples *best = NULL;
    uint32_t from = colocated ? p->some[0] : 0;
    *value = 0;
    for (uint32_t i = 0; i < p->some[colocated]; i++) {
        double v = plan_samples_goodput(&p->items[from + i], LIMITS(l), target);
        if (v > *value) {
            *value = v;
            best = &p->items[from + i];
        }
    }
    return best;
}

static void add_row(sensitivity *s, const char *what, double factor, const pool *p, const slo *l,
                    double target) {
    CHECK(s->row_count < SENSITIVITY_ROWS);
    sensitivity_row *r = &s->rows[s->row_count++];
    snprintf(r->what, sizeof r->what, "%s x %g", what, factor);
    for (int k = 0; k < 2; k++) (void)best_in(p, k, l, target, &r->per_device[k]);
}

static slo moved(const slo *l, bool tpot, double factor) {
    slo out = *l;
    *(tpot ? &out.tpot_ms : &out.ttft_ms) *= factor;
    return out;
}

/* > 0: disaggregated is better. */
static double lead(const pool *p, const slo *l, double target) {
    double d, w;
    (void)best_in(p, false, l, target, &d);
    (void)best_in(p, true, l, target, &w);
    return d > 0 || w > 0 ? d - w : NAN;
}

static void add_flip(sensitivity *s, const char *what, bool up, double value, const char *unit) {
    size_t at = 0;
    while (s->flips[at]) at++;
    snprintf(s->flips + at, sizeof s->flips - at, "%s%s %s %.3g %s", at ? ", " : "", what,
             up ? ">=" : "<=", value, unit);
}

/* The nearest factor of a limit at which the other kind is better; NAN: none. */
static double limit_flip(const pool *p, const slo *l, bool tpot, double target, bool up) {
    double here = lead(p, l, target), from = 1;
    for (int i = 1; i <= STEPS; i++) {
        double at = pow(FACTOR, (up ? 1.0 : -1.0) * i / STEPS);
        slo m = moved(l, tpot, at);
        double there = lead(p, &m, target);
        if (isnan(there)) return NAN;
        if (here * there >= 0) {
            from = at;
            continue;
        }
        for (int k = 0; k < 12; k++) { /* here * lead(from) >= 0 > here * lead(at) */
            double mid = sqrt(from * at);
            m = moved(l, tpot, mid);
            *(here * lead(p, &m, target) < 0 ? &at : &from) = mid;
        }
        return at;
    }
    return NAN;
}

static void limit_flips(sensitivity *s, const pool *p, const slo *l, double target) {
    for (int tpot = 1; tpot >= 0; tpot--) {
        double value = tpot ? l->tpot_ms : l->ttft_ms;
        if (isinf(value)) continue;
        double down = limit_flip(p, l, tpot, target, false), up = limit_flip(p, l, tpot, target, true);
        bool is_up = isnan(down) || up < 1 / down;
        double at = is_up ? up : down;
        if (!isnan(at)) add_flip(s, tpot ? "TPOT" : "TTFT", is_up, value * at, "ms");
    }
}

/* ---- other lengths, other links ---- */

static status other_lengths(sensitivity *s, const taking *base, errbuf *eb) {
    static const struct {
        const char *what;
        double prompt, output;
    } all[] = {{"prompts", 0.5, 1}, {"prompts", 2, 1}, {"answers", 1, 0.5}, {"answers", 1, 2}};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        workload_options o = *base->in->ask;
        o.prompt_scale = (o.prompt_scale == 0 ? 1 : o.prompt_scale) * all[i].prompt;
        o.output_scale = (o.output_scale == 0 ? 1 : o.output_scale) * all[i].output;
        workload *w = NULL;
        status st = workload_new(&w, &o, eb);
        if (st != ST_OK) return st;
        plan_input in = *base->in;
        in.load = w;
        taking t = *base;
        t.in = &in;
        pool *p = xcalloc(1, sizeof *p);
        st = take_pool(p, &t, eb);
        if (st == ST_OK) add_row(s, all[i].what, all[i].prompt * all[i].output, p, &in.limits, in.target);
        pool_done(p);
        free(p);
        workload_free(w);
        if (st != ST_OK) return st;
    }
    return ST_OK;
}

/* The best that disaggregated placements have with a link so much faster. */
static status with_link(double *value, const taking *base, double factor, errbuf *eb) {
    profile other = *base->in->profile;
    other.link.bytes_per_s *= factor;
    other.link.fabric_bytes_per_s *= factor;
    plan_input in = *base->in;
    in.profile = &other;
    taking t = *base;
    t.in = &in;
    t.only[1] = false;
    pool *p = xcalloc(1, sizeof *p);
    status st = take_pool(p, &t, eb);
    if (st == ST_OK) (void)best_in(p, false, &in.limits, in.target, value);
    pool_done(p);
    free(p);
    return st;
}

static status other_links(sensitivity *s, const taking *base, const pool *here, errbuf *eb) {
    const plan_input *in = base->in;
    double d, w, from = 1, to = NAN;
    (void)best_in(here, false, &in->limits, in->target, &d);
    (void)best_in(here, true, &in->limits, in->target, &w);
    static const double slower[] = {0.3, 0.1, 0.03, 0.01}, faster[] = {3, 10, 100, 1000};
    const double *factors = d > w ? slower : faster;
    for (size_t i = 0; i < ARRAY_LEN(slower) && isnan(to); i++) {
        double value;
        status st = with_link(&value, base, factors[i], eb);
        if (st != ST_OK) return st;
        sensitivity_row *r = &s->rows[s->row_count++];
        *r = (sensitivity_row){.per_device = {value, w}};
        snprintf(r->what, sizeof r->what, "link x %g", factors[i]);
        if ((value > w) != (d > w)) to = factors[i];
        if (isnan(to)) from = factors[i];
        if (d <= w && i > 0 && isnan(to) && value < w * 0.8) break; /* it is not the link */
    }
    for (int k = 0; k < 4 && !isnan(to); k++) {
        double mid = sqrt(from * to), value;
        status st = with_link(&value, base, mid, eb);
        if (st != ST_OK) return st;
        *((value > w) != (d > w) ? &to : &from) = mid;
    }
    if (!isnan(to)) add_flip(s, "link", to > 1, in->profile->link.bytes_per_s * to / 1e9, "GB/s");
    return ST_OK;
}

/* ---- the map ---- */

typedef struct mapping {
    sensitivity *s;
    const pool *p;
    const plan_input *in;
} mapping;

static status map_row(void *ctx, uint32_t y, errbuf *eb) {
    const mapping *m = ctx;
    sensitivity_map *map = &m->s->map;
    (void)eb;
    for (uint32_t x = 0; x < SENSITIVITY_SIDE; x++) {
        slo l = m->in->limits;
        l.ttft_ms = sqrt(map->ttft_ms[x] * map->ttft_ms[x + 1]);
        l.tpot_ms = sqrt(map->tpot_ms[y] * map->tpot_ms[y + 1]);
        const plan_samples *d = best_in(m->p, false, &l, m->in->target, &map->per_device[y][x][0]);
        const plan_samples *w = best_in(m->p, true, &l, m->in->target, &map->per_device[y][x][1]);
        if (!d || !w) continue;
        ratio r = plan_samples_ratio(d, w, LIMITS(&l), m->in->target, RESAMPLES);
        map->open[y][x] = !(r.low > 1 || r.high < 1);
    }
    return ST_OK;
}

/* A limit that is none is mapped around what requests have at the middle rate. */
static double centre(const pool *p, double limit, bool tpot) {
    if (isfinite(limit)) return limit;
    const plan_samples *s = &p->items[0];
    const plan_sample_cell *c = &s->cells[s->rate_count / 2][0];
    double sum = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        double v = tpot ? c->pairs[i].tpot_ms : c->pairs[i].ttft_ms;
        if (!isfinite(v) || v <= 0) continue;
        sum += v;
        n++;
    }
    return n ? 2 * sum / n : 100;
}

static status make_map(sensitivity *s, const pool *p, const plan_input *in, errbuf *eb) {
    double ttft = centre(p, in->limits.ttft_ms, false), tpot = centre(p, in->limits.tpot_ms, true);
    for (uint32_t i = 0; i <= SENSITIVITY_SIDE; i++) {
        double at = 2.0 * i / SENSITIVITY_SIDE - 1;
        s->map.ttft_ms[i] = ttft * pow(8, at);
        s->map.tpot_ms[i] = tpot * pow(4, at);
    }
    mapping m = {.s = s, .p = p, .in = in};
    return judge_pool(in->threads, SENSITIVITY_SIDE, map_row, &m, eb);
}

/* ---- the two best, with common random numbers ---- */

static uint32_t found_devices(const plan_outcome *o) {
    uint32_t most = 1;
    for (int k = 0; k < 2; k++)
        if (o->best_of[k] != PLAN_NOBODY) most = MAX(most, o->list.items[o->best_of[k]].devices);
    return most;
}

static status contest(sensitivity *s, const plan_input *in, const plan_outcome *o, errbuf *eb) {
    if (o->best_of[0] == PLAN_NOBODY || o->best_of[1] == PLAN_NOBODY) return ST_OK;
    plan_samples *two = xcalloc(2, sizeof *two);
    uint32_t other = o->best == o->best_of[0] ? o->best_of[1] : o->best_of[0];
    const uint32_t who[2] = {o->best, other};
    static const double near[] = {0.85, 0.92, 0.96, 1, 1.04, 1.09, 1.18};
    for (int i = 0; i < 2; i++) {
        const candidate *c = &o->list.items[who[i]];
        two[i].placement = c->placement;
        two[i].devices = c->devices;
        two[i].rate_count = ARRAY_LEN(near);
        for (size_t k = 0; k < ARRAY_LEN(near); k++) two[i].rates[k] = goodput_of(c) * near[k];
    }
    const plan_samples_how how = {.in = in,
                                  .seeds = in->quick ? 5 : PLAN_SAMPLES_SEEDS,
                                  .requests = requests_of(o, found_devices(o), 3000, in->quick ? 4 : 8)};
    status st = plan_samples_take(two, 2, &how, eb);
    if (st == ST_OK)
        s->paired =
            plan_samples_ratio(&two[0], &two[1], LIMITS(&in->limits), in->target, BOOTSTRAP_RESAMPLES);
    for (int i = 0; i < 2; i++) plan_samples_done(&two[i]);
    free(two);
    return st;
}

/* ---- all ---- */

static void limit_rows(sensitivity *s, const pool *p, const plan_input *in) {
    static const double factors[] = {0.5, 0.8, 1, 1.25, 2};
    for (int tpot = 0; tpot < 2; tpot++) {
        if (isinf(tpot ? in->limits.tpot_ms : in->limits.ttft_ms)) continue;
        for (size_t i = 0; i < ARRAY_LEN(factors); i++) {
            slo m = moved(&in->limits, tpot, factors[i]);
            add_row(s, tpot ? "TPOT" : "TTFT", factors[i], p, &m, in->target);
        }
    }
}

static void rate_rows(sensitivity *s, const pool *p, const plan_input *in) {
    static const double parts[] = {0.5, 0.8, 1, 1.2};
    double value[2];
    const plan_samples *best[2];
    for (int k = 0; k < 2; k++) best[k] = best_in(p, k, &in->limits, in->target, &value[k]);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        sensitivity_rate *r = &s->rates[i];
        r->per_device = parts[i] * fmax(value[0], value[1]);
        for (int k = 0; k < 2; k++)
            r->attainment[k] =
                best[k] ? plan_samples_attainment(best[k], LIMITS(&in->limits), r->per_device) : NAN;
    }
}

status sensitivity_of(sensitivity **out, const plan_input *in, const plan_outcome *found, errbuf *eb) {
    PRE(out);
    PRE(in);
    PRE(found);
    sensitivity *s = xcalloc(1, sizeof *s);
    s->paired = (ratio){.mean = NAN, .low = NAN, .high = NAN};
    pool *p = xcalloc(1, sizeof *p);
    taking t = {.in = in,
                .found = found,
                .seeds = in->quick ? 2 : 3,
                .requests =
                    requests_of(found, found->ratios ? CANDIDATES_UNIT : found_devices(found), 1500, 8),
                .wide = 8,
                .each = SENSITIVITY_EACH,
                .near = true,
                .only = {true, true}};
    if (in->progress) in->progress("sensitivity");
    status st = contest(s, in, found, eb);
    if (st == ST_OK) st = take_pool(p, &t, eb);
    s->there = st == ST_OK && p->some[0] > 0 && p->some[1] > 0;
    if (s->there) {
        limit_rows(s, p, in);
        rate_rows(s, p, in);
        bool agrees = found->best != PLAN_NOBODY &&
                      (lead(p, &in->limits, in->target) > 0) == !found->list.items[found->best].colocated;
        if (agrees) limit_flips(s, p, &in->limits, in->target);
        st = make_map(s, p, in, eb);
        t.seeds = 2;
        t.near = false;
        t.wide = 7;
        t.each = 2;
        if (st == ST_OK) st = other_lengths(s, &t, eb);
        if (st == ST_OK && agrees) st = other_links(s, &t, p, eb);
    }
    pool_done(p);
    free(p);
    if (st == ST_OK)
        *out = s;
    else
        free(s);
    return st;
}
