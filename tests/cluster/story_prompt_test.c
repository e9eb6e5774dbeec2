/* Stories of prompts whose log-probabilities are wanted: whatever is lost, each comes once and in order (the
 * simulated client judges that). */
#include "story.h"

#include "base/log.h"

static sim_client *score(sim *s, uint32_t prompt_count, uint32_t max_tokens) {
    sim_client *c = NULL;
    errbuf eb = {0};
    sim_ask ask = {.prompt_count = prompt_count,
                   .max_tokens = max_tokens,
                   .stop_at = -1,
                   .ignore_eos = true,
                   .score = true};
    assert_int_equal(sim_submit(s, &ask, &c, &eb), ST_OK);
    return c;
}

static void assert_scored(const sim_client *c) {
    assert_done(c);
    assert_int_equal(c->scored, c->prompt_count - 1);
}

static sim_options options(void) {
    sim_options o = sim_defaults();
    o.prefix_cache = o.core.prefix_cache = true;
    o.chunk_tokens = 64;
    return o;
}

/* ---- the good path ---- */

static void a_decode_worker_is_asked_only_when_all_of_the_prompt_is_told(void **state) {
    (void)state;
    sim *s = cluster(options(), 1, 1, 0);
    sim_client *c = score(s, 150, 8);
    UNTIL(s, c->scored > 0);
    assert_int_equal(c->scored, 64);
    UNTIL(s, c->scored == 149);
    assert_int_equal(s->seen.to_worker[CTL_RESERVE], 0);
    UNTIL(s, c->ended);
    assert_scored(c);
    assert_int_equal(s->seen.to_worker[CTL_RESERVE], 1);
    assert_int_equal(c->times.attempts, 1);
    all_over(s);
}

static void no_token_ends_with_the_prompt(uint32_t p, uint32_t d, uint32_t w) {
    sim *s = cluster(options(), p, d, w);
    for (uint32_t length = 1; length <= 150; length += 1 + length / 2) {
        sim_client *c = score(s, length, 0);
        UNTIL(s, c->ended);
        assert_scored(c);
        assert_int_equal(c->got, 0);
        assert_int_equal(c->end.fin, FINISH_LENGTH);
    }
    assert_int_equal(s->seen.to_worker[CTL_RESERVE], 0);
    assert_int_equal(s->seen.segments, 0);
    all_over(s);
}

static void a_request_of_no_token_is_never_handed_off(void **state) {
    (void)state;
    no_token_ends_with_the_prompt(1, 1, 0);
    no_token_ends_with_the_prompt(0, 0, 1);
}

static void a_prompt_that_is_known_is_computed_again_for_its_logprobs_only(void **state) {
    (void)state;
    sim *s = cluster(options(), 0, 0, 1);
    sim_client *again = NULL;
    sim_client *first = score(s, 100, 4);
    UNTIL(s, first->ended);
    for (int wanted = 0; wanted < 2; wanted++) {
        sim_ask ask = {.prompt_count = 10,
                       .max_tokens = 4,
                       .stop_at = -1,
                       .ignore_eos = true,
                       .score = wanted,
                       .after = first};
        assert_int_equal(sim_submit(s, &ask, &again, NULL), ST_OK);
        UNTIL(s, again->ended);
        if (wanted)
            assert_scored(again);
        else
            assert_done(again);
        assert_int_equal(again->cached, wanted ? 0 : 96);
    }
    all_over(s);
}

/* ---- a worker dies ---- */

static void kill_in_the_middle_of_the_prompt(uint32_t p, uint32_t d, uint32_t w, uint32_t max_tokens) {
    sim *s = cluster(options(), p, d, w);
    sim_client *c = score(s, 200, max_tokens);
    UNTIL(s, c->scored == 128);
    sim_kill(s, sim_pages_used(s, 0) > 0 ? 0 : 1);
    UNTIL(s, s->seen.to_coord[CTL_PROMPT] == 3);
    assert_int_equal(c->scored, 128); /* the first 64 again */
    UNTIL(s, c->ended);
    assert_scored(c);
    assert_int_equal(c->times.replays, 1);
    all_over(s);
}

