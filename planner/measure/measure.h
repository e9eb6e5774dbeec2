/* measure - a profile of the engine of a cluster's config, measured on this machine: starts the clusters that
 * it takes, one after the other, and ends them. */
#ifndef BATON_PLANNER_MEASURE_H
#define BATON_PLANNER_MEASURE_H

#include "bench/experiment/tools.h"
#include "planner/measure/assemble.h"

typedef struct measure_options {
    const char *config;
    const spec_texts *sets; /* "section.key=value"; borrowed */
    const tools *tools;
    const char *dir; /* absolute, there already: configs and logs of the clusters */
    double seconds;  /* of measuring, about: what it costs beside starts */
    uint32_t repeats;
    bool quiet;
} measure_options;

/* slowed: [ROLE_COUNT]. Errors of rig_start, course_run and assemble. Caller frees *out with profile_free,
 * *pts with points_done.
 */
status measure(profile **out, points *pts, assemble_slowed *slowed, const measure_options *opt, errbuf *eb);

#endif
