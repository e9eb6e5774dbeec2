#include "coordinator/trace.h"

#include "base/clock.h"
#include "base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGE_BYTES 4096u

struct trace {
    core_record requests[TRACE_REQUESTS];
    trace_step steps[TRACE_STEPS];
    trace_worker workers[TRACE_WORKERS]; /* by number % TRACE_WORKERS */
    uint64_t request_count, step_count;  /* ever */
};

static_assert(sizeof(trace) < 17u << 20, "trace.h and ARCHITECTURE.md state the memory");

trace *trace_new(void) {
    trace *t = xcalloc(1, sizeof *t);
    /* Every page now: what the process gains later is not this filling up for an hour. */
    for (size_t at = 0; at < sizeof *t; at += PAGE_BYTES) ((volatile char *)t)[at] = 0;
    return t;
}

void trace_free(trace *t) {
    free(t);
}

void trace_record(trace *t, const core_record *r) {
    PRE(t);
    PRE(r);
    PRE(r->span_count <= CORE_SPANS_MAX);
    t->requests[t->request_count++ % TRACE_REQUESTS] = *r;
}

static trace_worker *know(trace *t, const core_steps *s) {
    trace_worker *w = &t->workers[s->worker % TRACE_WORKERS];
    if (w->number == s->worker) return w;
    *w = (trace_worker){.number = s->worker, .role = s->role};
    snprintf(w->name, sizeof w->name, "%s", s->name);
    return w;
}

static void add_step(trace *t, trace_worker *w, const ctl_step *s, uint64_t now_ns) {
    uint64_t age_ns = s->age_us * NS_PER_US;
    uint64_t begin_ns = now_ns > age_ns ? now_ns - age_ns : 0;
    uint64_t end_ns = MIN(begin_ns + s->duration_us * NS_PER_US, now_ns);
    begin_ns = MAX(begin_ns, w->busy_until_ns);
    end_ns = MAX(end_ns, begin_ns);
    w->busy_until_ns = end_ns;
    t->steps[t->step_count++ % TRACE_STEPS] =
        (trace_step){.begin_ns = begin_ns,
                     .duration_us = (uint32_t)((end_ns - begin_ns) / NS_PER_US),
                     .told_us = s->duration_us,
                     .worker = w->number,
                     .sums = s->sums};
}

void trace_add_steps(trace *t, const core_steps *s) {
    PRE(t);
    PRE(s);
    PRE(s->worker > 0);
    PRE(s->name);
    trace_worker *w = know(t, s);
    w->steps_left_out += s->left_out;
    for (uint32_t i = 0; i < s->count; i++) add_step(t, w, &s->steps[i], s->now_ns);
}

uint64_t trace_requests_end(const trace *t) {
    PRE(t);
    return t->request_count;
}

uint64_t trace_steps_end(const trace *t) {
    PRE(t);
    return t->step_count;
}

uint64_t trace_requests_begin(const trace *t) {
    PRE(t);
    return t->request_count > TRACE_REQUESTS ? t->request_count - TRACE_REQUESTS : 0;
}

uint64_t trace_steps_begin(const trace *t) {
    PRE(t);
    return t->step_count > TRACE_STEPS ? t->step_count - TRACE_STEPS : 0;
}

const core_record *trace_request_at(const trace *t, uint64_t number) {
    PRE(t);
    bool kept = number >= trace_requests_begin(t) && number < t->request_count;
    return kept ? &t->requests[number % TRACE_REQUESTS] : NULL;
}

const trace_step *trace_step_at(const trace *t, uint64_t number) {
    PRE(t);
    bool kept = number >= trace_steps_begin(t) && number < t->step_count;
    return kept ? &t->steps[number % TRACE_STEPS] : NULL;
}

const trace_worker *trace_worker_of(const trace *t, uint32_t number) {
    PRE(t);
    const trace_worker *w = &t->workers[number % TRACE_WORKERS];
    return number && w->number == number ? w : NULL;
}
