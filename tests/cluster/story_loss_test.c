/* Stories of loss: a worker dies, a pair breaks, a worker or the coordinator sleeps. */
#include "story.h"

#include "base/log.h"

#include <string.h>

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
    assert_int_equal(c->end.st, ST_CORRUPT);
    assert_non_null(
        strstr(c->why, "two workers died while they executed this request, so it is not tried again"));
    assert_int_equal(s->seen.kills, 2);
    sim_client *next = submit(s, 100, 8);
    UNTIL(s, next->ended);
    assert_done(next);
    all_over(s);
}

/* Its logits are no numbers from the first token (at P or in a colocated worker), or from some later one (at
 * D). */
static void broken_logits(uint32_t p, uint32_t d, uint32_t c, uint32_t after) {
    sim *s = cluster(sim_defaults(), p, d, c);
    sim_client *other = submit(s, 100, 60);
    sim_client *poison = submit(s, 40, 60);
    UNTIL(s, poison->got >= after);
    s->broken_req = poison->req;
    UNTIL(s, poison->ended);
    assert_int_equal(poison->end.state, REQ_FAILED);
    assert_int_equal(poison->end.st, ST_CORRUPT);
    assert_non_null(strstr(poison->why, "cannot compute this request: a logit is no number"));
    assert_int_equal(poison->times.attempts, 1);
    UNTIL(s, other->ended);
    assert_done(other);
    assert_int_equal(other->times.replays, 0);
    assert_int_equal(s->seen.to_worker[CTL_WELCOME],
                     p + d + c); /* every worker is still in its first session */
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

/* ---- a device fails ---- */

/* No connection tells, and nothing is under way that has a deadline. */
static void the_pair_with_a_worker_that_vanished_ends_at_the_other_end_and_a_new_one_is_made(void **state) {
    (void)state;
    for (uint32_t gone = 0; gone < 2; gone++) {
        sim *s = cluster(sim_defaults(), 1, 1, 0);
        uint32_t left = 1 - gone;
        sim_client *c = submit(s, 40, 8);
        UNTIL(s, c->ended);
        assert_done(c);
        assert_int_equal(sim_pairs_open(s, left), 1);
        sim_freeze(s, gone);
        UNTIL(s, s->seen.to_worker[CTL_PEER_GONE] == 1);
        run_for(s, 10 * MS);
        assert_int_equal(sim_pairs_open(s, left), 0);
        assert_true(sim_frozen(s, gone));
        sim_thaw(s, gone);
        run_for(s, 2 * NS_PER_S);
        assert_true(sim_member(s, gone));
        c = submit(s, 40, 8);
        UNTIL(s, c->ended);
        assert_done(c);
        assert_int_equal(c->times.attempts, 1);
        assert_int_equal(sim_pairs_open(s, left), 1);
        all_over(s);
    }
}

static void a_worker_whose_device_failed_leaves_with_its_reason_and_may_come_back(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 1, 0);
    sim_client *c = submit(s, 40, 20);
    core_lost lost;
    UNTIL(s, c->got == 7);
    sim_break_device(s, 1);
    UNTIL(s, !sim_alive(s, 1));
    assert_int_equal(s->seen.to_coord[CTL_LEAVING], 1);
    assert_int_equal(s->seen.to_worker[CTL_EXIT], 1);
    assert_true(core_last_lost(s->core, &lost, s->now_ns));
    assert_string_equal(lost.worker, "decode-0");
    assert_string_equal(lost.why, "attend: illegal address");
    assert_false(c->ended);
    sim_restart(s, 1);
    UNTIL(s, c->ended);
    assert_done(c); /* by replay, on the same worker started again */
    assert_int_equal(c->times.replays, 1);
    all_over(s);
}

/* ---- a worker or the coordinator sleeps ---- */

