/* Stories of requests: the good path, deadlines, too little memory, clients that leave, workers that drain.
 */
#include "story.h"

#include "base/log.h"

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
    /* SEAL leaves one hand-over after the step, 2 ms on its way, one hand-over, 1 ms back; TOKENS took 1 ms.
     */
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
    assert_int_equal(c->end.st, ST_PEER);
    assert_string_equal(c->why, "there was no prefill worker within 60000 ms: start one, or try again later");
    all_over(s);
}

/* Of a worker that gets on with it all the time: ten times limits.prefill_ms. */
static void a_prompt_that_takes_twenty_minutes_is_504(void **state) {
    (void)state;
    sim_options o = sim_defaults();
    o.chunk_tokens = 16;
    o.pages[ROLE_PREFILL] = o.pages[ROLE_DECODE] = 256;
    o.core.max_context = 4096;
    o.step_ns = 9900 * MS; /* 125 chunks: 1,237.5 s */
    sim *s = cluster(o, 1, 1, 0);
    sim_client *c = submit(s, 2000, 5);
    UNTIL(s, c->ended);
    assert_int_equal(c->end_ns - c->submit_ns, 1200 * NS_PER_S);
    assert_int_equal(c->end.st, ST_TIMEOUT);
    assert_string_equal(c->why, "prefill-0 did not finish the prompt of 2000 tokens within 1200000 ms");
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
    assert_int_equal(c->end.st, ST_TIMEOUT);
    assert_string_equal(c->why, "no decode worker had taken over the KV cache within 60000 ms");
    all_over(s);
}

/* A decode worker whose first step never ends. */
static uint64_t stuck_decodes(void *ctx, uint32_t worker, const latency_step *sum) {
    (void)ctx, (void)worker;
    return (sum->batch ? 1000 : 1) * NS_PER_S;
}

static void thirty_seconds_without_a_token_replay_until_the_attempts_are_used_up(void **state) {
    (void)state;
    sim_options o = sim_defaults();
    o.core.step_age_min_ns = 20 * NS_PER_S; /* or the stuck step would be noticed first */
    o.watch = (sim_watch){.step_ns = stuck_decodes};
    sim *s = cluster(o, 1, 1, 0);
    sim_client *c = submit(s, 20, 30);
    UNTIL(s, state_of(s, c) == REQ_DECODE);
    uint64_t decode_ns = s->now_ns;
    UNTIL(s, state_of(s, c) != REQ_DECODE);
    assert_int_equal(s->now_ns - decode_ns, 30 * NS_PER_S);
    UNTIL(s, c->ended);
    assert_int_equal(c->end.st, ST_CORRUPT);
    assert_string_equal(c->why,
                        "gave up after 4 attempts; the last ended so: decode-0 sent no token for 30000 ms");
    assert_int_equal(c->times.replays, 3);
    assert_int_equal(c->got, 4); /* one from P in each attempt, none twice */
    run_for(s, 1100 * NS_PER_S);
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
    sim_client *x = submit(
        s, 120, 8); /* 8 of the 11 pages that are free; its first segment is copied in from 1.02 s on */
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

static void pairs_and_colocated_workers_share_the_load(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 1, 1);
    for (int i = 0; i < 6; i++) submit(s, 30, 20);
    for (uint32_t i = 0; i < s->client_count; i++) UNTIL(s, s->clients[i]->ended);
    for (uint32_t i = 0; i < s->client_count; i++) assert_done(s->clients[i]);
    assert_true(s->seen.to_worker[CTL_RESERVE] > 0);
    assert_true(s->seen.to_worker[CTL_PREFILL] >
                s->seen.to_worker[CTL_RESERVE]); /* some went to the colocated one */
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
        cmocka_unit_test(a_prompt_that_takes_twenty_minutes_is_504),
        cmocka_unit_test(parked_kv_that_no_decode_worker_takes_is_504_and_unpinned),
        cmocka_unit_test(thirty_seconds_without_a_token_replay_until_the_attempts_are_used_up),
        cmocka_unit_test(every_p_page_parked_with_d_full_drains_in_order),
        cmocka_unit_test(a_d_pool_smaller_than_one_growing_batch_preempts_the_youngest),
        cmocka_unit_test(pages_of_a_canceled_handoff_are_reused_at_once_and_no_late_writer_hurts),
        cmocka_unit_test(pages_under_a_writer_are_nobodys_until_it_lets_go),
        cmocka_unit_test(cancel_in_each_state_frees_every_page),
        cmocka_unit_test(pairs_and_colocated_workers_share_the_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
