#include "worker_core/step_log.h"

#include "base/clock.h"
#include "base/mem.h"

static uint32_t whole_us(uint64_t ns) {
    return (uint32_t)MIN(ns / (NS_PER_MS / 1000), (uint64_t)UINT32_MAX);
}

void step_log_add(step_log *l, const step_span *span, const latency_step *sums) {
    PRE(l);
    PRE(span);
    PRE(sums);
    l->busy_ns[busy_kind_of(sums->tokens, sums->batch)] += span->duration_ns;
    l->notes[l->added++ % CTL_STEPS_MAX] = (step_note){.span = *span, .sums = *sums};
}

uint32_t step_log_take(step_log *l, uint64_t now_ns, ctl_step out[static CTL_STEPS_MAX], uint64_t *left_out) {
    PRE(l);
    PRE(left_out);
    uint64_t untold = l->added - l->told;
    uint32_t count = (uint32_t)MIN(untold, (uint64_t)CTL_STEPS_MAX);
    *left_out = untold - count;
    for (uint32_t i = 0; i < count; i++) {
        const step_note *n = &l->notes[(l->added - count + i) % CTL_STEPS_MAX];
        uint64_t age_ns = now_ns > n->span.begin_ns ? now_ns - n->span.begin_ns : 0;
        out[i] = (ctl_step){
            .age_us = whole_us(age_ns), .duration_us = whole_us(n->span.duration_ns), .sums = n->sums};
    }
    l->told = l->added;
    return count;
}
