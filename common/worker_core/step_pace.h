/* step_pace - how long a step should take at most, by what it computes, learned from the steps before it.
 * Pure.
 *
 * A step's cost is a sum of parts that each grow with one number of the step: an alpha, the tokens of prompts
 * and their squares, the sequences that decode and their context (latency/latency.h). So a step that has at
 * most q times as much of each number as an earlier one takes at most q times as long as that one did,
 * whatever the coefficients are. The smallest such bound over the last steps is the answer, for prompts and
 * decodes apart, since few steps have both. */
#ifndef BATON_WORKER_CORE_STEP_PACE_H
#define BATON_WORKER_CORE_STEP_PACE_H

#include "latency/latency.h"

#define STEP_PACE_STEPS 64u

typedef struct step_pace_note {
    latency_step sums;
    uint64_t duration_ns;
} step_pace_note;

typedef struct step_pace {
    step_pace_note notes[STEP_PACE_STEPS]; /* a ring */
    uint64_t learned;                      /* ever */
} step_pace;

/* A step has ended; one without rows teaches nothing. */
void step_pace_learn(step_pace *p, const latency_step *sums, uint64_t duration_ns);
/* ns; 0: nothing known about such steps, or no rows. */
uint64_t step_pace_bound(const step_pace *p, const latency_step *sums);

#endif
