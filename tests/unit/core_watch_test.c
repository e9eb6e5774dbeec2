/* What the coordinator's core tells those who look on: events with their reasons, retries by why, what stands
 * still, and what is held where. */
#include "core_world.h"

static core_counters counters(const world *w) {
    core_counters n;
    core_counters_of(w->core, &n);
    return n;
}

static core_worker_info info(const world *w, uint32_t index) {
    core_worker_info i;
    assert_true(core_worker(w->core, index, w->now_ns, &i));
    return i;
}

static core_holding holding(const world *w, uint32_t index) {
    core_holding h;
    core_holding_of(w->core, index, &h);
    return h;
}

static void joins_and_ends_of_workers_are_told_with_their_reasons(void **state) {
    (void)state;
    world *w = cluster(options(), true);
    assert_string_equal(w->events, "join prefill-0 -: \nready prefill-0 -: \njoin decode-0 -: \n"
                                   "ready decode-0 -: \njoin decode-1 -: \nready decode-1 -: \n");
    w->events[0] = 0;
    ctl_join other = join_of(ROLE_DECODE, "decode-2", 13);
    other.numerics = f32;
    core_message(w->core, 9, &(ctl_msg){.kind = CTL_JOIN, .join = other}, w->now_ns);
    expect(w, 9, CTL_REFUSED);
    w->now_ns += 2 * NS_PER_S;
    beat(w, P, 50); /* what was said before the turn is heard before it */
    beat(w, D2, 50);
    (void)core_turn(w->core, w->now_ns); /* the loop slept: nobody's silence */
    w->now_ns += 250 * NS_PER_MS;
    for (uint32_t i = 0; i < 8; i++) {
        beat(w, P, 50);
        beat(w, D2, 50);
        w->now_ns += 250 * NS_PER_MS;
        (void)core_turn(w->core, w->now_ns);
    }
    core_conn_lost(w->core, D2, "connection lost", w->now_ns);
    turn(w);
    assert_string_equal(
        w->events, "refused decode-2 kv_dtype: f32 here and f16 on prefill-0: start it with the same, or set "
                   "cluster.mixed_numerics\n"
                   "suspect decode-0 -: it is silent\n"
                   "gone decode-1 -: connection lost\n");
    core_counters n = counters(w);
    assert_int_equal(n.workers_joined, 3);
    assert_int_equal(n.workers_lost, 1);
    w->read = w->sent_count;
    world_free(w);
}

static void a_drained_worker_leaves_and_that_is_no_loss(void **state) {
    (void)state;
    world *w = cluster(options(), true);
    w->events[0] = 0;
    errbuf eb = {0};
    core_drain(w->core, 1, w->now_ns);
    assert_int_equal(core_undrain(w->core, 1, w->now_ns, &eb), ST_OK);
    core_drain(w->core, 1, w->now_ns);
    say(w, D, (ctl_msg){.kind = CTL_DRAINED, .free_pages = 50});
    core_conn_lost(w->core, D, "connection lost", w->now_ns);
    turn(w);
    assert_string_equal(w->events, "drain decode-0 -: a client asked for it\nundrain decode-0 -: \n"
                                   "drain decode-0 -: a client asked for it\n"
                                   "left decode-0 -: connection lost\n");
    w->read = w->sent_count;
    world_free(w);
}

