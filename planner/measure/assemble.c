#include "planner/measure/assemble.h"

#include "base/mem.h"
#include "bench/stats/stats.h"

#include <math.h>
#include <stdlib.h>

#define BESIDE_LEAST 0.8 /* share of a step with another one beside it, for it to tell about slowing */
#define OTHER_MOST   0.1 /* and of anything else */
#define FEW          5u  /* steps are too few for that */
#define FIT_LEAST    3u  /* points */

static bool is_curve(const points *pts, worker_role role, point_phase phase) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < pts->count; i++) n += pts->items[i].role == role && pts->items[i].phase == phase;
    return n >= FIT_LEAST;
}

static status fit_phase(step_cost *out, profile_error *loo, const points *pts, worker_role role,
                        point_phase phase, errbuf *eb) {
    *loo = (profile_error){.mean = NAN, .p90 = NAN, .max = NAN};
    if (!is_curve(pts, role, phase)) return ST_OK;
    fit_point *list = xcalloc(pts->count, sizeof *list);
    uint32_t n = 0;
    for (uint32_t i = 0; i < pts->count; i++) {
        const point *p = &pts->items[i];
        if (p->role == role && p->phase == phase) list[n++] = (fit_point){.x = p->x, .y = p->y, .ns = p->ns};
    }
    status st = fit_cost(out, loo, list, n, eb);
    free(list);
    if (st != ST_OK)
        return err_prefix(eb, st, "%s steps of %s workers", point_phase_name(phase), worker_role_name(role));
    return ST_OK;
}

static status fit_shared(profile_engine *e, const points *pts, worker_role role, errbuf *eb) {
    e->shared = 1;
    e->mixed_error = (profile_error){.mean = NAN, .p90 = NAN, .max = NAN};
    if (!e->prefill.count || !e->decode.count || !is_curve(pts, role, POINT_MIXED)) return ST_OK;
    fit_mixed_point *list = xcalloc(pts->count, sizeof *list);
    uint32_t n = 0;
    for (uint32_t i = 0; i < pts->count; i++) {
        const point *p = &pts->items[i];
        if (p->role == role && p->phase == POINT_MIXED)
            list[n++] = (fit_mixed_point){p->x, p->y, p->batch, p->context, p->ns};
    }
    status st = fit_mixed(&e->shared, &e->mixed_error, &e->prefill, &e->decode, list, n, eb);
    free(list);
    return st == ST_OK ? ST_OK : err_prefix(eb, st, "mixed steps of %s workers", worker_role_name(role));
}

/* Pooled over the points: each counts with its steps. */
static double cv_of(const points *pts, worker_role role, point_phase phase) {
    double sum = 0, weight = 0;
    for (uint32_t i = 0; i < pts->count; i++) {
        const point *p = &pts->items[i];
        if (p->role != role || p->phase != phase || p->n < 2) continue;
        sum += p->cv * p->cv * (p->n - 1);
        weight += p->n - 1;
    }
    return weight > 0 ? sqrt(sum / weight) : 0;
}

/* How much longer than alone steps of that role take for each worker that computes prompts (or decodes) the
 * whole time: the median, never below 0. False: too few were seen, and it is 0. */
static bool slowdown(double *out, const samples *s, worker_role role, bool prompts, const step_cost *alone,
                     bool by_prefill) {
    *out = 0;
    if (!s || !alone->count) return false;
    double *ratio = xcalloc(MAX(s->count, 1u), sizeof *ratio);
    size_t n = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        const sample *t = &s->items[i];
        double beside = by_prefill ? t->by_prefill : t->by_decode;
        double other = by_prefill ? t->by_decode : t->by_prefill;
        bool pure = prompts ? t->sum.chunks && !t->sum.batch : t->sum.batch && !t->sum.chunks;
        if (t->role != role || !pure || beside < BESIDE_LEAST || other > OTHER_MOST) continue;
        double x = prompts ? (double)t->sum.tokens : t->sum.batch;
        double want = step_cost_ns(alone, x, (double)(prompts ? t->sum.squares : t->sum.context));
        if (want > 0) ratio[n++] = (t->ns / want - 1) / beside;
    }
    stats_sort(ratio, n);
    if (n >= FEW) *out = MAX(stats_percentile(ratio, n, 50), 0.0);
    free(ratio);
    return n >= FEW;
}

