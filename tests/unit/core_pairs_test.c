/* Workers of the two roles are introduced to each other, and what became of their pairs is kept. */
#include "tests/unit/core_world.h"

#include "coordinator/pairs.h"

#define P2 4u

static core_options trying(void) {
    core_options o = options();
    o.try_pairs = true;
    return o;
}

static void told(world *w, uint64_t conn, ctl_pair pair) {
    say(w, conn, (ctl_msg){.kind = CTL_PAIR, .pair = pair});
}

static uint32_t pair_count(const world *w) {
    uint32_t n = 0;
    core_pair_info p;
    while (core_pair(w->core, n, &p)) n++;
    return n;
}

static void a_prefill_worker_hears_of_each_decode_worker_once_both_work(void **state) {
    (void)state;
    world *w = world_new(trying());
    join(w, P, join_of(ROLE_PREFILL, "p", 1));
    join(w, D, join_of(ROLE_DECODE, "d", 2));
    assert_int_equal(expect(w, P, CTL_PEER)->d_inc, w->incarnation[D]);
    join(w, D2, join_of(ROLE_DECODE, "d2", 3));
    assert_int_equal(expect(w, P, CTL_PEER)->d_inc, w->incarnation[D2]);
    join(w, P2, join_of(ROLE_PREFILL, "p2", 4));
    assert_int_equal(expect(w, P2, CTL_PEER)->d_inc, w->incarnation[D]);
    assert_int_equal(expect(w, P2, CTL_PEER)->d_inc, w->incarnation[D2]);
    expect_nothing(w);
    world_free(w);
}

static void nobody_is_introduced_when_that_is_off(void **state) {
    (void)state;
    world *w = cluster(options(), true);
    for (uint32_t i = 0; i < w->sent_count; i++) assert_int_not_equal(w->sent[i].kind, CTL_PEER);
    world_free(w);
}

static void what_became_of_a_pair_is_kept_while_both_live(void **state) {
    (void)state;
    world *w = world_new(trying());
    join(w, P, join_of(ROLE_PREFILL, "p", 1));
    join(w, D, join_of(ROLE_DECODE, "d", 2));
    core_pair_info p;
    assert_false(core_pair(w->core, 0, &p));
    told(w, P,
         (ctl_pair){.d_inc = w->incarnation[D],
                    .transport = "shm",
                    .open = true,
                    .latency_ns = 20000,
                    .bytes_per_s = 5000000000,
                    .why = ""});
    assert_true(core_pair(w->core, 0, &p));
    assert_string_equal(p.fact->transport, "shm");
    assert_true(p.fact->open);
    assert_int_equal(p.fact->latency_ns, 20000);
    assert_int_equal(p.fact->bytes_per_s, 5000000000);
    assert_non_null(p.prefill);
    assert_non_null(p.decode);

    told(w, P, (ctl_pair){.d_inc = w->incarnation[D], .transport = "shm", .why = "the connection is lost"});
    assert_int_equal(pair_count(w), 1);
    assert_true(core_pair(w->core, 0, &p));
    assert_false(p.fact->open);
    assert_string_equal(p.fact->why, "the connection is lost");
    assert_int_equal(p.fact->latency_ns, 20000); /* as it was when it was tried */

    told(w, P, (ctl_pair){.d_inc = w->incarnation[D], .transport = "zmq", .open = true, .why = ""});
    assert_true(core_pair(w->core, 0, &p));
    assert_int_equal(p.fact->latency_ns, 0); /* nobody measured this way */
    assert_int_equal(p.fact->bytes_per_s, 0);

    told(w, P, (ctl_pair){.d_inc = 12345, .transport = "shm", .open = true, .why = ""}); /* of nobody */
    assert_int_equal(pair_count(w), 1);
    core_conn_lost(w->core, D, "it died", w->now_ns);
    turn(w);
    assert_int_equal(pair_count(w), 0);
    told(w, P, (ctl_pair){.d_inc = w->incarnation[D], .transport = "shm", .why = "the connection is lost"});
    assert_int_equal(pair_count(w), 0);
    world_free(w);
}

static void workers_of_the_other_role_hear_that_one_is_gone(void **state) {
    (void)state;
    world *w = world_new(options());
    join(w, P, join_of(ROLE_PREFILL, "p", 1));
    join(w, D, join_of(ROLE_DECODE, "d", 2));
    join(w, D2, join_of(ROLE_DECODE, "d2", 3));
    core_conn_lost(w->core, D, "it died", w->now_ns);
    turn(w);
    assert_true(w->mourned[P] == w->incarnation[D]);
    assert_true(w->mourned[D2] == 0);
    core_conn_lost(w->core, P, "it died", w->now_ns);
    turn(w);
    assert_true(w->mourned[D2] == w->incarnation[P]);
    world_free(w);
}

static void more_pairs_than_are_kept_are_left_out(void **state) {
    (void)state;
    pairs all = {0};
    for (uint64_t i = 1; i <= PAIRS_MAX + 5; i++)
        pairs_put(&all, 1, &(ctl_pair){.d_inc = i, .transport = "zmq", .open = true});
    assert_int_equal(all.count, PAIRS_MAX);
    pairs_forget(&all, 7);
    assert_int_equal(all.count, PAIRS_MAX - 1);
    pairs_forget(&all, 1);
    assert_int_equal(all.count, 0);
    pairs_done(&all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prefill_worker_hears_of_each_decode_worker_once_both_work),
        cmocka_unit_test(nobody_is_introduced_when_that_is_off),
        cmocka_unit_test(what_became_of_a_pair_is_kept_while_both_live),
        cmocka_unit_test(workers_of_the_other_role_hear_that_one_is_gone),
        cmocka_unit_test(more_pairs_than_are_kept_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
