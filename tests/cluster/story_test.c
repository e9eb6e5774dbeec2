/* Stories: one fault each, told in exact virtual times. A control message takes 1 ms, a step 10, a pair frame 2. */
#include "sim.h"

#include "base/log.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

#define MS NS_PER_MS
#define P0 0u
#define UNTIL(s, condition)                                                                                            \
    while (!(condition)) assert_story_goes_on(s)

static void assert_fine(const sim *s) {
    if (s->failure[0]) print_error("at %.6f s: %s\n", (double)s->now_ns / 1e9, s->failure);
    assert_string_equal(s->failure, "");
}

static void assert_story_goes_on(sim *s) {
    sim_step(s);
    assert_fine(s);
    assert_true(s->now_ns < 4000 * NS_PER_S);
}

static void run_for(sim *s, uint64_t span_ns) {
    sim_run_for(s, span_ns);
    assert_fine(s);
}

/* A cluster whose workers are all READY at 1.1 s. */
static sim *cluster(sim_options o, uint32_t p, uint32_t d, uint32_t c) {
    o.workers[ROLE_PREFILL] = p;
    o.workers[ROLE_DECODE] = d;
    o.workers[ROLE_COLOCATED] = c;
    sim *s = sim_new(&o);
    assert_true(sim_run_until(s, 1100 * MS));
    for (uint32_t w = 0; w < s->proc_count; w++) assert_true(sim_member(s, w));
    assert_true(core_ready(s->core));
    return s;
}

static sim_client *submit(sim *s, uint32_t prompt_count, uint32_t max_tokens) {
    sim_client *c = NULL;
    errbuf eb = {0};
    sim_ask ask = {.prompt_count = prompt_count, .max_tokens = max_tokens, .stop_at = -1, .ignore_eos = true};
    assert_int_equal(sim_submit(s, &ask, &c, &eb), ST_OK);
    return c;
}

static void assert_done(const sim_client *c) {
    if (c->ended && c->end.state == REQ_FAILED) print_error("failed: %s\n", c->why);
    assert_true(c->ended);
    assert_int_equal(c->end.state, REQ_DONE);
    assert_int_equal(c->got, c->want_count);
}

/* Everything is over: nobody holds anything. */
static void all_over(sim *s) {
    run_for(s, 2 * NS_PER_S);
    assert_true(sim_idle_everywhere(s));
    sim_free(s);
}

static req_state state_of(const sim *s, const sim_client *c) {
    return core_request_state(s->core, c->req);
}

/* ---- the good path ---- */

static void the_first_token_comes_before_the_handoff_and_each_stage_has_its_time(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 1, 0);
    sim_client *c = submit(s, 20, 5);
    UNTIL(s, c->ended);
    assert_done(c);
    assert_int_equal(c->first_ns - c->submit_ns, 12 * MS); /* 1 ms there, 10 ms step, 1 ms back */
    assert_int_equal(c->times.queue_ns, 0);
    assert_int_equal(c->times.prefill_ns, 12 * MS);
    assert_int_equal(c->times.first_token_ns, 12 * MS);
    /* SEAL leaves one hand-over after the step, 2 ms on its way, one hand-over, 1 ms back; TOKENS took 1 ms. */
    assert_int_equal(c->times.handoff_ns, 2 * MS + 2 * s->opt.post_ns);
    /* Verified at 13.02 ms, then four steps of 10 ms, and 1 ms back. */
    assert_int_equal(c->end_ns - c->submit_ns, 13 * MS + 2 * s->opt.post_ns + 40 * MS + 1 * MS);
    assert_int_equal(c->times.attempts, 1);
    all_over(s);
}

static void a_colocated_worker_does_both_without_a_handoff(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 0, 0, 1);
    sim_client *c = submit(s, 20, 5);
    UNTIL(s, c->ended);
    assert_done(c);
    assert_int_equal(c->first_ns - c->submit_ns, 12 * MS);
    assert_int_equal(c->end_ns - c->submit_ns, 52 * MS);
    assert_int_equal(c->times.handoff_ns, 0);
    assert_int_equal(s->seen.to_worker[CTL_RESERVE], 0);
    all_over(s);
}