static status make_engine(profile_engine *e, assemble_slowed *slowed, const points *pts,
                          const assemble_input *in, worker_role role, errbuf *eb) {
    const assemble_role *r = &in->roles[role];
    *e = (profile_engine){
        .tp = r->tp, .pp = r->pp, .devices = r->devices, .kv_pages = r->kv_pages, .max_seqs = r->max_seqs};
    e->roles[role] = true;
    status st = fit_phase(&e->prefill, &e->prefill_error, pts, role, POINT_PREFILL, eb);
    if (st == ST_OK) st = fit_phase(&e->decode, &e->decode_error, pts, role, POINT_DECODE, eb);
    if (st == ST_OK) st = fit_shared(e, pts, role, eb);
    if (st != ST_OK) return st;
    double gap_ns = samples_gap_ns(in->steps, role);
    const samples *beside = role == ROLE_COLOCATED ? in->crowd : in->steps;
    e->gap_ns = gap_ns > 0 ? gap_ns : 0;
    e->prefill_cv = cv_of(pts, role, POINT_PREFILL);
    e->decode_cv = cv_of(pts, role, POINT_DECODE);
    *slowed = (assemble_slowed){
        slowdown(&e->slowed_by_prefill, beside, role, true, &e->prefill, true),
        slowdown(&e->slowed_by_decode, beside, role, true, &e->prefill, false),
        slowdown(&e->decode_slowed_by_prefill, beside, role, false, &e->decode, true),
        slowdown(&e->decode_slowed_by_decode, beside, role, false, &e->decode, false),
    };
    return ST_OK;
}

static bool is_alike(const profile_engine *a, const profile_engine *b) {
    return a->tp == b->tp && a->pp == b->pp && a->devices == b->devices;
}

static profile_engine *engine_of(const profile *p, worker_role role) {
    for (uint32_t i = 0; i < p->engine_count; i++)
        if (p->engines[i].roles[role]) return &p->engines[i];
    return NULL;
}

/* Only one prefill and one decode worker were measured at a time; two of a kind are as two colocated ones. */
static void take_crowd(const profile *p, assemble_slowed *slowed) {
    const profile_engine *c = engine_of(p, ROLE_COLOCATED);
    profile_engine *pre = engine_of(p, ROLE_PREFILL), *dec = engine_of(p, ROLE_DECODE);
    const assemble_slowed *of = &slowed[ROLE_COLOCATED];
    if (c && pre && is_alike(c, pre) && of->prefill_by_prefill && !slowed[ROLE_PREFILL].prefill_by_prefill) {
        pre->slowed_by_prefill = c->slowed_by_prefill;
        slowed[ROLE_PREFILL].prefill_by_prefill = true;
    }
    if (c && dec && is_alike(c, dec) && of->decode_by_decode && !slowed[ROLE_DECODE].decode_by_decode) {
        dec->decode_slowed_by_decode = c->decode_slowed_by_decode;
        slowed[ROLE_DECODE].decode_by_decode = true;
    }
}

/* What the pair's own test says of the bytes; the rest of what hand-offs took is latency. */
static profile_link link_of(const assemble_input *in) {
    double exposed = in->kv_token_bytes / MAX(in->layers, 1u); /* of a token: the last piece's bytes */
    double transfer_ns = overheads_transfer_ns(in->overheads, exposed / in->pair_bytes_per_s * 1e9);
    profile_link k = {.known = !isnan(transfer_ns) && in->pair_bytes_per_s > 0 && in->kv_token_bytes > 0};
    if (!k.known) return k;
    k.bytes_per_s = in->pair_bytes_per_s;
    k.latency_ns = MAX(transfer_ns, 0.0);
    k.kv_token_bytes = in->kv_token_bytes;
    k.layers = in->layers;
    return k;
}

status assemble(profile *out, points *pts, assemble_slowed *slowed, const assemble_input *in, errbuf *eb) {
    PRE(out);
    PRE(!out->engines);
    PRE(pts);
    PRE(slowed);
    PRE(in);
    for (worker_role role = 0; role < ROLE_COUNT; role++) slowed[role] = (assemble_slowed){0};
    points_make(pts, in->steps);
    out->engines = xcalloc(ROLE_COUNT, sizeof *out->engines);
    status st = ST_OK;
    for (worker_role role = 0; role < ROLE_COUNT && st == ST_OK; role++)
        if (in->roles[role].kv_pages)
            st = make_engine(&out->engines[out->engine_count++], &slowed[role], pts, in, role, eb);
    if (st != ST_OK) return st;
    take_crowd(out, slowed);
    out->link = link_of(in);
    out->overheads = overheads_of(in->overheads);
    return ST_OK;
}
