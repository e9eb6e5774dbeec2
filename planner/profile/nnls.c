#include "planner/profile/nnls.h"

#include "base/status.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define PIVOT_LOST 1e-11 /* of a column of length 1 */
#define ROUNDS     64u

void nnls_add(nnls *p, const double *row, double right, double times) {
    PRE(p);
    for (uint32_t i = 0; i < p->n; i++) {
        for (uint32_t j = 0; j < p->n; j++) p->a[i][j] += times * row[i] * row[j];
        p->b[i] += times * row[i] * right;
    }
}

/* Which unknowns are in, in what order; the problem with columns of length 1. */
typedef struct solver {
    nnls p;
    uint32_t in[NNLS_MAX], count;
    bool is_in[NNLS_MAX], barred[NNLS_MAX]; /* barred: explained by the others */
    double x[NNLS_MAX];
} solver;

/* The minimum over the unknowns that are in, by Cholesky; false: the newest one is explained by the others.
 */
static bool solve_inside(const solver *s, double *z) {
    double l[NNLS_MAX][NNLS_MAX];
    uint32_t n = s->count;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j <= i; j++) {
            double sum = s->p.a[s->in[i]][s->in[j]];
            for (uint32_t k = 0; k < j; k++) sum -= l[i][k] * l[j][k];
            if (i == j && sum < PIVOT_LOST) return false;
            l[i][j] = i == j ? sqrt(sum) : sum / l[j][j];
        }
    for (uint32_t i = 0; i < n; i++) {
        double sum = s->p.b[s->in[i]];
        for (uint32_t k = 0; k < i; k++) sum -= l[i][k] * z[k];
        z[i] = sum / l[i][i];
    }
    for (uint32_t i = n; i-- > 0;) {
        for (uint32_t k = i + 1; k < n; k++) z[i] -= l[k][i] * z[k];
        z[i] /= l[i][i];
    }
    return true;
}

/* The unknown that is out and would lower the sum fastest; n: none. */
static uint32_t steepest(const solver *s) {
    double best = 1e-12 * fabs(s->p.b[0]) + 1e-300;
    uint32_t at = s->p.n;
    for (uint32_t i = 0; i < s->p.n; i++) {
        if (s->is_in[i] || s->barred[i]) continue;
        double slope = s->p.b[i];
        for (uint32_t j = 0; j < s->p.n; j++) slope -= s->p.a[i][j] * s->x[j];
        if (slope <= best) continue;
        best = slope;
        at = i;
    }
    return at;
}

static void leave(solver *s, uint32_t k) {
    uint32_t i = s->in[k];
    s->is_in[i] = false;
    s->x[i] = 0;
    memmove(&s->in[k], &s->in[k + 1], (s->count - k - 1) * sizeof s->in[0]);
    s->count--;
}

/* From x towards z until one that is in becomes 0, which leaves; false: z was reached. */
static bool step_towards(solver *s, const double *z) {
    double part = 1;
    for (uint32_t k = 0; k < s->count; k++) {
        double x = s->x[s->in[k]];
        if (z[k] <= 0) part = fmin(part, x - z[k] > 0 ? x / (x - z[k]) : 0);
    }
    bool short_of = part < 1;
    for (uint32_t k = 0; k < s->count; k++) s->x[s->in[k]] += part * (z[k] - s->x[s->in[k]]);
    if (!short_of) return false;
    for (uint32_t k = s->count; k-- > 0;)
        if (z[k] <= 0 && s->x[s->in[k]] <= 1e-14 * fabs(z[k]) + 1e-300) leave(s, k);
    return true;
}

static void let_in(solver *s, uint32_t i) {
    double z[NNLS_MAX];
    s->in[s->count++] = i;
    s->is_in[i] = true;
    for (uint32_t round = 0; round < ROUNDS && s->count; round++) {
        if (!solve_inside(s, z)) {
            leave(s, s->count - 1);
            s->barred[i] = true;
            return;
        }
        if (!step_towards(s, z)) return;
    }
}

void nnls_solve(const nnls *p, double *x) {
    PRE(p);
    PRE(p->n <= NNLS_MAX);
    PRE(x);
    solver s = {.p = *p};
    double scale[NNLS_MAX];
    for (uint32_t i = 0; i < p->n; i++) {
        scale[i] = p->a[i][i] > 0 ? 1 / sqrt(p->a[i][i]) : 0;
        s.barred[i] = !(scale[i] > 0);
    }
    for (uint32_t i = 0; i < p->n; i++) {
        for (uint32_t j = 0; j < p->n; j++) s.p.a[i][j] *= scale[i] * scale[j];
        s.p.b[i] *= scale[i];
    }
    uint32_t next;
    for (uint32_t round = 0; round < ROUNDS && (next = steepest(&s)) < p->n; round++) let_in(&s, next);
    for (uint32_t i = 0; i < p->n; i++) x[i] = s.x[i] * scale[i];
}
