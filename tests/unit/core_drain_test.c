/* The core and workers that are to leave: no new work, EXIT when nothing is held, and back again. */
#include "core_world.h"

static member_state state_of(const world *w, uint32_t index) {
    core_worker_info info;
    assert_true(core_worker(w->core, index, w->now_ns, &info));
    return info.state;
}

static uint32_t called(const world *w, const char *worker) {
    uint32_t index = 0;
    assert_int_equal(core_worker_called(w->core, worker, &index, NULL), ST_OK);
    return index;
}

static void ask_to_drain(world *w, uint64_t conn) {
    ctl_msg m = {.kind = CTL_HEARTBEAT, .free_pages = 50, .heartbeat = {.drain = true}};
    say(w, conn, m);
    expect(w, conn, CTL_ACK);
}

static void a_worker_that_asks_is_drained_once_and_told_to_exit_when_nothing_is_held(void **state) {
    (void)state;
    world *w = cluster(options(), true);
    uint64_t req = decoding(w);
    ask_to_drain(w, D);
    expect(w, D, CTL_DRAIN);
    assert_int_equal(state_of(w, 1), MEMBER_DRAINING);
    ask_to_drain(w, D); /* every heartbeat asks */
    expect_nothing(w);
    uint64_t other = submit(w, 20, 4);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D2, CTL_RESERVE); /* not the drained one */
    core_cancel(w->core, other, w->now_ns);
    expect(w, D2, CTL_CANCEL);
    expect(w, P, CTL_CANCEL);
    token(w, D, req, 1, 1, 101, FINISH_EOS);
    say(w, D, (ctl_msg){.kind = CTL_DRAINED, .free_pages = 50});
    expect(w, D, CTL_EXIT);
    core_conn_lost(w->core, D, "closed", w->now_ns);
    turn(w);
    expect_nothing(w);
    core_counters k;
    core_counters_of(w->core, &k);
    assert_int_equal(k.workers_lost, 0);
    assert_int_equal(k.workers_left, 1);
    assert_int_equal(k.finished[FINISH_EOS], 1);
    assert_int_equal(k.replays, 0);
    world_free(w);
}

static void kv_parked_at_a_drained_prefill_worker_is_handed_over(void **state) {
    (void)state;
    world *w = world_new(options());
    ctl_join small = join_of(ROLE_DECODE, "decode-0", 11);
    small.max_seqs = 1;
    join(w, P, join_of(ROLE_PREFILL, "prefill-0", 10));
    join(w, D, small);
    uint64_t first = decoding(w);
    uint64_t parked = submit(w, 20, 4);
    turn(w);
    expect(w, P, CTL_PREFILL);
    token(w, P, parked, 1, 0, 100, FINISH_NONE);
    core_drain(w->core, called(w, "prefill-0"), w->now_ns);
    expect(w, P, CTL_DRAIN);
    (void)submit(w, 20, 4);
    turn(w);
    expect_nothing(w); /* neither a prompt for P nor a place at D */
    token(w, D, first, 1, 1, 101, FINISH_EOS);
    turn(w);
    assert_int_equal(expect(w, D, CTL_RESERVE)->req, parked);
    answer(w, D, CTL_RESERVED, parked, 1);
    assert_int_equal(expect(w, P, CTL_DEST)->req, parked);
    answer(w, D, CTL_VERIFIED, parked, 1);
    expect(w, P, CTL_RELEASE);
    answer(w, P, CTL_CLOSED, parked, 1);
    say(w, P, (ctl_msg){.kind = CTL_DRAINED, .free_pages = 50});
    expect(w, P, CTL_EXIT);
    world_free(w);
}

static void undrain_gives_it_work_again(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    core_worker_info info;
    assert_true(core_worker(w->core, 1, w->now_ns, &info));
    char id[CORE_WORKER_ID_MAX];
    core_worker_id(info.incarnation, id);
    core_drain(w->core, called(w, id), w->now_ns); /* by its id */
    expect(w, D, CTL_DRAIN);
    uint64_t req = submit(w, 20, 4);
    turn(w);
    expect_nothing(w); /* no D: passed over */
    assert_int_equal(core_request_state(w->core, req), REQ_WAIT_PREFILL);
    assert_int_equal(core_undrain(w->core, called(w, "decode-0"), w->now_ns, NULL), ST_OK);
    assert_int_equal(state_of(w, 1), MEMBER_READY);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    say(w, D, (ctl_msg){.kind = CTL_DRAINED, .free_pages = 50}); /* it had been idle before RESERVE came */
    expect_nothing(w);
    core_drain(w->core, called(w, "decode-0"), w->now_ns);
    expect(w, D, CTL_DRAIN);
    say(w, D, (ctl_msg){.kind = CTL_DRAINED, .free_pages = 50}); /* the same, later still: it holds work */
    expect_nothing(w);
    core_cancel(w->core, req, w->now_ns);
    expect(w, D, CTL_CANCEL);
    expect(w, P, CTL_CANCEL);
    answer(w, D, CTL_CLOSED, req, 1);
    say(w, D, (ctl_msg){.kind = CTL_DRAINED, .free_pages = 50});
    expect(w, D, CTL_EXIT);
    errbuf eb = {0};
    assert_int_equal(core_undrain(w->core, called(w, "decode-0"), w->now_ns, &eb), ST_INVALID);
    assert_string_equal(eb.text, "decode-0 has been told to leave already");
    world_free(w);
}

static void who_asked_to_leave_or_is_not_here_cannot_be_kept(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    errbuf eb = {0};
    uint32_t index = 77;
    assert_int_equal(core_worker_called(w->core, "decode-7", &index, &eb), ST_INVALID);
    assert_int_equal(index, 77);
    assert_string_equal(eb.text, "no worker is called decode-7: baton-ctl workers lists those that are here");
    assert_int_equal(core_undrain(w->core, called(w, "decode-0"), w->now_ns, &eb),
                     ST_OK); /* it does not drain */
    ask_to_drain(w, D);
    expect(w, D, CTL_DRAIN);
    assert_int_equal(core_undrain(w->core, called(w, "decode-0"), w->now_ns, &eb), ST_INVALID);
    assert_string_equal(eb.text, "decode-0 was asked to stop where it runs (SIGTERM): start it again there");
    assert_int_equal(state_of(w, 1), MEMBER_DRAINING);
    world_free(w);
}

int main(void) {
    log_setup(LOG_ERROR, "core_drain_test");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_that_asks_is_drained_once_and_told_to_exit_when_nothing_is_held),
        cmocka_unit_test(kv_parked_at_a_drained_prefill_worker_is_handed_over),
        cmocka_unit_test(undrain_gives_it_work_again),
        cmocka_unit_test(who_asked_to_leave_or_is_not_here_cannot_be_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
