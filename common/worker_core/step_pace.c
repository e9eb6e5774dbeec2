#include "worker_core/step_pace.h"

#include "base/mem.h"

#include <math.h>

void step_pace_learn(step_pace *p, const latency_step *sums, uint64_t duration_ns) {
    PRE(p);
    PRE(sums);
    if (sums->tokens || sums->batch)
        p->notes[p->learned++ % STEP_PACE_STEPS] =
            (step_pace_note){.sums = *sums, .duration_ns = MAX(duration_ns, (uint64_t)1)};
}

/* How many times what was there: at least once, for the part that does not grow. */
static double times(double now, double then) {
    return MAX(now / then, 1.0);
}

uint64_t step_pace_bound(const step_pace *p, const latency_step *sums) {
    PRE(p);
    PRE(sums);
    double prompts = sums->tokens ? HUGE_VAL : 0, decodes = sums->batch ? HUGE_VAL : 0;
    uint64_t count = MIN(p->learned, (uint64_t)STEP_PACE_STEPS);
    for (uint64_t i = 0; i < count; i++) {
        const latency_step *then = &p->notes[i].sums;
        double ns = (double)p->notes[i].duration_ns;
        if (sums->tokens && then->tokens) {
            double q = MAX(times((double)sums->tokens, (double)then->tokens),
                           times((double)sums->squares, (double)then->squares));
            prompts = MIN(prompts, q * ns);
        }
        if (sums->batch && then->batch) {
            double q =
                MAX(times(sums->batch, then->batch), times((double)sums->context, (double)then->context));
            decodes = MIN(decodes, q * ns);
        }
    }
    double ns = prompts + decodes;
    return isfinite(ns) ? (uint64_t)MIN(ns, 1e18) : 0;
}
