/* dist_sim - DistServe's simulator, as it is: its answers to 1e-9, with what it leaves out.
 *
 * Its rules (simdistserve/base/{worker,scheduler,request}.py and clusters/{disagg,vllm}.py at 82831f1):
 *   - a worker is a stage of a pipeline; it works as long as it has a queue, prefill first;
 *   - prefill takes whole prompts, first come first served, up to prefill_max_tokens; with `chunked`, the
 *     first prompts' next tokens up to there, and decodes in the rest for nothing but their overhead;
 *   - decode takes all that wait, up to 50,000 tokens of context (not the tokens that fit the memory);
 *   - a new request goes to the instance with the fewest that wait and are computed, a computed one to the
 *     decode instance with the fewest that wait (those in its step are not counted);
 *   - the first stage of a pipeline takes 2 ms and .1 us per token of context besides (add_ray_overhead);
 *   - KV moves in no time, needs no room where it comes from, and no sequence waits for memory;
 *   - of events at one time, the one that was decided first is first; arrivals are before all.
 * Its chunked mode counts what a step has taken twice, so that a step of several chunks is shorter than
 * asked. TTFT ends with the prefill; TPOT is the time after it by the number of decode steps.
 *
 * Thread: the caller's. */
#ifndef BATON_PLANNER_DIST_SIM_H
#define BATON_PLANNER_DIST_SIM_H

#include "base/status.h"
#include "planner/profile/profile_distserve.h"

#include <stdbool.h>

#define DIST_CONTEXT_MAX  50000u /* tokens of context of one decode step */
#define DIST_WORKERS_MAX  4096u  /* stages of all instances */
#define DIST_REQUESTS_MAX 10000000u

typedef struct dist_options {
    bool colocated;                         /* its vLLM: prefill_* alone count */
    uint32_t prefill_count, decode_count;   /* instances */
    uint32_t prefill_pp, decode_pp;         /* stages of each */
    const distserve_engine *prefill_engine; /* borrowed */
    const distserve_engine *decode_engine;  /* borrowed; colocated: of the same instances */
    uint64_t prefill_max_tokens;            /* of a prefill step */
    uint64_t decode_max_tokens; /* so many sequences, in fact: its decode steps have 1 token each */
    bool chunked;
} dist_options;

typedef struct dist_request {
    double at_ms;            /* never goes back */
    uint32_t prompt, output; /* >= 1; output: decode steps, the first token is not among them */
} dist_request;

typedef struct dist_latency {
    double ttft_ms, tpot_ms, end_ms; /* end: since the begin */
} dist_latency;

/* Runs until all have ended. out: [count]. ST_INVALID: a prompt or a context that no step takes (there it
 * never ends), a step of negative time. */
status dist_sim_run(dist_latency *out, const dist_request *requests, uint32_t count, const dist_options *opt,
                    errbuf *eb);

#endif
