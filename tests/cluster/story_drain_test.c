/* Stories of workers that are to leave: they finish what they have. */
#include "story.h"

#include "base/log.h"

static uint32_t called(const sim *s, const char *name) {
    uint32_t index = 0;
    assert_int_equal(core_worker_called(s->core, name, &index, NULL), ST_OK);
    return index;
}

static void a_drained_worker_finishes_what_it_has_and_leaves(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 2, 0);
    sim_client *c = submit(s, 40, 20);
    UNTIL(s, c->got == 3);
    core_drain(s->core, called(s, "decode-0"), s->now_ns);
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

/* SIGTERM to one D of two in the middle of six streams. */
static void a_decode_worker_that_is_asked_to_stop_ends_with_its_streams_complete(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 2, 0);
    for (int i = 0; i < 6; i++) submit(s, 30, 25);
    UNTIL(s, s->clients[5]->got > 3);
    uint64_t asked_ns = s->now_ns;
    sim_term(s, 1, 30 * NS_PER_S);
    UNTIL(s, !sim_alive(s, 1));
    assert_true(s->now_ns - asked_ns < NS_PER_S);
    for (uint32_t i = 0; i < s->client_count; i++) UNTIL(s, s->clients[i]->ended);
    for (uint32_t i = 0; i < s->client_count; i++) {
        assert_done(s->clients[i]);
        assert_int_equal(s->clients[i]->times.replays, 0);
    }
    core_counters k;
    core_counters_of(s->core, &k);
    assert_int_equal(k.workers_lost, 0);
    assert_int_equal(s->seen.to_worker[CTL_EXIT], 1);
    sim_client *after = submit(s, 30, 5);
    UNTIL(s, after->ended);
    assert_done(after); /* by the other one */
    all_over(s);
}

/* The only D is full, so the KV of the last request is parked at the P that is asked to stop. */
static void a_prefill_worker_that_is_asked_to_stop_hands_its_parked_kv_over(void **state) {
    (void)state;
    sim_options o = sim_defaults();
    o.max_seqs = 2;
    sim *s = cluster(o, 1, 1, 0);
    for (int i = 0; i < 3; i++) submit(s, 30, 25);
    UNTIL(s, s->clients[2]->got == 1);
    assert_int_equal(state_of(s, s->clients[2]), REQ_WAIT_KV);
    sim_term(s, P0, 30 * NS_PER_S);
    run_for(s, 50 * MS);
    assert_true(sim_alive(s, P0)); /* it keeps the pages until D has them */
    UNTIL(s, !sim_alive(s, P0));
    assert_int_equal(state_of(s, s->clients[2]), REQ_DECODE);
    for (uint32_t i = 0; i < s->client_count; i++) UNTIL(s, s->clients[i]->ended);
    for (uint32_t i = 0; i < s->client_count; i++) {
        assert_done(s->clients[i]);
        assert_int_equal(s->clients[i]->times.attempts, 1);
    }
    all_over(s);
}

static void a_drain_that_takes_too_long_ends_and_others_go_on_by_replay(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 2, 0);
    sim_client *c = submit(s, 30, 100);
    UNTIL(s, c->got == 10);
    sim_term(s, 1, 200 * MS);
    run_for(s, 190 * MS);
    assert_true(sim_alive(s, 1));
    run_for(s, 20 * MS);
    assert_false(sim_alive(s, 1));
    assert_false(c->ended);
    UNTIL(s, c->ended);
    assert_done(c);
    assert_int_equal(c->times.replays, 1);
    all_over(s);
}

static void undrain_before_it_has_left_makes_it_ready_again(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 1, 0);
    sim_client *c = submit(s, 30, 40);
    UNTIL(s, c->got == 5);
    core_drain(s->core, called(s, "decode-0"), s->now_ns);
    sim_client *next = submit(s, 30, 5);
    run_for(s, 100 * MS);
    assert_int_equal(state_of(s, next), REQ_WAIT_PREFILL);
    assert_int_equal(core_undrain(s->core, called(s, "decode-0"), s->now_ns, NULL), ST_OK);
    UNTIL(s, c->ended && next->ended);
    assert_done(c);
    assert_done(next);
    run_for(s, NS_PER_S);
    assert_true(sim_member(s, 1));
    assert_int_equal(s->seen.to_worker[CTL_EXIT], 0);
    all_over(s);
}

/* What mpirun does when it stops: all get SIGTERM, the coordinator among them. */
static void workers_that_drain_leave_at_once_when_the_coordinator_says_exit(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 1, 1);
    for (int i = 0; i < 4; i++) submit(s, 30, 200);
    UNTIL(s, s->clients[3]->got > 3);
    for (uint32_t w = 0; w < s->proc_count; w++) sim_term(s, w, 30 * NS_PER_S);
    core_exit_all(s->core, s->now_ns);
    run_for(s, 10 * MS);
    for (uint32_t w = 0; w < s->proc_count; w++) assert_false(sim_alive(s, w));
    for (uint32_t i = 0; i < s->client_count; i++) sim_cancel(s, s->clients[i]);
    all_over(s);
}

int main(void) {
    log_setup(LOG_ERROR, "story");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_drained_worker_finishes_what_it_has_and_leaves),
        cmocka_unit_test(a_decode_worker_that_is_asked_to_stop_ends_with_its_streams_complete),
        cmocka_unit_test(a_prefill_worker_that_is_asked_to_stop_hands_its_parked_kv_over),
        cmocka_unit_test(a_drain_that_takes_too_long_ends_and_others_go_on_by_replay),
        cmocka_unit_test(undrain_before_it_has_left_makes_it_ready_again),
        cmocka_unit_test(workers_that_drain_leave_at_once_when_the_coordinator_says_exit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