static member_state member_state_at(const sim *s, uint32_t i, uint32_t *count) {
    core_worker_info w;
    member_state at = core_worker(s->core, i, s->now_ns, &w) ? w.state : MEMBER_GONE;
    for (*count = 0; core_worker(s->core, *count, s->now_ns, &w);) (*count)++;
    return at;
}

static void frozen_for_twice_the_gone_time(uint32_t worker, uint32_t p, uint32_t d, bool decoding) {
    sim *s = cluster(sim_defaults(), p, d, 0);
    uint32_t n;
    sim_client *c = submit(s, 60, 30);
    UNTIL(s, decoding ? c->got == 5 : s->seen.steps == 2);
    /* A D was heard just now, with its token; of a P that computes only heartbeats are heard: the first one
     * arrived at 1.003 s. */
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
    assert_int_equal(s->seen.to_worker[CTL_REFUSED],
                     1); /* told GONE, it dropped everything and joined anew */
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
    s->opt.step_ns = 400 * NS_PER_MS;
    sim_client *like =
        submit(s, 60, 2); /* so that it is known how long such steps take: ten times that < 10 s */
    UNTIL(s, like->ended);
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
    assert_int_equal(s->seen.to_worker[CTL_PREFILL], 2);
    UNTIL(s, c->ended);
    assert_int_equal(c->end.st, ST_PEER);
    run_for(s, 20 * NS_PER_S);
    assert_true(sim_member(s, P0));
    all_over(s);
}

/* The first *left steps on prompts take 40 s, all others 10 ms: much longer than 20 usual ones and 10 s. */
static uint64_t forty_seconds(void *ctx, uint32_t worker, const latency_step *sum) {
    uint32_t *left = ctx;
    (void)worker;
    if (!sum->chunks || !*left) return 10 * NS_PER_MS;
    (*left)--;
    return 40 * NS_PER_S;
}

static void a_long_step_that_goes_on_loses_no_worker(void **state) {
    (void)state;
    uint32_t left = 1;
    sim_options o = sim_defaults();
    o.watch = (sim_watch){.ctx = &left, .step_ns = forty_seconds};
    o.mark_ns = 3 * NS_PER_S;
    sim *s = cluster(o, 1, 1, 0);
    sim_client *c = submit(s, 20, 8);
    UNTIL(s, c->ended);
    assert_done(c);
    assert_true(c->end_ns - c->submit_ns > 40 * NS_PER_S);
    assert_int_equal(c->times.replays, 0);
    assert_int_equal(s->seen.to_worker[CTL_REFUSED], 0);
    all_over(s);
}

static void steps_that_stand_still_on_two_workers_do_not_blame_the_request(void **state) {
    (void)state;
    uint32_t left = 2;
    sim_options o = sim_defaults();
    o.watch = (sim_watch){.ctx = &left, .step_ns = forty_seconds};
    o.core.step_age_min_ns = 3 * NS_PER_S; /* 36 s for steps of which nothing is known */
    sim *s = cluster(o, 3, 1, 0);
    sim_client *c = submit(s, 20, 8);
    UNTIL(s, c->ended);
    assert_done(c);
    assert_int_equal(left, 0);
    assert_int_equal(c->times.replays, 2);
    assert_int_equal(s->seen.to_worker[CTL_REFUSED], 2);
    run_for(s, 45 * NS_PER_S); /* the long steps end, and their workers come back */
    all_over(s);
}

/* Prompts at 5 ms per token in one operation, decodes in 10 ms. */
static uint64_t slow_prompts(void *ctx, uint32_t worker, const latency_step *sum) {
    (void)ctx, (void)worker;
    return 10 * NS_PER_MS + sum->tokens * 5 * NS_PER_MS;
}