static void a_replay_and_an_aborted_hand_off_name_worker_request_and_why(void **state) {
    (void)state;
    world *w = cluster(options(), true);
    uint64_t req = decoding(w);
    w->events[0] = 0;
    core_conn_lost(w->core, D, "connection lost", w->now_ns);
    turn(w);
    assert_string_equal(w->events,
                        "gone decode-0 -: connection lost\n"
                        "replay decode-0 req=1.1 death: decode worker decode-0 is gone: connection "
                        "lost\n");
    expect(w, P, CTL_PREFILL);
    expect(w, D2, CTL_RESERVE);
    answer(w, D2, CTL_RESERVED, req, 2);
    expect(w, P, CTL_DEST);
    token(w, P, req, 2, 1, 101, FINISH_NONE);
    w->events[0] = 0;
    say(w, D2,
        (ctl_msg){
            .kind = CTL_HANDOFF_FAILED, .req = req, .attempt = 2, .failed = {.segment = 3, .why = "sum"}});
    assert_string_equal(w->events, "handoff_abort decode-1 req=1.2 handoff_failed: the hand-off failed at "
                                   "decode-1, segment 3: sum\n");
    w->events[0] = 0;
    w->now_ns += 61 * NS_PER_S;
    say(w, P, (ctl_msg){.kind = CTL_HEARTBEAT, .free_pages = 40});
    say(w, D2, (ctl_msg){.kind = CTL_HEARTBEAT, .free_pages = 1});
    (void)core_turn(w->core, w->now_ns);
    assert_string_equal(w->events,
                        "request_failed prefill-0 req=1.3 ST_TIMEOUT: no decode worker had taken over "
                        "the KV cache within 61000 ms\n"); /* so long it was, whatever the limit */
    core_counters n = counters(w);
    assert_int_equal(n.retries[RETRY_DEATH], 1);
    assert_int_equal(n.retries[RETRY_HANDOFF], 1);
    assert_int_equal(n.retries[RETRY_TIMEOUT], 0);
    assert_int_equal(n.retries[RETRY_FAILED], 0);
    w->read = w->sent_count;
    world_free(w);
}

static void retries_are_counted_by_why(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = decoding(w);
    answer(w, D, CTL_PREEMPTED, req, 1);
    turn(w);
    expect(w, P, CTL_PREFILL);
    answer(w, P, CTL_NO_ROOM, req, 2);
    core_counters n = counters(w);
    assert_int_equal(n.retries[RETRY_PREEMPTED], 1);
    assert_int_equal(n.retries[RETRY_NO_ROOM], 1);
    assert_int_equal(n.retries[RETRY_DEATH], 0);
    assert_non_null(strstr(w->events, "replay decode-0 req=1.1 preempted: it was preempted\n"));
    assert_null(strstr(w->events, "no_room")); /* nothing ran */
    w->read = w->sent_count;
    world_free(w);
}

static void stale_messages_are_counted_by_kind_and_the_drops_that_answer_them(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    token(w, D, 77, 1, 0, 5, FINISH_NONE);
    answer(w, D, CTL_VERIFIED, 78, 1);
    answer(w, D, CTL_VERIFIED, 79, 1);
    core_counters n = counters(w);
    assert_int_equal(n.stale_messages, 3);
    assert_int_equal(n.stale_kinds[CTL_TOKENS], 1);
    assert_int_equal(n.stale_kinds[CTL_VERIFIED], 2);
    assert_int_equal(n.drops_sent, 3);
    w->read = w->sent_count;
    world_free(w);
}

static void what_is_held_is_told_by_what_becomes_of_it(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = submit(w, 20, 30); /* 2 pages at P, 2 at D */
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    core_holding p = holding(w, 0), d = holding(w, 1);
    assert_int_equal(p.computing, 1);
    assert_int_equal(p.pages_pinned, 0);
    assert_int_equal(d.reserved, 1);
    assert_int_equal(d.pages_reserved, 2);
    answer(w, D, CTL_NO_ROOM, req, 1);
    token(w, P, req, 1, 0, 100, FINISH_NONE);
    uint64_t parked_ns = w->now_ns;
    w->now_ns += NS_PER_S;
    p = holding(w, 0);
    core_counters n = counters(w);
    assert_int_equal(p.parked, 1);
    assert_int_equal(p.pages_pinned, 2);
    assert_int_equal(holding(w, 1).reserved, 0);
    assert_int_equal(n.parked, 1);
    assert_int_equal(n.parked_bytes, 2 * KV_PAGE_TOKENS * 64);
    assert_int_equal(n.parked_since_ns, parked_ns);
    beat(w, P, 48);
    beat(w, D, 50);
    turn(w);
    expect(w, D, CTL_RESERVE);
    answer(w, D, CTL_RESERVED, req, 1);
    expect(w, P, CTL_DEST);
    assert_int_equal(holding(w, 0).sending, 1);
    assert_int_equal(counters(w).parked, 0);
    assert_int_equal(counters(w).parked_since_ns, 0);
    assert_int_equal(counters(w).pages_pinned, 2);
    answer(w, D, CTL_VERIFIED, req, 1);
    expect(w, P, CTL_RELEASE);
    assert_int_equal(holding(w, 0).closing, 1);
    assert_int_equal(holding(w, 1).decoding, 1);
    answer(w, P, CTL_CLOSED, req, 1);
    p = holding(w, 0);
    assert_int_equal(p.computing + p.parked + p.sending + p.reserved + p.decoding + p.closing, 0);
    world_free(w);
}