static void a_worker_dies_with_half_a_prompt_told_and_another_one_tells_the_rest(void **state) {
    (void)state;
    for (uint32_t max_tokens = 0; max_tokens <= 8; max_tokens += 4) {
        kill_in_the_middle_of_the_prompt(2, 1, 0, max_tokens);
        kill_in_the_middle_of_the_prompt(0, 0, 2, max_tokens);
    }
}

/* So the replay may take it from the prefix cache. */
static void what_was_told_in_full_is_not_asked_for_again(void **state) {
    (void)state;
    sim *s = cluster(options(), 1, 2, 0);
    sim_client *c = score(s, 100, 20);
    UNTIL(s, c->got == 7);
    uint64_t told = s->seen.to_coord[CTL_PROMPT];
    assert_int_equal(told, 2);
    sim_kill(s, 1);
    sim_kill(s, 2);
    sim_restart(s, 1);
    UNTIL(s, c->ended);
    assert_scored(c);
    assert_int_equal(c->times.replays, 1);
    assert_int_equal(s->seen.to_coord[CTL_PROMPT], told);
    assert_int_equal(sim_stats(s, P0).cache_hits, 96);
    all_over(s);
}

/* Its last row is a step of its own, behind which no token of the prompt comes. */
static void a_request_of_no_token_of_which_only_the_end_was_lost_asks_for_that_alone(void **state) {
    (void)state;
    sim *s = cluster(options(), 2, 1, 0);
    sim_client *c = score(s, 129, 0);
    UNTIL(s, c->scored == 128);
    assert_false(c->ended);
    uint64_t told = s->seen.to_coord[CTL_PROMPT];
    sim_freeze(s, P0);
    UNTIL(s, c->ended);
    assert_scored(c);
    assert_int_equal(c->times.replays, 1);
    assert_int_equal(s->seen.to_coord[CTL_PROMPT], told + 1);
    sim_thaw(s, P0);
    all_over(s);
}

static void a_connection_that_broke_loses_no_logprob_and_repeats_none(void **state) {
    (void)state;
    for (uint64_t at_ms = 1; at_ms <= 60; at_ms += 4) {
        sim *s = cluster(options(), 1, 1, 0);
        sim_client *c = score(s, 200, 3);
        run_for(s, at_ms * MS);
        sim_cut_conn(s, P0);
        UNTIL(s, c->ended);
        assert_scored(c);
        all_over(s);
    }
}

/* ---- clients leave, too little memory, workers drain ---- */

static void cancel_when(uint32_t p, uint32_t d, uint32_t w, uint32_t max_tokens, uint32_t scored) {
    sim *s = cluster(options(), p, d, w);
    sim_client *c = score(s, 200, max_tokens);
    UNTIL(s, c->scored >= scored);
    sim_cancel(s, c);
    assert_int_equal(c->end.state, REQ_CANCELED);
    sim_client *next = score(s, 200, max_tokens);
    UNTIL(s, next->ended);
    assert_scored(next);
    all_over(s);
}

static void cancel_before_within_and_behind_the_prompt_frees_every_page(void **state) {
    (void)state;
    for (uint32_t max_tokens = 0; max_tokens <= 4; max_tokens += 4)
        for (uint32_t scored = 0; scored <= 128; scored += 64) {
            cancel_when(1, 1, 0, max_tokens, scored);
            cancel_when(0, 0, 1, max_tokens, scored);
        }
    cancel_when(1, 1, 0, 4, 199);
    cancel_when(0, 0, 1, 4, 199);
}