static void one_token_needs_no_decode_and_frees_both_sides(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 1, 0);
    sim_client *c = submit(s, 20, 1);
    UNTIL(s, c->ended);
    assert_done(c);
    assert_int_equal(c->end.fin, FINISH_LENGTH);
    assert_int_equal(c->end_ns - c->submit_ns, 12 * MS);
    all_over(s);
}

static void a_stop_string_ends_the_request_and_later_tokens_are_dropped(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 1, 0);
    sim_client *c = NULL;
    sim_ask ask = {.prompt_count = 20, .max_tokens = 40, .stop_at = 6, .ignore_eos = true};
    assert_int_equal(sim_submit(s, &ask, &c, NULL), ST_OK);
    run_for(s, 2 * NS_PER_S);
    assert_int_equal(c->end.state, REQ_DONE);
    assert_int_equal(c->end.fin, FINISH_NONE);
    assert_int_equal(c->got, 7);
    core_counters k;
    core_counters_of(s->core, &k);
    assert_int_equal(k.finished[FINISH_NONE], 1);
    assert_int_equal(k.output_tokens, 7); /* what came later counts nowhere */
    all_over(s);
}

/* ---- deadlines (rule 19) ---- */

static void a_prompt_that_no_worker_takes_is_503_after_a_minute(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 1, 0);
    sim_kill(s, P0);
    run_for(s, 10 * MS);
    sim_client *c = submit(s, 20, 5);
    UNTIL(s, c->ended);
    assert_int_equal(c->end_ns - c->submit_ns, 60 * NS_PER_S);
    assert_int_equal(c->end.http, 503);
    assert_string_equal(c->why, "there was no prefill worker within 60000 ms: start one, or try again later");
    all_over(s);
}

static void a_prompt_that_takes_two_minutes_is_504(void **state) {
    (void)state;
    sim_options o = sim_defaults();
    o.chunk_tokens = 16;
    o.step_ns = 9900 * MS; /* 13 chunks: 128.7 s */
    sim *s = cluster(o, 1, 1, 0);
    sim_client *c = submit(s, 200, 5);
    UNTIL(s, c->ended);
    assert_int_equal(c->end_ns - c->submit_ns, 120 * NS_PER_S);
    assert_int_equal(c->end.http, 504);
    assert_string_equal(c->why, "prefill-0 did not finish the prompt of 200 tokens within 120000 ms");
    run_for(s, 12 * NS_PER_S); /* the step that runs must end before its pages come back */
    all_over(s);
}

static void parked_kv_that_no_decode_worker_takes_is_504_and_unpinned(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 1, 0);
    sim_client *c = submit(s, 40, 5);
    sim_kill(s, 1);
    UNTIL(s, c->got == 1); /* the first token does not wait for a hand-off */
    uint64_t parked_ns = s->now_ns;
    run_for(s, NS_PER_S);
    assert_int_equal(state_of(s, c), REQ_WAIT_KV);
    assert_int_equal(sim_pages_used(s, P0), 3);
    core_counters k;
    core_counters_of(s->core, &k);
    assert_int_equal(k.pages_pinned, 3);
    UNTIL(s, c->ended);
    assert_int_equal(c->end_ns - parked_ns, 60 * NS_PER_S);
    assert_int_equal(c->end.http, 504);
    assert_string_equal(c->why, "no decode worker had taken over the KV cache within 60000 ms");
    all_over(s);
}

static void thirty_seconds_without_a_token_replay_until_the_attempts_are_used_up(void **state) {
    (void)state;
    sim_options o = sim_defaults();
    o.core.step_age_min_ns = 1000 * NS_PER_S; /* or the stuck step would be noticed first */
    o.step_ns = 40 * NS_PER_S;
    sim *s = cluster(o, 1, 1, 0);
    sim_client *c = submit(s, 20, 30);
    UNTIL(s, state_of(s, c) == REQ_DECODE);
    uint64_t decode_ns = s->now_ns;
    UNTIL(s, state_of(s, c) != REQ_DECODE);
    assert_int_equal(s->now_ns - decode_ns, 30 * NS_PER_S);
    UNTIL(s, c->ended);
    assert_int_equal(c->end.http, 500);
    assert_string_equal(c->why, "gave up after 4 attempts; the last ended so: decode-0 sent no token for 30000 ms");
    assert_int_equal(c->times.replays, 3);
    assert_int_equal(c->got, 4); /* one from P in each attempt, none twice */
    run_for(s, 100 * NS_PER_S);
    all_over(s);
}

