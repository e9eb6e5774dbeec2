/* step_log - what a worker tells about its steps: the time in them since the start, by kind, and the newest
 * ones that no heartbeat has told of yet. Pure: spans come from who ran the step. */
#ifndef BATON_WORKER_CORE_STEP_LOG_H
#define BATON_WORKER_CORE_STEP_LOG_H

#include "ctl/ctl.h"
#include "ctl/ctl_limits.h"

typedef struct step_note {
    step_span span;
    latency_step sums;
} step_note;

typedef struct step_log {
    uint64_t busy_ns[BUSY_KIND_COUNT];
    step_note notes[CTL_STEPS_MAX]; /* a ring; the newest is at (added - 1) % CTL_STEPS_MAX */
    uint64_t added, told;           /* ever */
} step_log;

/* The step has ended. */
void step_log_add(step_log *l, const step_span *span, const latency_step *sums);
/* The untold steps, oldest first, as a heartbeat made at now_ns tells them; they count as told. Returns how
 * many; *left_out: those that were overwritten before. */
uint32_t step_log_take(step_log *l, uint64_t now_ns, ctl_step out[static CTL_STEPS_MAX], uint64_t *left_out);

#endif
