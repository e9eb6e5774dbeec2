/* The coordinator core: tokens reach the client once, and what fails starts again or ends with its reason. */
#include "core_world.h"

/* ---- tokens ---- */

static void tokens_reach_the_client_once_and_in_order(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = decoding(w);
    token(w, D, req, 1, 3, 103, FINISH_NONE); /* a gap is held back */
    assert_int_equal(w->token_count, 1);
    token(w, D, req, 1, 1, 101, FINISH_NONE);
    assert_int_equal(w->token_count, 2);
    token(w, D, req, 1, 1, 101, FINISH_NONE); /* the same again is nothing new */
    token(w, D, req, 1, 2, 102, FINISH_NONE);
    assert_int_equal(w->token_count, 4);
    token(w, D, req, 1, 4, 104, FINISH_EOS);
    const int32_t want[] = {100, 101, 102, 103, 104};
    assert_memory_equal(w->tokens, want, sizeof want);
    assert_int_equal(w->end.state, REQ_DONE);
    assert_int_equal(w->end.fin, FINISH_EOS);
    expect_nothing(w); /* D has freed by itself */
    core_counters k;
    core_counters_of(w->core, &k);
    assert_int_equal(k.duplicate_tokens, 2); /* D's repetition of token 0, too */
    assert_int_equal(k.output_tokens, 5);
    world_free(w);
}

static void decode_wait_is_from_verified_kv_to_the_first_token_that_the_decode_worker_computed(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = decoding(w); /* verified; D has repeated P's token */
    core_times t;
    assert_true(core_request_times(w->core, req, w->now_ns, &t));
    assert_int_equal(t.decode_wait_ns, 0);
    uint64_t first_token_ns = t.first_token_ns;
    w->now_ns += 7 * NS_PER_MS;
    token(w, D, req, 1, 1, 101, FINISH_NONE);
    w->now_ns += 5 * NS_PER_MS;
    token(w, D, req, 1, 2, 102, FINISH_NONE);
    assert_true(core_request_times(w->core, req, w->now_ns, &t));
    assert_int_equal(t.decode_wait_ns, 7 * NS_PER_MS);
    assert_int_equal(t.first_token_ns, first_token_ns);
    assert_int_equal(t.decode_ns, 12 * NS_PER_MS);
    world_free(w);
}

static void a_differing_duplicate_fails_the_request_loudly(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = decoding(w);
    token(w, D, req, 1, 0, 999, FINISH_NONE);
    assert_int_equal(w->end.state, REQ_FAILED);
    assert_int_equal(w->end.st, ST_CORRUPT);
    assert_string_equal(
        w->why, "decode-0 computed 999 as output token 0, but another token was computed there before");
    expect(w, D, CTL_RELEASE);
    world_free(w);
}

static void a_request_that_a_worker_cannot_compute_fails_with_its_reason(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = decoding(w);
    say(w, D,
        (ctl_msg){.kind = CTL_FAILED, .req = req, .attempt = 1, .free_pages = 50, .failed = {.why = "NaN"}});
    assert_int_equal(w->end.state, REQ_FAILED);
    assert_int_equal(w->end.st, ST_CORRUPT);
    assert_string_equal(w->why, "decode-0 cannot compute this request: NaN");
    expect(w, D, CTL_RELEASE);
    expect_nothing(w);
    world_free(w);
}