/* ---- a worker dies ---- */

static void kill_d_after_reserved_and_another_d_gets_attempt_two(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 2, 0);
    sim_client *c = submit(s, 40, 8);
    UNTIL(s, s->seen.to_coord[CTL_RESERVED] == 1);
    sim_kill(s, 1);
    UNTIL(s, c->ended);
    assert_done(c);
    assert_int_equal(c->times.attempts, 2);
    assert_int_equal(c->times.replays, 0);
    assert_int_equal(s->seen.to_worker[CTL_PREFILL], 1);
    all_over(s);
}

static void kill_d_mid_segment_and_p_sends_again_from_its_pinned_pages(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 2, 0);
    sim_client *c = submit(s, 150, 8);
    UNTIL(s, s->seen.segments == 2);
    assert_int_equal(s->seen.seals, 0);
    sim_kill(s, 1);
    UNTIL(s, c->ended);
    assert_done(c);
    assert_int_equal(c->times.attempts, 2);
    assert_int_equal(c->times.replays, 0);
    assert_int_equal(s->seen.to_worker[CTL_PREFILL], 1);
    all_over(s);
}

static void kill_d_after_verified_and_the_stream_goes_on_by_replay(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 2, 0);
    sim_client *c = submit(s, 40, 20);
    UNTIL(s, c->got == 7);
    sim_kill(s, 1);
    UNTIL(s, c->ended);
    assert_done(c);
    assert_int_equal(c->times.replays, 1);
    assert_int_equal(s->seen.to_worker[CTL_PREFILL], 2);
    all_over(s);
}

static void kill_p_after_its_first_token_and_the_token_is_not_repeated(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 2, 1, 0);
    sim_client *c = submit(s, 40, 8);
    UNTIL(s, c->got == 1);
    assert_int_equal(state_of(s, c), REQ_WAIT_KV);
    sim_kill(s, P0);
    UNTIL(s, c->ended);
    assert_done(c);
    assert_int_equal(c->times.replays, 1);
    all_over(s);
}

static void kill_p_after_seal_before_the_coordinator_read_it(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 2, 1, 0);
    sim_client *c = submit(s, 40, 8);
    UNTIL(s, s->seen.seals == 1);
    assert_int_equal(s->seen.to_coord[CTL_VERIFIED], 0);
    sim_kill(s, P0); /* its end reaches the coordinator before D's VERIFIED */
    UNTIL(s, c->ended);
    assert_done(c);
    assert_int_equal(c->times.replays, 1);
    assert_int_equal(s->seen.to_coord[CTL_VERIFIED], 2); /* that of attempt 1 came too late to count */
    all_over(s);
}

static void kill_p_while_it_computes_and_another_one_starts_over(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 2, 1, 0);
    sim_client *c = submit(s, 100, 8);
    UNTIL(s, s->seen.segments == 1);
    assert_int_equal(state_of(s, c), REQ_PREFILL);
    sim_kill(s, P0);
    UNTIL(s, c->ended);
    assert_done(c);
    assert_int_equal(c->times.replays, 1);
    all_over(s);
}

static void a_poison_prompt_takes_two_workers_and_no_more(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 4, 1, 0);
    sim_client *c = submit(s, 100, 8);
    for (int deaths = 0; deaths < 2; deaths++) {
        uint64_t steps = s->seen.steps;
        UNTIL(s, s->seen.steps > steps);
        uint32_t w = 0;
        while (sim_pages_used(s, w) == 0) w++;
        sim_kill(s, w);
    }
    UNTIL(s, c->ended);
    assert_int_equal(c->end.state, REQ_FAILED);
    assert_int_equal(c->end.http, 500);
    assert_non_null(strstr(c->why, "two workers died while they executed this request, so it is not tried again"));
    assert_int_equal(s->seen.kills, 2);
    sim_client *next = submit(s, 100, 8);
    UNTIL(s, next->ended);
    assert_done(next);
    all_over(s);
}

