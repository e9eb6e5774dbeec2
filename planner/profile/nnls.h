/* nnls - least squares without negative coefficients, of a few unknowns, from the normal equations.
 *
 * Lawson and Hanson, Solving Least Squares Problems (1974), chapter 23: unknowns are let in one after the
 * other, the steepest first, and leave when the step to the new minimum would make them negative. A column
 * that the ones within explain already (their pivot is lost in rounding) stays out with 0. Pure. */
#ifndef BATON_PLANNER_NNLS_H
#define BATON_PLANNER_NNLS_H

#include <stdint.h>

#define NNLS_MAX 16u

typedef struct nnls {
    uint32_t n;                   /* unknowns, at most NNLS_MAX */
    double a[NNLS_MAX][NNLS_MAX]; /* symmetric: sums of products of columns */
    double b[NNLS_MAX];           /* of columns and the right side */
} nnls;

/* Adds one row of the problem, `times` times; -1 takes it out again. */
void nnls_add(nnls *p, const double *row, double right, double times);
/* x[0..n-1] >= 0, the minimum of |A x - b|. */
void nnls_solve(const nnls *p, double *x);

#endif
