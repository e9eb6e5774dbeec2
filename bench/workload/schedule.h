/* schedule - the list of all requests with the times at which they are due, made before the run.
 *
 *   counted   N requests of one seed at a rate, as `vllm bench serve` has it; its warm-ups go before the
 * clock starts steady    |-- warm-up W --|-- window S, seed 1 --|-- window S, seed 2 --| ... |-- tail, at
 * most T --| load without a break: each part is a stream of its own seed from its own begin, of which it
 * takes what arrives before its end. The tail is sent until the last member of a window has ended.
 *
 * Seeds of warm-up and tail are made of the first one, so that none of their prompts is a member's. The times
 * of a seed's requests since its window's begin are the unit-rate sequence of that seed divided by the rate:
 * the same requests in the same pattern at every rate, only more of them at a higher one. Pure. */
#ifndef BATON_WORKLOAD_SCHEDULE_H
#define BATON_WORKLOAD_SCHEDULE_H

#include "bench/rows/row.h"
#include "bench/workload/arrivals.h"
#include "bench/workload/prompt.h"
#include "bench/workload/workload.h"

#define SCHEDULE_COUNT_MAX   (1u << 22) /* requests in all: 160 MiB */
#define SCHEDULE_SECONDS_MAX 1e6
#define SCHEDULE_SEEDS_MAX   1000u

typedef struct planned {
    uint64_t seed;
    uint64_t at_ns; /* since the run's start */
    uint32_t index; /* in the stream of that seed */
    uint32_t prompt_tokens, output_tokens;
    row_phase phase;
} planned;

typedef struct schedule_window {
    uint64_t seed;
    uint64_t begin_ns, end_ns; /* end ROW_NEVER: counted, the window ends with its last request */
    uint32_t first, count;     /* its members: items[first .. first + count) */
} schedule_window;

typedef struct schedule {
    planned *items; /* [count], by at_ns; owned */
    uint32_t count;
    uint32_t before_count; /* counted: the first items, warm-ups that are sent at once and waited for before
                              the clock starts; at_ns 0 */
    schedule_window *windows; /* [window_count]; owned */
    uint32_t window_count;
    uint64_t end_ns; /* steady: where the tail ends at the latest; counted: the last at_ns */
} schedule;

typedef struct schedule_counted_options {
    uint32_t requests, warmups;
    uint64_t seed;
    double rate;  /* requests per second; INFINITY = all at once; NAN: a trace by its own clock */
    bool rescale; /* as vLLM: the last arrival at requests / rate (not for ramps, traces, an infinite rate) */
} schedule_counted_options;

typedef struct schedule_steady_options {
    const uint64_t *seeds; /* [seed_count], each another; Borrowed: valid until the call returns */
    uint32_t seed_count;
    double rate; /* finite; NAN: a trace by its own clock */
    double warmup_s, window_s, tail_s;
} schedule_steady_options;

/* ST_INVALID names the option that is wrong, or says that there would be too many requests, or none in a
 * window. `out` is then as it was. End with schedule_done. */
status schedule_counted(schedule *out, const workload *w, const arrivals_options *arrivals,
                        const schedule_counted_options *opt, errbuf *eb);
status schedule_steady(schedule *out, const workload *w, const arrivals_options *arrivals,
                       const schedule_steady_options *opt, errbuf *eb);
/* Requests before the tail whose prompt another one has already: those with fewer than prompt_unique_tokens
 * ids may. w: the list's; one whose prompts share no prefixes. */
uint32_t schedule_repeated_prompts(const schedule *s, const workload *w, prompt_range range);
/* Frees what it owns and makes it an empty one. */
void schedule_done(schedule *s);

/* The seeds of what is not measured, made of the first seed of the run. */
uint64_t schedule_warmup_seed(uint64_t seed);
uint64_t schedule_tail_seed(uint64_t seed);

#endif