/* Its logits are no numbers from the first token (at P or in a colocated worker), or from some later one (at D). */
static void broken_logits(uint32_t p, uint32_t d, uint32_t c, uint32_t after) {
    sim *s = cluster(sim_defaults(), p, d, c);
    sim_client *other = submit(s, 100, 60);
    sim_client *poison = submit(s, 40, 60);
    UNTIL(s, poison->got >= after);
    s->broken_req = poison->req;
    UNTIL(s, poison->ended);
    assert_int_equal(poison->end.state, REQ_FAILED);
    assert_int_equal(poison->end.http, 500);
    assert_non_null(strstr(poison->why, "cannot compute this request: a logit is no number"));
    assert_int_equal(poison->times.attempts, 1);
    UNTIL(s, other->ended);
    assert_done(other);
    assert_int_equal(other->times.replays, 0);
    assert_int_equal(s->seen.to_worker[CTL_WELCOME], p + d + c); /* every worker is still in its first session */
    all_over(s);
}

static void a_request_whose_logits_are_no_numbers_fails_alone(void **state) {
    (void)state;
    broken_logits(1, 1, 0, 0);
    broken_logits(1, 1, 0, 5);
    broken_logits(0, 0, 1, 0);
    broken_logits(0, 0, 1, 5);
}

static void a_broken_pair_is_sent_again_under_the_next_attempt(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 1, 0);
    sim_client *c = submit(s, 150, 8);
    UNTIL(s, s->seen.segments == 2);
    sim_cut_pair(s, P0, 1);
    UNTIL(s, c->ended);
    assert_done(c);
    assert_int_equal(c->times.attempts, 2);
    assert_int_equal(s->seen.to_worker[CTL_PREFILL], 1);
    all_over(s);
}

/* ---- a worker or the coordinator sleeps ---- */

static member_state member_state_at(const sim *s, uint32_t i, uint32_t *count) {
    core_worker_info info[SIM_WORKERS_MAX];
    *count = core_workers(s->core, info, SIM_WORKERS_MAX, s->now_ns);
    return i < *count ? info[i].state : MEMBER_GONE;
}

static void frozen_for_twice_the_gone_time(uint32_t worker, uint32_t p, uint32_t d, bool decoding) {
    sim *s = cluster(sim_defaults(), p, d, 0);
    uint32_t n;
    sim_client *c = submit(s, 60, 30);
    UNTIL(s, decoding ? c->got == 5 : s->seen.steps == 2);
    /* A D was heard just now, with its token; of a P that computes only heartbeats are heard: the first one arrived
     * at 1.003 s. */
    uint64_t heard_ns = decoding ? s->now_ns : 1003 * MS;
    sim_freeze(s, worker);
    uint64_t frozen_ns = s->now_ns;
    sim_run_until(s, heard_ns + 1499 * MS);
    assert_int_equal(member_state_at(s, worker, &n), MEMBER_READY);
    sim_run_until(s, heard_ns + 1501 * MS);
    assert_int_equal(member_state_at(s, worker, &n), MEMBER_SUSPECT);
    sim_run_until(s, heard_ns + 4999 * MS);
    assert_int_equal(member_state_at(s, worker, &n), MEMBER_SUSPECT);
    assert_int_equal(n, p + d);
    sim_run_until(s, heard_ns + 5001 * MS);
    member_state_at(s, 0, &n);
    assert_int_equal(n, p + d - 1);
    sim_run_until(s, frozen_ns + 10 * NS_PER_S);
    assert_fine(s);
    assert_done(c);
    assert_int_equal(c->times.replays, 1);
    sim_thaw(s, worker);
    run_for(s, 100 * MS);
    assert_int_equal(s->seen.to_worker[CTL_REFUSED], 1); /* told GONE, it dropped everything and joined anew */
    assert_true(sim_member(s, worker));
    all_over(s);
}

