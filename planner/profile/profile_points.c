#include "planner/profile/profile_points.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

status profile_points_add(profile_points *p, profile_point point, errbuf *eb) {
    PRE(p);
    if (p->count == FIT_POINTS_MAX)
        return errf(eb, ST_INVALID, "more than %u points: leave some out", FIT_POINTS_MAX);
    if (p->count == p->capacity) {
        p->capacity = MAX(2 * p->capacity, 256u);
        p->points = xrealloc(p->points, p->capacity, sizeof *p->points);
    }
    p->points[p->count++] = point;
    return ST_OK;
}

void profile_points_done(profile_points *p) {
    if (!p) return;
    free(p->points);
    *p = (profile_points){0};
}

static int by_engine(const void *a, const void *b) {
    const profile_point *p = a, *q = b;
    if (p->tp != q->tp) return p->tp < q->tp ? -1 : 1;
    if (p->pp != q->pp) return p->pp < q->pp ? -1 : 1;
    return (int)p->phase - (int)q->phase;
}

static uint32_t same_phase(const profile_point *p, uint32_t count) {
    uint32_t n = 1;
    while (n < count && by_engine(&p[0], &p[n]) == 0) n++;
    return n;
}

static const profile_error unknown_error = {.mean = NAN, .p90 = NAN, .max = NAN};

static status fit_phase(profile_engine *e, const profile_point *p, uint32_t n, errbuf *eb) {
    bool prefill = p->phase == POINT_PREFILL;
    fit_point *points = xcalloc(n, sizeof *points);
    for (uint32_t i = 0; i < n; i++)
        points[i] = prefill ? (fit_point){p[i].at.prefill_x, p[i].at.prefill_y, p[i].at.ns}
                            : (fit_point){p[i].at.decode_x, p[i].at.decode_y, p[i].at.ns};
    status st = fit_cost(prefill ? &e->prefill : &e->decode, prefill ? &e->prefill_error : &e->decode_error,
                         points, n, eb);
    if (st == ST_OK) *(prefill ? &e->prefill_cv : &e->decode_cv) = fit_cv(points, n);
    free(points);
    return st == ST_OK ? ST_OK : err_prefix(eb, st, prefill ? "prefill" : "decode");
}

static status fit_both(profile_engine *e, const profile_point *p, uint32_t n, errbuf *eb) {
    if (!e->prefill.count || !e->decode.count)
        return errf(eb, ST_INVALID, "mixed points, but none of prefill or decode alone: add those");
    fit_mixed_point *points = xcalloc(n, sizeof *points);
    for (uint32_t i = 0; i < n; i++) points[i] = p[i].at;
    status st = fit_mixed(&e->shared, &e->mixed_error, &e->prefill, &e->decode, points, n, eb);
    free(points);
    return st == ST_OK ? ST_OK : err_prefix(eb, st, "mixed");
}

/* The points of one engine, whose phases stand in order; *used of them. */
static status fit_engine(profile_engine *e, const profile_point *p, uint32_t count, uint32_t *used,
                         errbuf *eb) {
    *e = (profile_engine){.tp = p->tp,
                          .pp = p->pp,
                          .devices = p->tp * p->pp,
                          .shared = 1,
                          .prefill_error = unknown_error,
                          .decode_error = unknown_error,
                          .mixed_error = unknown_error};
    status st = ST_OK;
    uint32_t at = 0;
    while (st == ST_OK && at < count && p[at].tp == e->tp && p[at].pp == e->pp) {
        uint32_t n = same_phase(&p[at], count - at);
        st = p[at].phase == POINT_MIXED ? fit_both(e, &p[at], n, eb) : fit_phase(e, &p[at], n, eb);
        at += n;
    }
    e->roles[ROLE_PREFILL] = e->prefill.count;
    e->roles[ROLE_DECODE] = e->decode.count;
    e->roles[ROLE_COLOCATED] = e->prefill.count && e->decode.count;
    *used = at;
    return st == ST_OK ? ST_OK : err_prefix(eb, st, "tp %u, pp %u", e->tp, e->pp);
}

status profile_points_fit(profile_points *p, profile *out, errbuf *eb) {
    PRE(p);
    PRE(out);
    PRE(!out->engine_count);
    if (!p->count) return errf(eb, ST_INVALID, "no points");
    qsort(p->points, p->count, sizeof *p->points, by_engine);
    out->engines = xcalloc(PROFILE_ENGINES_MAX, sizeof *out->engines);
    for (uint32_t at = 0, used; at < p->count; at += used) {
        if (out->engine_count == PROFILE_ENGINES_MAX)
            return errf(eb, ST_INVALID, "more than %u engines", PROFILE_ENGINES_MAX);
        profile_engine *e = &out->engines[out->engine_count++];
        status st = fit_engine(e, &p->points[at], p->count - at, &used, eb);
        if (st != ST_OK) return st;
    }
    return ST_OK;
}
