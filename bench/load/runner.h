/* runner - sends the requests of a schedule when they are due, whatever became of those before (an open
 * loop), and makes a row of each.
 *
 * Due times are absolute on the monotonic clock; a timer descriptor keeps them to well below a millisecond.
 * Requests are prepared ahead, between sends. With a concurrency cap a request that is due waits for a free
 * place: that is a closed loop while the cap is reached; with all requests due at once it is one throughout,
 * and a request then counts as scheduled when its place is free. Otherwise `scheduled` is the plan's time.
 *
 * The run is over when every member of a window has ended; what still runs of warm-up and tail is canceled
 * (unfinished), the rest of the tail is not sent and has no rows. Until then a server that fails every
 * request gets the whole schedule, but not when nothing at all succeeds for `stall_ns`. */
#ifndef BATON_LOAD_RUNNER_H
#define BATON_LOAD_RUNNER_H

#include "bench/load/client.h"
#include "bench/workload/schedule.h"
#include "net/loop.h"

typedef struct runner runner;

typedef enum runner_state {
    RUNNER_BEFORE, /* warm-ups that do not count are waited for; the clock has not started */
    RUNNER_RUNS,
    RUNNER_ENDED,   /* all members have ended */
    RUNNER_STOPPED, /* by runner_stop */
    RUNNER_STALLED  /* nothing succeeded for too long */
} runner_state;

typedef struct runner_counts {
    uint32_t sent, in_flight, done, failed; /* done: ended as asked */
    uint64_t tokens;
} runner_counts;

typedef struct runner_options {
    const schedule *plan;        /* borrowed for the runner's life */
    uint32_t max_concurrency;    /* 0 = none */
    bool closed;                 /* all are due at once: scheduled when the place is free */
    uint64_t request_timeout_ns; /* from the send */
    uint64_t stall_ns;
} runner_options;

typedef struct runner_handler {
    void *ctx;
    /* Fills what is asked (all but the number); what it points to is valid until the next call. */
    void (*ask)(void *ctx, const planned *p, client_request *out);
    /* A request is over: takes the contents of *r. */
    void (*row)(void *ctx, row *r);
    /* A window begins or ended; `end` comes after the last due time in it, not after its last answer. */
    void (*window)(void *ctx, uint32_t window, bool end);
    void (*over)(void *ctx, runner_state how);
} runner_handler;

/* ST_IO: no timer can be had. */
status runner_new(runner **out, loop *l, const runner_options *opt, const runner_handler *h, errbuf *eb);
void runner_free(runner *r);
/* c calls these with the runner as their ctx. */
client_handler runner_client_handler(runner *r);

/* The first request is due soon after. c: borrowed; must outlive the run, not the runner. */
void runner_start(runner *r, client *c);
/* In each turn of the loop; returns when it must be called again at the latest. */
uint64_t runner_turn(runner *r, uint64_t now_ns);
/* Sends nothing more; what runs is unfinished, what was not sent has rows that say so. `over` follows at
 * once. error: for the rows; NULL = none */
void runner_stop(runner *r, const char *error);

runner_counts runner_counts_of(const runner *r);
runner_state runner_state_of(const runner *r);
/* Of the run's clock; 0 before it started */
uint64_t runner_start_ns(const runner *r);

#endif