static void a_queue_without_a_worker_of_a_role_names_the_role_after_the_deadline(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = decoding(w);
    core_conn_lost(w->core, D, "it broke", w->now_ns);
    uint64_t other = submit(w, 20, 30);
    turn(w);
    assert_int_equal(core_request_state(w->core, other), REQ_WAIT_PREFILL);
    expect(w, P, CTL_PREFILL); /* so that the next one need not wait for that */
    token(w, P, req, 2, 1, 101, FINISH_NONE);
    turn(w);
    assert_int_equal(core_request_state(w->core, req), REQ_WAIT_KV);
    for (int s = 0; s < 60; s++) {
        w->now_ns += NS_PER_S;
        beat(w, P, 50);
        turn(w);
    }
    assert_int_equal(w->end.st, ST_PEER);
    assert_string_equal(w->why, "there was no decode worker within 60000 ms: start one, or try again later");
    core_conn_lost(w->core, P, "it broke", w->now_ns);
    turn(w);
    submit(w, 20, 30);
    for (int s = 0; s < 60; s++) {
        w->now_ns += NS_PER_S;
        turn(w);
    }
    assert_string_equal(w->why, "there was no prefill worker within 60000 ms: start one, or try again later");
    world_free(w);
}

static void stale_messages_are_answered_with_drop_and_move_nothing(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = decoding(w);
    token(w, D, req, 9, 1, 101, FINISH_NONE); /* an attempt that never was */
    const sent *s = expect(w, D, CTL_DROP);
    assert_int_equal(s->attempt, 9);
    token(w, D, 555, 1, 0, 101, FINISH_NONE);
    assert_int_equal(expect(w, D, CTL_DROP)->req, 555);
    answer(w, P, CTL_RESERVED, 555, 1);
    expect(w, P, CTL_DROP);
    uint64_t good = w->incarnation[D];
    w->incarnation[D] = good + 1; /* another session */
    answer(w, D, CTL_VERIFIED, req, 1);
    expect(w, D, CTL_DROP);
    say(w, D, (ctl_msg){.kind = CTL_HEARTBEAT}); /* these three are never answered with DROP */
    answer(w, D, CTL_CLOSED, req, 1);
    say(w, D, (ctl_msg){.kind = CTL_DRAINED});
    w->incarnation[D] = good;
    expect_nothing(w);
    assert_int_equal(w->token_count, 1);
    core_counters k;
    core_counters_of(w->core, &k);
    assert_int_equal(k.stale_messages, 7);
    core_message(w->core, 9, &(ctl_msg){.kind = CTL_HEARTBEAT, .epoch = EPOCH}, w->now_ns); /* nobody */
    expect(w, 9, CTL_REFUSED);
    world_free(w);
}

static void tokens_before_verified_are_never_emitted(void **state) {
    (void)state;
    world *w = cluster(options(), true);
    uint64_t req = submit(w, 20, 30);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    answer(w, D, CTL_RESERVED, req, 1);
    expect(w, P, CTL_DEST);
    token(w, D, req, 1, 0, 100, FINISH_NONE);
    assert_int_equal(w->token_count, 0);
    assert_int_equal(expect(w, D, CTL_DROP)->attempt, 1);
    turn(w);
    assert_int_equal(expect(w, D2, CTL_RESERVE)->attempt, 2);
    world_free(w);
}

static void a_stop_string_found_inside_the_sink_releases_at_once(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    w->finish_at = 2;
    uint64_t req = decoding(w);
    ctl_token t[] = {{.req = req, .attempt = 1, .index = 1, .token.id = 101},
                     {.req = req, .attempt = 1, .index = 2, .token.id = 102}};
    say(w, D, (ctl_msg){.kind = CTL_TOKENS, .free_pages = 40, .tokens = {.tokens = t, .count = 2}});
    assert_int_equal(w->token_count, 2);
    assert_int_equal(w->end.state, REQ_DONE);
    assert_int_equal(w->end.fin, FINISH_NONE);
    expect(w, D, CTL_RELEASE);
    token(w, D, req, 1, 3, 103, FINISH_NONE); /* crossed RELEASE */
    expect_nothing(w);
    answer(w, D, CTL_CLOSED, req, 1);
    core_worker_info info[2];
    (void)members(w, info, 2);
    assert_int_equal(info[1].assigned, 0);
    world_free(w);
}

/* ---- recovery ---- */

