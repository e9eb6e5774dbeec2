/* story - short words for tests that tell one fault each, in exact virtual times.
 *
 * A control message takes 1 ms, a step 10, a pair frame 2. */
#ifndef BATON_TESTS_CLUSTER_STORY_H
#define BATON_TESTS_CLUSTER_STORY_H

#include "sim/sim.h"

#include "tests/test.h"

#define MS NS_PER_MS
#define P0 0u
#define UNTIL(s, condition)                                                                                  \
    while (!(condition)) assert_story_goes_on(s)

static inline void assert_fine(const sim *s) {
    if (s->failure[0]) print_error("at %.6f s: %s\n", (double)s->now_ns / 1e9, s->failure);
    assert_string_equal(s->failure, "");
}

static inline void assert_story_goes_on(sim *s) {
    sim_step(s);
    assert_fine(s);
    assert_true(s->now_ns < 4000 * NS_PER_S);
}

static inline void run_for(sim *s, uint64_t span_ns) {
    sim_run_for(s, span_ns);
    assert_fine(s);
}

/* A cluster whose workers are all READY at 1.1 s. */
static inline sim *cluster(sim_options o, uint32_t p, uint32_t d, uint32_t c) {
    o.workers[ROLE_PREFILL] = p;
    o.workers[ROLE_DECODE] = d;
    o.workers[ROLE_COLOCATED] = c;
    sim *s = sim_new(&o);
    assert_true(sim_run_until(s, 1100 * MS));
    for (uint32_t w = 0; w < s->proc_count; w++) assert_true(sim_member(s, w));
    assert_true(core_ready(s->core));
    return s;
}

static inline sim_client *submit(sim *s, uint32_t prompt_count, uint32_t max_tokens) {
    sim_client *c = NULL;
    errbuf eb = {0};
    sim_ask ask = {.prompt_count = prompt_count, .max_tokens = max_tokens, .stop_at = -1, .ignore_eos = true};
    assert_int_equal(sim_submit(s, &ask, &c, &eb), ST_OK);
    return c;
}

static inline void assert_done(const sim_client *c) {
    if (c->ended && c->end.state == REQ_FAILED) print_error("failed: %s\n", c->why);
    assert_true(c->ended);
    assert_int_equal(c->end.state, REQ_DONE);
    assert_int_equal(c->got, c->want_count);
}

/* Everything is over: nobody holds anything. */
static inline void all_over(sim *s) {
    run_for(s, 2 * NS_PER_S);
    assert_true(sim_idle_everywhere(s));
    sim_free(s);
}

static inline req_state state_of(const sim *s, const sim_client *c) {
    return core_request_state(s->core, c->req);
}

#endif