static void preempted_requests_tell_their_prompts_once(uint32_t p, uint32_t d, uint32_t w) {
    sim_options o = options();
    o.pages[ROLE_DECODE] = o.pages[ROLE_COLOCATED] = 16;
    sim *s = cluster(o, p, d, w);
    sim_client *c[4];
    uint32_t preemptions = 0;
    for (uint32_t i = 0; i < 4; i++) c[i] = score(s, 30, 150);
    for (uint32_t i = 0; i < 4; i++) UNTIL(s, c[i]->ended);
    for (uint32_t i = 0; i < 4; i++) {
        assert_scored(c[i]);
        preemptions += c[i]->times.preemptions;
    }
    assert_true(preemptions > 0);
    assert_int_equal(s->seen.to_coord[CTL_PROMPT], 4);
    all_over(s);
}

static void a_pool_that_is_too_small_preempts_and_tells_no_prompt_twice(void **state) {
    (void)state;
    preempted_requests_tell_their_prompts_once(1, 1, 0);
    preempted_requests_tell_their_prompts_once(0, 0, 1);
}

static void a_worker_that_is_asked_to_stop_tells_the_prompts_it_has_to_their_ends(void **state) {
    (void)state;
    for (uint32_t max_tokens = 0; max_tokens <= 4; max_tokens += 4) {
        sim *s = cluster(options(), 1, 1, 0);
        sim_client *c = score(s, 200, max_tokens);
        UNTIL(s, c->scored == 64);
        sim_term(s, P0, 30 * NS_PER_S);
        UNTIL(s, c->ended);
        assert_scored(c);
        assert_int_equal(c->times.attempts, 1);
        UNTIL(s, !sim_alive(s, P0));
        all_over(s);
    }
}

static void prompts_whose_logprobs_are_wanted_run_beside_others(void **state) {
    (void)state;
    sim_options o = options();
    o.jitter = true;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        o.seed = seed;
        sim *s = cluster(o, 2, 1, 1);
        for (uint32_t i = 0; i < 12; i++) {
            uint32_t length = 1 + sim_below(s, 250), tokens = sim_below(s, 6);
            if (i % 3)
                score(s, length, tokens);
            else
                submit(s, length, tokens + 1);
        }
        run_for(s, sim_below(s, 120) * MS);
        sim_kill(s, sim_below(s, s->proc_count));
        run_for(s, sim_below(s, 120) * MS);
        for (uint32_t w = 0; w < s->proc_count; w++)
            if (!sim_alive(s, w)) sim_restart(s, w);
        for (uint32_t i = 0; i < s->client_count; i++) UNTIL(s, s->clients[i]->ended);
        for (uint32_t i = 0; i < s->client_count; i++) {
            if (s->clients[i]->params.prompt_logprobs >= 0)
                assert_scored(s->clients[i]);
            else
                assert_done(s->clients[i]);
        }
        all_over(s);
    }
}

int main(void) {
    log_setup(LOG_ERROR, "story");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_decode_worker_is_asked_only_when_all_of_the_prompt_is_told),
        cmocka_unit_test(a_request_of_no_token_is_never_handed_off),
        cmocka_unit_test(a_prompt_that_is_known_is_computed_again_for_its_logprobs_only),
        cmocka_unit_test(a_worker_dies_with_half_a_prompt_told_and_another_one_tells_the_rest),
        cmocka_unit_test(what_was_told_in_full_is_not_asked_for_again),
        cmocka_unit_test(a_request_of_no_token_of_which_only_the_end_was_lost_asks_for_that_alone),
        cmocka_unit_test(a_connection_that_broke_loses_no_logprob_and_repeats_none),
        cmocka_unit_test(cancel_before_within_and_behind_the_prompt_frees_every_page),
        cmocka_unit_test(a_pool_that_is_too_small_preempts_and_tells_no_prompt_twice),
        cmocka_unit_test(a_worker_that_is_asked_to_stop_tells_the_prompts_it_has_to_their_ends),
        cmocka_unit_test(prompts_whose_logprobs_are_wanted_run_beside_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
