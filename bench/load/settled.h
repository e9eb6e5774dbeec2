/* settled - whether the load had reached its steady state, from the rows of a run. Pure. */
#ifndef BATON_LOAD_SETTLED_H
#define BATON_LOAD_SETTLED_H

#include "bench/rows/run_file.h"
#include "bench/workload/schedule.h"

/* All rows, in any order. */
run_steady settled_of(const row_list *rows, const schedule *plan);

#endif