static void a_d_frozen_for_twice_the_gone_time_is_replaced_and_comes_back(void **state) {
    (void)state;
    frozen_for_twice_the_gone_time(1, 1, 2, true);
}

static void a_p_frozen_for_twice_the_gone_time_is_replaced_and_comes_back(void **state) {
    (void)state;
    frozen_for_twice_the_gone_time(0, 2, 1, false);
}

static void a_coordinator_that_slept_kills_nobody(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 1, 0);
    sim_client *c = submit(s, 60, 60);
    UNTIL(s, c->got == 5);
    uint64_t sessions = s->seen.reconnects;
    sim_freeze_core(s);
    run_for(s, 8 * NS_PER_S); /* longer than gone, shorter than the workers' lease */
    sim_thaw_core(s);
    run_for(s, 2 * NS_PER_S);
    assert_done(c);
    assert_int_equal(c->times.replays, 0);
    assert_int_equal(s->seen.reconnects, sessions);
    assert_int_equal(s->seen.to_worker[CTL_REFUSED], 0);
    all_over(s);
}

static void a_coordinator_that_slept_beyond_the_lease_finds_workers_that_join_anew(void **state) {
    (void)state;
    sim_options o = sim_defaults();
    o.step_ns = 100 * MS; /* not finished in the half lease in which D still begins steps */
    sim *s = cluster(o, 1, 1, 0);
    sim_client *c = submit(s, 60, 120);
    UNTIL(s, c->got == 5);
    sim_freeze_core(s);
    run_for(s, 12 * NS_PER_S);
    assert_int_equal(sim_pages_used(s, 1), 0); /* the lease ran out: everything was dropped */
    sim_thaw_core(s);
    UNTIL(s, c->ended);
    assert_done(c);
    assert_int_equal(c->times.replays, 1);
    all_over(s);
}

static void a_stuck_step_is_gone_after_ten_seconds(void **state) {
    (void)state;
    sim_options o = sim_defaults();
    o.core.wait_prefill_ns = 20 * NS_PER_S;
    sim *s = cluster(o, 1, 1, 0);
    s->opt.step_ns = 400 * NS_PER_MS; /* the median that heartbeats report: 20 x that is less than 10 s */
    sim_client *c = submit(s, 60, 60);
    s->opt.step_ns = 40 * NS_PER_S; /* the step that begins when PREFILL arrives */
    run_for(s, 2 * MS);
    s->opt.step_ns = 400 * NS_PER_MS;
    run_for(s, 9900 * MS);
    assert_true(sim_member(s, P0));
    run_for(s, 400 * MS);
    assert_false(sim_member(s, P0));
    assert_int_equal(state_of(s, c), REQ_WAIT_PREFILL); /* and it gets no work while the old step is stuck */
    run_for(s, 15 * NS_PER_S);
    assert_int_equal(s->seen.to_worker[CTL_PREFILL], 1);
    UNTIL(s, c->ended);
    assert_int_equal(c->end.http, 503);
    run_for(s, 20 * NS_PER_S);
    assert_true(sim_member(s, P0));
    all_over(s);
}

/* ---- too little memory ---- */

static void every_p_page_parked_with_d_full_drains_in_order(void **state) {
    (void)state;
    sim_options o = sim_defaults();
    o.pages[ROLE_PREFILL] = 12;
    o.pages[ROLE_DECODE] = 9;
    sim *s = cluster(o, 1, 1, 0);
    sim_client *c[10];
    for (uint32_t i = 0; i < 10; i++) c[i] = submit(s, 44, 60);
    UNTIL(s, sim_pages_used(s, P0) == 12); /* four prompts of three pages: parked, or on their way */
    core_counters k;
    UNTIL(s, (core_counters_of(s->core, &k), k.requests[REQ_WAIT_KV] == 4));
    assert_int_equal(k.pages_pinned, 12);
    for (uint32_t i = 0; i < 10; i++) UNTIL(s, c[i]->ended);
    for (uint32_t i = 0; i < 10; i++) assert_done(c[i]);
    for (uint32_t i = 1; i < 10; i++) assert_true(c[i]->first_ns >= c[i - 1]->first_ns);
    all_over(s);
}