static void a_large_step_is_not_judged_by_small_ones(void **state) {
    (void)state;
    sim_options o = sim_defaults();
    o.watch = (sim_watch){.step_ns = slow_prompts};
    o.max_rows = o.chunk_tokens = 4096;
    o.core.max_context = 8192;
    o.pages[ROLE_PREFILL] = o.pages[ROLE_DECODE] = 512;
    sim *s = cluster(o, 1, 1, 0);
    for (uint32_t i = 0; i < 64; i++) { /* short ones, one after the other */
        sim_client *small = submit(s, 20, 2);
        UNTIL(s, small->ended);
    }
    sim_client *c = submit(s, 4096, 2); /* 20 s without a sign of life but heartbeats */
    UNTIL(s, c->ended);
    assert_done(c);
    assert_true(c->end_ns - c->submit_ns > 20 * NS_PER_S);
    assert_int_equal(c->times.replays, 0);
    assert_int_equal(s->seen.to_worker[CTL_REFUSED], 0);
    all_over(s);
}

static void a_request_of_a_worker_that_gets_on_is_given_ten_times_its_limit(void **state) {
    (void)state;
    uint32_t left = 1;
    sim_options o = sim_defaults();
    o.watch = (sim_watch){.ctx = &left, .step_ns = forty_seconds};
    o.mark_ns = 3 * NS_PER_S;
    o.core.prefill_ns = 5 * NS_PER_S; /* the prompt takes 40 */
    sim *s = cluster(o, 1, 1, 0);
    sim_client *c = submit(s, 20, 8);
    UNTIL(s, c->ended);
    assert_done(c);
    assert_int_equal(c->times.replays, 0);
    all_over(s);
}

static void and_no_more_than_that(void **state) {
    (void)state;
    uint32_t left = 1;
    sim_options o = sim_defaults();
    o.watch = (sim_watch){.ctx = &left, .step_ns = forty_seconds};
    o.mark_ns = NS_PER_S;
    o.core.prefill_ns = 3 * NS_PER_S;
    sim *s = cluster(o, 1, 1, 0);
    sim_client *c = submit(s, 20, 8);
    UNTIL(s, c->ended);
    assert_int_equal(c->end.st, ST_TIMEOUT);
    assert_true(c->end_ns - c->submit_ns >= 30 * NS_PER_S);
    assert_true(c->end_ns - c->submit_ns < 34 * NS_PER_S);
    run_for(s, 20 * NS_PER_S);
    all_over(s);
}

static void a_request_of_a_worker_that_stands_still_is_not(void **state) {
    (void)state;
    uint32_t left = 1;
    sim_options o = sim_defaults();
    o.watch = (sim_watch){.ctx = &left, .step_ns = forty_seconds};
    o.core.prefill_ns = 5 * NS_PER_S;
    sim *s = cluster(o, 1, 1, 0);
    sim_client *c = submit(s, 20, 8);
    UNTIL(s, c->ended);
    assert_int_equal(c->end.st, ST_TIMEOUT);
    assert_true(c->end_ns - c->submit_ns < 11 * NS_PER_S);
    run_for(s, 60 * NS_PER_S);
    all_over(s);
}

static void a_single_long_operation_has_the_time_that_earlier_ones_say(void **state) {
    (void)state;
    sim_options o = sim_defaults();
    o.watch = (sim_watch){.step_ns = slow_prompts};
    o.max_rows = o.chunk_tokens = 4096;
    o.core.max_context = 8192;
    o.pages[ROLE_PREFILL] = o.pages[ROLE_DECODE] = 512;
    o.core.prefill_ns = 4 * NS_PER_S;
    sim *s = cluster(o, 1, 1, 0);
    sim_client *like = submit(s, 400, 2); /* 2 s */
    UNTIL(s, like->ended);
    assert_done(like);
    sim_client *c = submit(s, 3000, 2); /* 15 s without a sign of life but heartbeats */
    UNTIL(s, c->ended);
    assert_done(c);
    assert_true(c->end_ns - c->submit_ns > 15 * NS_PER_S);
    assert_int_equal(c->times.replays, 0);
    all_over(s);
}