static void d_lost_before_verified_gets_a_new_d_under_attempt_two_from_the_same_pages(void **state) {
    (void)state;
    world *w = cluster(options(), true);
    uint64_t req = submit(w, 20, 30);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    answer(w, D, CTL_RESERVED, req, 1);
    expect(w, P, CTL_DEST);
    token(w, P, req, 1, 0, 100, FINISH_NONE);
    core_conn_lost(w->core, D, "killed", w->now_ns);
    turn(w);
    const sent *s = expect(w, D2, CTL_RESERVE);
    assert_int_equal(s->attempt, 2);
    answer(w, D2, CTL_RESERVED, req, 2);
    s = expect(w, P, CTL_DEST);
    assert_int_equal(s->attempt, 1);
    assert_int_equal(s->new_attempt, 2);
    answer(w, P, CTL_HANDOFF_FAILED, req, 1); /* about the D that is gone already */
    expect_nothing(w);
    answer(w, D2, CTL_VERIFIED, req, 2);
    assert_int_equal(expect(w, P, CTL_RELEASE)->attempt, 2);
    world_free(w);
}

static void a_replay_carries_prompt_and_output_apart_and_goes_before_new_requests(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = decoding(w);
    token(w, D, req, 1, 1, 101, FINISH_NONE);
    beat(w, P, 0); /* nothing can be routed now */
    uint64_t big = submit(w, 128, 4);
    turn(w);
    expect(w, P, CTL_PREFILL); /* P's own holds say that it is free, whatever it told */
    expect(w, D, CTL_RESERVE);
    uint64_t next = submit(w, 20, 4);
    answer(w, D, CTL_PREEMPTED, req, 1);
    assert_int_equal(core_request_position(w->core, req), 1);
    assert_int_equal(core_request_position(w->core, next), 2);
    token(w, P, big, 1, 0, 7, FINISH_NONE);
    turn(w);
    const sent *s = expect(w, P, CTL_PREFILL);
    assert_int_equal(s->req, req);
    assert_int_equal(s->attempt, 2);
    assert_int_equal(s->prompt_count, 20);
    assert_int_equal(s->output_count, 2);
    s = expect(w, D, CTL_RESERVE);
    const int32_t out[] = {100, 101};
    assert_true(s->ids_hash == kv_ids_hash(kv_ids_hash(KV_IDS_HASH_START, prompt_ids(), 20), out, 2));
    token(w, P, req, 2, 2, 102, FINISH_NONE); /* it goes on at k = 2 */
    assert_int_equal(w->tokens[w->token_count - 1], 102);
    core_times t;
    assert_true(core_request_times(w->core, req, w->now_ns, &t));
    assert_int_equal(t.preemptions, 1);
    assert_int_equal(t.attempts, 1);
    world_free(w);
}

static void no_room_that_crosses_dest_frees_the_renumbered_hold(void **state) {
    (void)state;
    world *w = cluster(options(), true);
    uint64_t req = submit(w, 20, 30);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    core_conn_lost(w->core, D, "killed", w->now_ns);
    turn(w);
    expect(w, D2, CTL_RESERVE);
    answer(w, D2, CTL_RESERVED, req, 2);
    assert_int_equal(expect(w, P, CTL_DEST)->new_attempt, 2);
    answer(w, P, CTL_NO_ROOM, req, 1);
    expect(w, D2, CTL_DROP);
    turn(w);
    core_worker_info info[3];
    (void)members(w, info, 3);
    assert_int_equal(info[0].assigned, 0);
    world_free(w);
}

static void a_worker_that_decodes_and_claims_to_have_no_room_has_let_go(void **state) {
    (void)state;
    world *w = cluster(options(), true);
    uint64_t req = decoding(w);
    answer(w, D, CTL_NO_ROOM, req, 1);
    assert_int_equal(core_request_state(w->core, req), REQ_WAIT_PREFILL);
    turn(w);
    const sent *s = expect(w, P, CTL_PREFILL);
    assert_int_equal(s->output_count, 1);
    assert_int_equal(s->attempt, 2);
    world_free(w);
}

