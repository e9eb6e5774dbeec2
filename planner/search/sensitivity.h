/* sensitivity - what the answer hangs on: the best colocated and the best disaggregated placement of a few of
 * each kind, with other limits, lengths, and links, and where the two change places.
 *
 * Other limits are scored on the same simulations; other lengths and links are simulated anew, with the same
 * seeds. The few are the best of each kind and those that are most like it on as many devices; goodput here
 * has the accuracy of a figure, not that of the table. */
#ifndef BATON_PLANNER_SENSITIVITY_H
#define BATON_PLANNER_SENSITIVITY_H

#include "planner/search/plan_samples.h"

#define SENSITIVITY_EACH 4u /* placements of either kind */
#define SENSITIVITY_ROWS 24u
#define SENSITIVITY_SIDE 24u /* of the map */

typedef struct sensitivity_row {
    char what[40];        /* "TTFT x 0.5" */
    double per_device[2]; /* [0] disaggregated, [1] colocated; 0: cannot serve */
} sensitivity_row;

typedef struct sensitivity_rate {
    double per_device, attainment[2]; /* NAN: not known */
} sensitivity_rate;

typedef struct sensitivity_map {
    double ttft_ms[SENSITIVITY_SIDE + 1], tpot_ms[SENSITIVITY_SIDE + 1]; /* edges */
    double per_device[SENSITIVITY_SIDE][SENSITIVITY_SIDE][2];            /* [tpot][ttft][kind] */
    bool open[SENSITIVITY_SIDE][SENSITIVITY_SIDE]; /* the interval of the ratio contains 1 */
} sensitivity_map;

typedef struct sensitivity {
    bool there;   /* false: one of the kinds has no placement that can be simulated */
    ratio paired; /* of plan_outcome.best to the best of the other kind; mean NAN: there are not two */
    sensitivity_row rows[SENSITIVITY_ROWS];
    uint32_t row_count;
    sensitivity_rate rates[4]; /* at .5, .8, 1 and 1.2 of the winner's goodput */
    char flips[160];           /* "TPOT <= 31 ms", "TTFT >= 400 ms, link <= 1.2 GB/s"; "" none found */
    sensitivity_map map;
} sensitivity;

/* Caller frees with free. */
status sensitivity_of(sensitivity **out, const plan_input *in, const plan_outcome *found, errbuf *eb);

#endif
