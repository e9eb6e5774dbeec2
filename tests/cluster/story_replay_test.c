/* Stories of replays: how soon a stream goes on whose worker was lost. */
#include "story.h"

static void a_replay_is_computed_while_there_is_no_d_and_the_next_one_takes_it_over(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 1, 0);
    sim_client *c = submit(s, 40, 20);
    UNTIL(s, c->got == 7);
    sim_kill(s, 1);
    UNTIL(s, c->got == 8); /* from P */
    assert_int_equal(state_of(s, c), REQ_WAIT_KV);
    assert_int_equal(s->seen.to_worker[CTL_PREFILL], 2);
    run_for(s, NS_PER_S);
    sim_restart(s, 1);
    UNTIL(s, sim_member(s, 1));
    UNTIL(s, c->ended);
    assert_done(c);
    assert_int_equal(c->times.replays, 1);
    assert_int_equal(s->seen.to_worker[CTL_PREFILL], 2);
    all_over(s);
}

static void a_replay_for_which_no_d_comes_ends_at_its_deadline_and_holds_nothing(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 1, 0);
    sim_client *c = submit(s, 40, 20), *new = submit(s, 40, 20);
    UNTIL(s, c->got == 7);
    sim_kill(s, 1);
    UNTIL(s, c->ended && new->ended);
    assert_int_equal(c->end.state, REQ_FAILED);
    assert_int_equal(c->end.st, ST_PEER);
    assert_string_equal(c->why, "there was no decode worker within 60000 ms: start one, or try again later");
    run_for(s, 2 * NS_PER_S);
    assert_int_equal(sim_pages_used(s, P0), 0);
    all_over(s);
}

/* Two prompts fill what P may be assigned, a third one is in the queue. */
static void a_replay_waits_for_the_step_that_runs_and_for_no_other_prompt(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 2, 0);
    sim_client *c = submit(s, 40, 20), *others[3];
    UNTIL(s, c->got == 7);
    for (int i = 0; i < 3; i++) others[i] = submit(s, 64, 8);
    UNTIL(s, s->seen.to_worker[CTL_PREFILL] == 3);
    uint64_t steps = s->seen.steps;
    sim_kill(s, 1);
    UNTIL(s, c->got == 8);
    assert_int_equal(s->seen.steps - steps, 3); /* that one, and two for 47 rows in chunks of 32 */
    for (int i = 0; i < 3; i++) assert_int_equal(others[i]->got, 0);
    for (int i = 0; i < 3; i++) UNTIL(s, others[i]->ended);
    UNTIL(s, c->ended);
    assert_done(c);
    assert_int_equal(c->times.replays, 1);
    all_over(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_replay_is_computed_while_there_is_no_d_and_the_next_one_takes_it_over),
        cmocka_unit_test(a_replay_for_which_no_d_comes_ends_at_its_deadline_and_holds_nothing),
        cmocka_unit_test(a_replay_waits_for_the_step_that_runs_and_for_no_other_prompt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
