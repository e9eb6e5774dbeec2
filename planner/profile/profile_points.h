/* profile_points - measured steps of several engines, from which the engines of a profile are fitted. Pure.
 */
#ifndef BATON_PLANNER_PROFILE_POINTS_H
#define BATON_PLANNER_PROFILE_POINTS_H

#include "planner/profile/fit.h"

typedef enum point_phase { POINT_PREFILL, POINT_DECODE, POINT_MIXED } point_phase;

/* MIXED: prefill_* and decode_*; else the pair of the phase. */
typedef struct profile_point {
    uint32_t tp, pp;
    point_phase phase;
    fit_mixed_point at;
} profile_point;

typedef struct profile_points {
    profile_point *points; /* [count], owned */
    uint32_t count, capacity;
} profile_points;

/* Start it zeroed; end it with profile_points_done. ST_INVALID: more than FIT_POINTS_MAX. */
status profile_points_add(profile_points *p, profile_point point, errbuf *eb);
/* Engines into out->engines, ascending by tp, then pp, each in the roles that its points are enough for.
 * Without mixed points the smaller intercept is paid once (shared = 1: the weights are read once for both),
 * and mixed_error stays unknown. ST_INVALID names the engine. PRE: out has no engines */
status profile_points_fit(profile_points *p, profile *out, errbuf *eb);
void profile_points_done(profile_points *p);

#endif