static void a_d_pool_smaller_than_one_growing_batch_preempts_the_youngest(void **state) {
    (void)state;
    sim_options o = sim_defaults();
    o.pages[ROLE_DECODE] = 16;
    sim *s = cluster(o, 1, 1, 0);
    sim_client *c[4];
    for (uint32_t i = 0; i < 4; i++) c[i] = submit(s, 30, 150);
    for (uint32_t i = 0; i < 4; i++) UNTIL(s, c[i]->ended);
    uint32_t preemptions = 0;
    for (uint32_t i = 0; i < 4; i++) {
        assert_done(c[i]);
        preemptions += c[i]->times.preemptions;
        assert_int_equal(c[i]->times.attempts, 1); /* preemption does not count */
    }
    assert_true(preemptions > 0);
    assert_int_equal(c[0]->times.preemptions, 0); /* never the oldest */
    all_over(s);
}

static void pages_of_a_canceled_handoff_are_reused_at_once_and_no_late_writer_hurts(void **state) {
    (void)state;
    sim_options o = sim_defaults();
    o.frame_ns = 50 * MS; /* late */
    o.pages[ROLE_DECODE] = 20;
    o.pages[ROLE_PREFILL] = 20;
    sim *s = cluster(o, 1, 1, 0);
    for (int round = 0; round < 5; round++) {
        uint64_t segments = s->seen.segments;
        sim_client *c = submit(s, 150, 8);
        UNTIL(s, s->seen.segments > segments + 1);
        sim_cancel(s, c);
        sim_client *next = submit(s, 150, 8);
        UNTIL(s, next->ended);
        assert_done(next);
    }
    assert_true(s->seen.strays > 0);
    all_over(s);
}

static void pages_under_a_writer_are_nobodys_until_it_lets_go(void **state) {
    (void)state;
    sim_options o = sim_defaults();
    o.pages[ROLE_DECODE] = 13;
    o.step_ns = 20 * MS;
    o.copy_ns = NS_PER_S; /* of each segment, on both sides */
    sim *s = cluster(o, 1, 1, 0);
    sim_client *grows = submit(s, 20, 150);
    UNTIL(s, grows->got == 2);
    sim_client *x =
        submit(s, 120, 8); /* 8 of the 11 pages that are free; its first segment is copied in from 1.02 s on */
    run_for(s, 1100 * MS);
    sim_cancel(s, x);
    run_for(s, 400 * MS); /* the other one needs its sixth page since 1.2 s, and none is free */
    assert_int_equal(sim_pages_used(s, 1), 13);
    uint32_t got = grows->got;
    run_for(s, 300 * MS);
    assert_int_equal(grows->got, got);
    UNTIL(s, grows->ended);
    assert_done(grows);
    assert_int_equal(grows->times.replays, 0);
    all_over(s);
}

/* ---- clients leave, workers drain ---- */

static void cancel_in(req_state wanted, uint32_t p, uint32_t d, uint32_t c) {
    sim *s = cluster(sim_defaults(), p, d, c);
    sim_client *first = NULL;
    if (wanted == REQ_WAIT_PREFILL) /* rule 6: two batches of 64 rows are assigned, the third waits */
        for (int i = 0; i < 2; i++) first = submit(s, 64, 8);
    sim_client *x = submit(s, 64, 40);
    UNTIL(s, state_of(s, x) == wanted);
    if (wanted == REQ_WAIT_PREFILL) assert_int_equal(core_request_position(s->core, x->req), 1);
    sim_cancel(s, x);
    assert_int_equal(x->end.state, REQ_CANCELED);
    if (first) UNTIL(s, first->ended);
    all_over(s);
}

static void cancel_in_each_state_frees_every_page(void **state) {
    (void)state;
    cancel_in(REQ_WAIT_PREFILL, 1, 1, 0);
    cancel_in(REQ_PREFILL, 1, 1, 0);
    cancel_in(REQ_WAIT_KV, 1, 1, 0);
    cancel_in(REQ_DECODE, 1, 1, 0);
    cancel_in(REQ_PREFILL, 0, 0, 1);
    cancel_in(REQ_DECODE, 0, 0, 1);
}

