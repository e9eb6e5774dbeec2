/* The coordinator core: the story of a request, the hand-offs that go on, the steps that workers tell. */
#include "core_world.h"

static void assert_spans(const world *w, const core_span *want, uint32_t count) {
    assert_int_equal(w->record.span_count, count);
    for (uint32_t i = 0; i < count; i++) {
        const core_span *got = &w->record.spans[i];
        if (got->stage != want[i].stage || got->worker != want[i].worker || got->begin_ns != want[i].begin_ns)
            fail_msg("span %u: %s on %u at %llu", i, core_stage_name(got->stage), got->worker,
                     (unsigned long long)got->begin_ns);
    }
}

static void pass(world *w, uint64_t ms) {
    w->now_ns += ms * NS_PER_MS;
}

/* Up to its first token, from `born`: queue 1 ms, prefill 2 ms. */
static uint64_t prefilled(world *w) {
    uint64_t req = submit(w, 20, 30);
    pass(w, 1);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    answer(w, D, CTL_RESERVED, req, 1);
    expect(w, P, CTL_DEST);
    pass(w, 2);
    token(w, P, req, 1, 0, 100, FINISH_NONE);
    return req;
}

static void a_record_tells_every_stage_with_its_worker(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t born = w->now_ns, ms = NS_PER_MS;
    uint64_t req = prefilled(w);
    pass(w, 3);
    answer(w, D, CTL_VERIFIED, req, 1);
    pass(w, 4);
    token(w, D, req, 1, 0, 100, FINISH_NONE);
    token(w, D, req, 1, 1, 101, FINISH_NONE);
    pass(w, 5);
    assert_int_equal(w->records, 0);
    token(w, D, req, 1, 2, 102, FINISH_EOS);
    const core_span want[] = {{born, 0, STAGE_QUEUE},
                              {born + ms, 1, STAGE_PREFILL},
                              {born + 3 * ms, 1, STAGE_HANDOFF},
                              {born + 6 * ms, 2, STAGE_DECODE_WAIT},
                              {born + 10 * ms, 2, STAGE_DECODE}};
    assert_spans(w, want, ARRAY_LEN(want));
    const core_record *r = &w->record;
    assert_int_equal(w->records, 1);
    assert_int_equal(r->req, req);
    assert_int_equal(r->state, REQ_DONE);
    assert_int_equal(r->prompt_tokens, 20);
    assert_int_equal(r->output_tokens, 3);
    assert_int_equal(r->born_ns, born);
    assert_int_equal(r->first_token_ns, born + 3 * ms);
    assert_int_equal(r->end_ns, born + 15 * ms);
    world_free(w);
}

static void a_replay_is_a_second_round_of_stages(void **state) {
    (void)state;
    world *w = cluster(options(), true);
    uint64_t born = w->now_ns, ms = NS_PER_MS;
    uint64_t req = prefilled(w);
    answer(w, D, CTL_VERIFIED, req, 1);
    pass(w, 4);
    answer(w, D, CTL_PREEMPTED, req, 1);
    pass(w, 1);
    core_cancel(w->core, req, w->now_ns);
    const core_span want[] = {{born, 0, STAGE_QUEUE},
                              {born + ms, 1, STAGE_PREFILL},
                              {born + 3 * ms, 1, STAGE_HANDOFF},
                              {born + 3 * ms, 2, STAGE_DECODE_WAIT},
                              {born + 7 * ms, 0, STAGE_QUEUE}};
    assert_spans(w, want, ARRAY_LEN(want));
    assert_int_equal(w->record.state, REQ_CANCELED);
    assert_int_equal(w->record.preemptions, 1);
    world_free(w);
}

static void of_too_many_stages_the_last_that_fits_goes_on(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = submit(w, 20, 30);
    for (uint32_t round = 1; round <= 12; round++) {
        turn(w);
        w->read = w->sent_count = 0;
        answer(w, P, CTL_PREEMPTED, req, round);
    }
    core_cancel(w->core, req, w->now_ns);
    assert_int_equal(w->record.span_count, CORE_SPANS_MAX);
    assert_int_equal(w->record.preemptions, 12);
    w->read = w->sent_count;
    world_free(w);
}

