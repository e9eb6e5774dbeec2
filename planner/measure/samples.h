/* samples - steps as they were measured, and the points that are made of those that did the same. Pure. */
#ifndef BATON_PLANNER_SAMPLES_H
#define BATON_PLANNER_SAMPLES_H

#include "planner/measure/seen.h"
#include "planner/profile/profile_points.h"

typedef struct sample {
    worker_role role;
    latency_step sum;
    double ns;
    double by_prefill, by_decode; /* of seen_step */
    double gap_ns; /* from the end of the step before, when this one was waited for; NAN: else */
} sample;

typedef struct samples {
    sample *items; /* [count]; owned */
    uint32_t count, room;
} samples;

/* All steps but empty ones. */
void samples_add(samples *s, const seen *from);
void samples_done(samples *s);
/* Nobody else computed meanwhile. */
bool sample_alone(const sample *s);
/* Median gap of a role's steps, ns; NAN: none was seen. */
double samples_gap_ns(const samples *s, worker_role role);

/* Steps of one role, alone on the machine, of the same prompts' tokens and squares and of the same batch;
 * contexts of a point differ by a fifth at most. */
typedef struct point {
    worker_role role;
    point_phase phase;
    double x, y;           /* prefill: tokens, squares; decode: batch, context (mean) */
    double batch, context; /* mixed: those of its decodes; else 0 */
    double ns;             /* median; of one or two, the shorter */
    double cv;             /* standard deviation / mean, outliers (beyond twice the median) left out */
    double min_ns;
    uint32_t n; /* steps */
} point;

typedef struct points {
    point *items; /* [count] by role, phase, x, y, batch, context; owned */
    uint32_t count;
} points;

void points_make(points *out, const samples *s);
void points_done(points *p);
const char *point_phase_name(point_phase phase);

#endif