static void a_drained_worker_finishes_what_it_has_and_leaves(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 2, 0);
    sim_client *c = submit(s, 40, 20);
    UNTIL(s, c->got == 3);
    core_drain(s->core, "decode-0", s->now_ns);
    sim_client *other = submit(s, 40, 20);
    UNTIL(s, c->ended && other->ended);
    assert_done(c);
    assert_done(other);
    assert_int_equal(c->times.replays, 0);
    run_for(s, NS_PER_S);
    assert_false(sim_alive(s, 1));
    assert_int_equal(s->seen.to_worker[CTL_EXIT], 1);
    assert_int_equal(s->seen.to_worker[CTL_RESERVE], 2);
    all_over(s);
}

static void pairs_and_colocated_workers_share_the_load(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 1, 1);
    for (int i = 0; i < 6; i++) submit(s, 30, 20);
    for (uint32_t i = 0; i < s->client_count; i++) UNTIL(s, s->clients[i]->ended);
    for (uint32_t i = 0; i < s->client_count; i++) assert_done(s->clients[i]);
    assert_true(s->seen.to_worker[CTL_RESERVE] > 0);
    assert_true(s->seen.to_worker[CTL_PREFILL] > s->seen.to_worker[CTL_RESERVE]); /* some went to the colocated one */
    all_over(s);
}

int main(void) {
    log_setup(LOG_ERROR, "story");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_token_comes_before_the_handoff_and_each_stage_has_its_time),
        cmocka_unit_test(a_colocated_worker_does_both_without_a_handoff),
        cmocka_unit_test(one_token_needs_no_decode_and_frees_both_sides),
        cmocka_unit_test(a_stop_string_ends_the_request_and_later_tokens_are_dropped),
        cmocka_unit_test(a_prompt_that_no_worker_takes_is_503_after_a_minute),
        cmocka_unit_test(a_prompt_that_takes_two_minutes_is_504),
        cmocka_unit_test(parked_kv_that_no_decode_worker_takes_is_504_and_unpinned),
        cmocka_unit_test(thirty_seconds_without_a_token_replay_until_the_attempts_are_used_up),
        cmocka_unit_test(kill_d_after_reserved_and_another_d_gets_attempt_two),
        cmocka_unit_test(kill_d_mid_segment_and_p_sends_again_from_its_pinned_pages),
        cmocka_unit_test(kill_d_after_verified_and_the_stream_goes_on_by_replay),
        cmocka_unit_test(kill_p_after_its_first_token_and_the_token_is_not_repeated),
        cmocka_unit_test(kill_p_after_seal_before_the_coordinator_read_it),
        cmocka_unit_test(kill_p_while_it_computes_and_another_one_starts_over),
        cmocka_unit_test(a_poison_prompt_takes_two_workers_and_no_more),
        cmocka_unit_test(a_request_whose_logits_are_no_numbers_fails_alone),
        cmocka_unit_test(a_broken_pair_is_sent_again_under_the_next_attempt),
        cmocka_unit_test(a_d_frozen_for_twice_the_gone_time_is_replaced_and_comes_back),
        cmocka_unit_test(a_p_frozen_for_twice_the_gone_time_is_replaced_and_comes_back),
        cmocka_unit_test(a_coordinator_that_slept_kills_nobody),
        cmocka_unit_test(a_coordinator_that_slept_beyond_the_lease_finds_workers_that_join_anew),
        cmocka_unit_test(a_stuck_step_is_gone_after_ten_seconds),
        cmocka_unit_test(every_p_page_parked_with_d_full_drains_in_order),
        cmocka_unit_test(a_d_pool_smaller_than_one_growing_batch_preempts_the_youngest),
        cmocka_unit_test(pages_of_a_canceled_handoff_are_reused_at_once_and_no_late_writer_hurts),
        cmocka_unit_test(pages_under_a_writer_are_nobodys_until_it_lets_go),
        cmocka_unit_test(cancel_in_each_state_frees_every_page),
        cmocka_unit_test(a_drained_worker_finishes_what_it_has_and_leaves),
        cmocka_unit_test(pairs_and_colocated_workers_share_the_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