/* A prompt of 150 tokens, whose hand-off has 20 segments, each of which takes `copy_ns`. */
static sim_client *slow_handoff(sim **out, uint64_t copy_ns, uint64_t wait_kv_ns) {
    sim_options o = sim_defaults();
    o.copy_ns = copy_ns;
    o.pair_timeout_ns = 100 * NS_PER_S;
    o.core.wait_kv_ns = wait_kv_ns;
    sim *s = *out = cluster(o, 1, 1, 0);
    sim_client *c = submit(s, 150, 8);
    UNTIL(s, c->ended);
    return c;
}

static void a_slow_handoff_that_goes_on_is_waited_for(void **state) {
    (void)state;
    sim *s;
    sim_client *c = slow_handoff(&s, 500 * MS, 2 * NS_PER_S);
    assert_done(c);
    assert_true(c->end_ns - c->submit_ns > 4 * NS_PER_S);
    assert_int_equal(c->times.attempts, 1);
    all_over(s);
}

static void but_not_for_longer_than_ten_times_the_limit(void **state) {
    (void)state;
    sim *s;
    sim_client *c = slow_handoff(&s, 900 * MS, 1 * NS_PER_S / 2);
    assert_int_equal(c->end.st, ST_TIMEOUT);
    assert_true(c->end_ns - c->submit_ns < 7 * NS_PER_S);
    run_for(s, 60 * NS_PER_S);
    all_over(s);
}

static void a_worker_that_loses_its_connection_and_comes_back_did_not_die(void **state) {
    (void)state;
    uint32_t left = 2;
    sim_options o = sim_defaults();
    o.watch = (sim_watch){.ctx = &left, .step_ns = forty_seconds};
    o.mark_ns = 3 * NS_PER_S;
    sim *s = cluster(o, 2, 1, 0);
    sim_client *c = submit(s, 20, 8);
    UNTIL(s, s->seen.steps == 1);
    uint32_t first = sim_pages_used(s, 0) ? 0 : 1;
    sim_cut_conn(s, first);
    UNTIL(s, s->seen.steps == 2); /* on the other one */
    UNTIL(s, sim_member(s, first));
    sim_cut_conn(s, 1 - first);
    UNTIL(s, c->ended);
    assert_done(c);
    assert_int_equal(c->times.replays, 2);
    run_for(s, 45 * NS_PER_S);
    assert_int_equal(s->seen.kills, 0);
    all_over(s);
}

int main(void) {
    log_setup(LOG_ERROR, "story");
    const struct CMUnitTest tests[] = {
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
        cmocka_unit_test(the_pair_with_a_worker_that_vanished_ends_at_the_other_end_and_a_new_one_is_made),
        cmocka_unit_test(a_worker_whose_device_failed_leaves_with_its_reason_and_may_come_back),
        cmocka_unit_test(a_coordinator_that_slept_kills_nobody),
        cmocka_unit_test(a_coordinator_that_slept_beyond_the_lease_finds_workers_that_join_anew),
        cmocka_unit_test(a_stuck_step_is_gone_after_ten_seconds),
        cmocka_unit_test(a_long_step_that_goes_on_loses_no_worker),
        cmocka_unit_test(steps_that_stand_still_on_two_workers_do_not_blame_the_request),
        cmocka_unit_test(a_large_step_is_not_judged_by_small_ones),
        cmocka_unit_test(a_request_of_a_worker_that_gets_on_is_given_ten_times_its_limit),
        cmocka_unit_test(and_no_more_than_that),
        cmocka_unit_test(a_request_of_a_worker_that_stands_still_is_not),
        cmocka_unit_test(a_single_long_operation_has_the_time_that_earlier_ones_say),
        cmocka_unit_test(a_slow_handoff_that_goes_on_is_waited_for),
        cmocka_unit_test(but_not_for_longer_than_ten_times_the_limit),
        cmocka_unit_test(a_worker_that_loses_its_connection_and_comes_back_did_not_die),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