static void attempts_are_limited_and_the_last_cause_is_told(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = submit(w, 20, 30);
    for (uint32_t attempt = 1; attempt <= 4; attempt++) {
        turn(w);
        if (attempt == 1) expect(w, P, CTL_PREFILL);
        assert_int_equal(expect(w, D, CTL_RESERVE)->attempt, attempt);
        answer(w, D, CTL_RESERVED, req, attempt);
        expect(w, P, CTL_DEST);
        say(w, D,
            (ctl_msg){.kind = CTL_HANDOFF_FAILED,
                      .req = req,
                      .attempt = attempt,
                      .free_pages = 50,
                      .failed = {.segment = 3, .why = "checksum"}});
        expect(w, D, CTL_DROP);
        answer(w, D, CTL_CLOSED, req, attempt);
    }
    assert_int_equal(w->end.st, ST_CORRUPT);
    assert_string_equal(
        w->why,
        "gave up after 4 attempts; the last ended so: the hand-off failed at decode-0, segment 3: checksum");
    expect(w, P, CTL_RELEASE);
    world_free(w);
}

static void silence_makes_suspect_then_gone_but_not_while_the_loop_itself_slept(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t heard_ns = w->now_ns;
    core_worker_info info[2];
    for (; w->now_ns < heard_ns + 1500 * NS_PER_MS; w->now_ns += 250 * NS_PER_MS) turn(w);
    (void)members(w, info, 2);
    assert_int_equal(info[0].state, MEMBER_READY);
    turn(w);
    (void)members(w, info, 2);
    assert_int_equal(info[0].state, MEMBER_SUSPECT);
    submit(w, 20, 4);
    turn(w);
    expect_nothing(w);          /* no new work */
    w->now_ns += 20 * NS_PER_S; /* the coordinator was stopped */
    turn(w);
    assert_int_equal(members(w, info, 2), 2);
    beat(w, P, 50);
    beat(w, D, 50);
    (void)members(w, info, 2);
    assert_int_equal(info[0].state, MEMBER_READY);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    heard_ns = w->now_ns;
    for (; w->now_ns < heard_ns + 5 * NS_PER_S; w->now_ns += 250 * NS_PER_MS) turn(w);
    assert_int_equal(members(w, info, 2), 2);
    turn(w);
    assert_int_equal(members(w, info, 2), 0);
    assert_string_equal(expect(w, P, CTL_REFUSED)->text, "session|silent for 5000 ms");
    world_free(w);
}

int main(void) {
    log_setup(LOG_ERROR, "core_test");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_reach_the_client_once_and_in_order),
        cmocka_unit_test(decode_wait_is_from_verified_kv_to_the_first_token_that_the_decode_worker_computed),
        cmocka_unit_test(a_differing_duplicate_fails_the_request_loudly),
        cmocka_unit_test(a_request_that_a_worker_cannot_compute_fails_with_its_reason),
        cmocka_unit_test(a_queue_without_a_worker_of_a_role_names_the_role_after_the_deadline),
        cmocka_unit_test(stale_messages_are_answered_with_drop_and_move_nothing),
        cmocka_unit_test(tokens_before_verified_are_never_emitted),
        cmocka_unit_test(a_stop_string_found_inside_the_sink_releases_at_once),
        cmocka_unit_test(d_lost_before_verified_gets_a_new_d_under_attempt_two_from_the_same_pages),
        cmocka_unit_test(a_replay_carries_prompt_and_output_apart_and_goes_before_new_requests),
        cmocka_unit_test(no_room_that_crosses_dest_frees_the_renumbered_hold),
        cmocka_unit_test(a_worker_that_decodes_and_claims_to_have_no_room_has_let_go),
        cmocka_unit_test(attempts_are_limited_and_the_last_cause_is_told),
        cmocka_unit_test(silence_makes_suspect_then_gone_but_not_while_the_loop_itself_slept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
