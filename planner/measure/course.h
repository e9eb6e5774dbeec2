/* course - the requests that a rig is asked, so that its workers' steps take every shape that the planner
 * asks for: lone prompts of many lengths, prompts that share a step, batches that grow while they decode. */
#ifndef BATON_PLANNER_COURSE_H
#define BATON_PLANNER_COURSE_H

#include "planner/measure/overheads.h"
#include "planner/measure/progress.h"
#include "planner/measure/rig.h"
#include "planner/measure/samples.h"

typedef struct course {
    rig *rig;             /* borrowed, as is all below */
    samples *steps;       /* what was measured is added */
    overheads *overheads; /* NULL: not wanted */
    progress *progress;
    double seconds;   /* how long it may take, about */
    uint32_t repeats; /* steps of a batch that are waited for */
} course;

typedef enum course_kind {
    COURSE_DISAGGREGATED, /* all of it, at one P and one D */
    COURSE_COLOCATED,     /* all of it, at one W */
    COURSE_CROWD          /* both W of two are kept busy */
} course_kind;

/* What rig_start says of a cluster that fails meanwhile; ST_TIMEOUT. */
status course_run(const course *c, course_kind kind, errbuf *eb);

#endif
