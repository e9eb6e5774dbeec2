/* goodput_probe - measures one rate against a running server, by baton-bench serve in DIR/probe-RATE, and
 * reads what came of it. */
#ifndef BATON_EXPERIMENT_GOODPUT_PROBE_H
#define BATON_EXPERIMENT_GOODPUT_PROBE_H

#include "bench/experiment/goodput_search.h"
#include "bench/experiment/spec.h"
#include "bench/rows/score.h"

typedef struct probe_work {
    const char *bench;       /* the program */
    const char *dir;         /* absolute */
    const spec_texts *flags; /* handed on to serve */
    slo limits;
    double warmup_s, window_s, request_timeout_s;
} probe_work;

/* Adds `seeds` more seeds to the point of this rate (from seed 1 on, never one twice). Each run has prompts
 * of its own (serve's --prompt-salt), of the lengths and at the times that the seeds say: a server that
 * caches prompts has seen none of them. Runs that are there from an earlier search are read, not run again.
 * told: why the probe is void, "" = it is not. ST_CANCELED: a stop was asked for; ST_PEER: serve failed, the
 * text has its last words. */
status probe_run(const probe_work *w, goodput_point *p, uint32_t seeds, char *told, size_t size, errbuf *eb);

/* Removes the run that the next probe_run of the point would find. */
status probe_forget(const probe_work *w, const goodput_point *p, errbuf *eb);

#endif