static void the_living_have_a_story_too_oldest_first(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t ms = NS_PER_MS, born = w->now_ns;
    core_record alive[3];
    assert_int_equal(core_alive(w->core, w->now_ns, alive, 3), 0);
    uint64_t first = prefilled(w), second = submit(w, 20, 30);
    pass(w, 4);
    assert_int_equal(core_alive(w->core, w->now_ns, NULL, 0), 0);
    assert_int_equal(core_alive(w->core, w->now_ns, alive, 1), 1);
    assert_int_equal(alive[0].req, first);
    assert_int_equal(core_alive(w->core, w->now_ns, alive, 3), 2);
    assert_int_equal(alive[1].req, second);
    assert_int_equal(alive[1].state, REQ_WAIT_PREFILL);
    assert_int_equal(alive[1].end_ns, born + 7 * ms);
    w->record = alive[0];
    const core_span want[] = {
        {born, 0, STAGE_QUEUE}, {born + ms, 1, STAGE_PREFILL}, {born + 3 * ms, 1, STAGE_HANDOFF}};
    assert_spans(w, want, ARRAY_LEN(want));
    assert_int_equal(alive[0].state, REQ_WAIT_KV);
    assert_int_equal(alive[0].first_token_ns, born + 3 * ms);
    assert_int_equal(w->records, 0);
    world_free(w);
}

static void hand_offs_that_go_on_are_told_oldest_first(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    core_handoff h[2] = {{0}};
    assert_int_equal(core_handoffs(w->core, w->now_ns, h, 2), 0);
    uint64_t first = prefilled(w);
    pass(w, 5);
    uint64_t second = submit(w, 20, 30); /* its KV is under way before its prompt is computed */
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    answer(w, D, CTL_RESERVED, second, 1);
    expect(w, P, CTL_DEST);
    pass(w, 6);
    assert_int_equal(core_handoffs(w->core, w->now_ns, h, 2), 2);
    assert_int_equal(h[0].req, first);
    assert_int_equal(h[0].age_ns, 13 * NS_PER_MS); /* since DEST, two before its first token */
    assert_string_equal(h[0].prefill, "prefill-0");
    assert_string_equal(h[0].decode, "decode-0");
    assert_int_equal(h[1].req, second);
    assert_int_equal(h[1].age_ns, 6 * NS_PER_MS);
    h[0].req = h[1].req = 0;
    assert_int_equal(core_handoffs(w->core, w->now_ns, h, 1), 2);
    assert_int_equal(h[0].req, first);
    assert_int_equal(h[1].req, 0);
    assert_int_equal(core_handoffs(w->core, w->now_ns, NULL, 0), 2);
    core_cancel(w->core, first, w->now_ns);
    core_cancel(w->core, second, w->now_ns);
    w->read = w->sent_count;
    world_free(w);
}

static void the_steps_of_a_heartbeat_are_passed_on_and_not_kept(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    ctl_step *steps = xcalloc(3, sizeof *steps);
    ctl_msg m = {.kind = CTL_HEARTBEAT, .free_pages = 50, .heartbeat = {.steps = steps, .step_count = 3}};
    say(w, D, m);
    free(steps);
    expect(w, D, CTL_ACK);
    assert_int_equal(w->steps, 3);
    assert_int_equal(w->steps_of, 2);
    core_worker_info info;
    assert_true(core_worker(w->core, 1, w->now_ns, &info));
    assert_null(info.beat.steps);
    assert_int_equal(info.beat.step_count, 0);
    world_free(w);
}

static void steps_that_no_heartbeat_told_are_summed(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    ctl_msg m = {.kind = CTL_HEARTBEAT, .free_pages = 50, .heartbeat = {.steps_left_out = 4}};
    say(w, D, m);
    m.heartbeat.steps_left_out = 3;
    say(w, D, m);
    assert_int_equal(w->steps_left_out, 7);
    core_worker_info info;
    assert_true(core_worker(w->core, 1, w->now_ns, &info));
    assert_int_equal(info.steps_left_out, 7);
    w->read = w->sent_count;
    world_free(w);
}

static void no_two_members_have_a_number_with_the_same_place_in_a_table(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    for (uint32_t number = 3; number <= WORKERS_MAX; number++) {
        join(w, D, join_of(ROLE_DECODE, "decode-0", 11));
        assert_int_equal(w->steps_of, number);
        w->read = w->sent_count = 0;
    }
    join(w, D, join_of(ROLE_DECODE, "decode-0", 11));
    assert_int_equal(w->steps_of, WORKERS_MAX + 2); /* the place of WORKERS_MAX + 1 is P's */
    beat(w, P, 50);
    assert_int_equal(w->steps_of, 1);
    world_free(w);
}

int main(void) {
    log_setup(LOG_ERROR, "core_record_test");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_tells_every_stage_with_its_worker),
        cmocka_unit_test(a_replay_is_a_second_round_of_stages),
        cmocka_unit_test(of_too_many_stages_the_last_that_fits_goes_on),
        cmocka_unit_test(the_living_have_a_story_too_oldest_first),
        cmocka_unit_test(hand_offs_that_go_on_are_told_oldest_first),
        cmocka_unit_test(the_steps_of_a_heartbeat_are_passed_on_and_not_kept),
        cmocka_unit_test(steps_that_no_heartbeat_told_are_summed),
        cmocka_unit_test(no_two_members_have_a_number_with_the_same_place_in_a_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
