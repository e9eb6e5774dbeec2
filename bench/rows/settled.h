/* settled - whether the load had reached its steady state, from the rows of a run. Pure. */
#ifndef BATON_ROWS_SETTLED_H
#define BATON_ROWS_SETTLED_H

#include "bench/rows/run_file.h"

/* All rows, in any order; the windows are [begin_s, end_s) together, seconds since the run's start. With
 * fewer than STEADY_MSER_LEAST requests MSER-5 says nothing: then the rule of max(30 s, 5 x P99 of E2E)
 * stands alone. */
run_steady settled_of(const row_list *rows, double begin_s, double end_s);

#endif
