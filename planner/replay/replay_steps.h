/* replay_steps - whether the machine still is as fast as its profile says: the steps of a measured cell, from
 * its trace, beside what the profile says of the same steps.
 *
 * What a prediction is off by has two parts: steps that took another time than in the profile, and all else
 * (queues, batches, the order of things). This is the first part, so that the second can be seen. */
#ifndef BATON_PLANNER_REPLAY_STEPS_H
#define BATON_PLANNER_REPLAY_STEPS_H

#include "planner/profile/profile.h"

/* Time that all steps of one phase took, over the profile's time for them; mixed steps are left out. NAN:
 * none. 1: as in the profile; slowdown by others on the host is not in the profile's time. */
typedef struct replay_steps {
    double prefill, decode;
} replay_steps;

/* Of FOLDER/trace.json. Both NAN when there is none, or one whose steps do not tell what they computed. */
replay_steps replay_steps_of(const char *folder, const profile *p);
/* The profile with all steps of a phase longer by that share (NAN: as they are), and nobody slowing another
 * down, which the shares have in them already. What else it points to is borrowed from p. Ends with
 * replay_steps_done. */
profile replay_steps_applied(const profile *p, const replay_steps *s);
void replay_steps_done(profile *applied);

#endif