static void running(world *w, uint64_t conn, uint64_t step, uint64_t age_ns) {
    say(w, conn,
        (ctl_msg){.kind = CTL_HEARTBEAT,
                  .free_pages = 48,
                  .heartbeat = {.step = step, .step_age_ns = age_ns, .running = 1, .pages_used = 2}});
    expect(w, conn, CTL_ACK);
}

static void a_worker_with_work_that_does_not_get_on_stands(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    w->now_ns += NS_PER_S;
    assert_false(info(w, 1).has_work); /* idle is not standing */
    assert_int_equal(info(w, 1).standing_ns, 0);
    assert_true(info(w, 1).token_age_ns == UINT64_MAX);
    (void)decoding(w);
    uint64_t token_ns = w->now_ns;
    w->now_ns += 250 * NS_PER_MS;
    running(w, D, 5, 0);
    assert_true(info(w, 1).has_work);
    assert_int_equal(info(w, 1).standing_ns, 0);
    w->now_ns += NS_PER_S;
    running(w, D, 6, 100 * NS_PER_MS); /* another step, whose operation ended then */
    assert_int_equal(info(w, 1).standing_ns, 100 * NS_PER_MS);
    w->now_ns += NS_PER_S;
    running(w, D, 6, 1100 * NS_PER_MS); /* the same, as old as it says */
    assert_int_equal(info(w, 1).standing_ns, 1100 * NS_PER_MS);
    w->now_ns += 250 * NS_PER_MS;
    running(w, D, 6, 10 * NS_PER_MS); /* an operation of it ended */
    assert_int_equal(info(w, 1).standing_ns, 10 * NS_PER_MS);
    w->now_ns += NS_PER_S;
    running(w, D, 6, 0); /* between steps, and none begins: it lives, and does nothing */
    assert_int_equal(info(w, 1).standing_ns, 1010 * NS_PER_MS);
    assert_int_equal(info(w, 1).silence_ns, 0);
    assert_int_equal(info(w, 1).token_age_ns, w->now_ns - token_ns);
    token(w, D, 1, 1, 1, 7, FINISH_NONE);
    assert_int_equal(info(w, 1).standing_ns, 0);
    assert_int_equal(info(w, 1).token_age_ns, 0);
    world_free(w);
}

static void parked_kv_is_no_work_of_its_prefill_worker(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = submit(w, 20, 30);
    turn(w);
    assert_true(info(w, 0).has_work);
    w->now_ns += NS_PER_S;
    assert_int_equal(info(w, 0).standing_ns, NS_PER_S); /* it was asked, and has not begun */
    answer(w, D, CTL_NO_ROOM, req, 1);
    token(w, P, req, 1, 0, 100, FINISH_NONE);
    w->now_ns += NS_PER_S;
    assert_false(info(w, 0).has_work);
    assert_int_equal(info(w, 0).standing_ns, 0);
    w->read = w->sent_count;
    world_free(w);
}

int main(void) {
    log_setup(LOG_ERROR, "core_watch_test");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joins_and_ends_of_workers_are_told_with_their_reasons),
        cmocka_unit_test(a_drained_worker_leaves_and_that_is_no_loss),
        cmocka_unit_test(a_replay_and_an_aborted_hand_off_name_worker_request_and_why),
        cmocka_unit_test(retries_are_counted_by_why),
        cmocka_unit_test(stale_messages_are_counted_by_kind_and_the_drops_that_answer_them),
        cmocka_unit_test(what_is_held_is_told_by_what_becomes_of_it),
        cmocka_unit_test(a_worker_with_work_that_does_not_get_on_stands),
        cmocka_unit_test(parked_kv_is_no_work_of_its_prefill_worker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
