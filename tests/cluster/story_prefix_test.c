/* Stories of prompts that begin alike: what is found, where, and what follows from it.
 *
 * A step is 10 ms whatever it computes, so rows are counted, not timed. */
#include "story.h"

static sim_options cached(void) {
    sim_options o = sim_defaults();
    o.prefix_cache = o.cache_outputs = true;
    return o;
}

static sim_client *ask(sim *s, sim_ask a) {
    sim_client *c = NULL;
    errbuf eb = {0};
    a.stop_at = -1;
    a.ignore_eos = true;
    assert_int_equal(sim_submit(s, &a, &c, &eb), ST_OK);
    return c;
}

static sim_client *tell(sim *s, uint32_t story, uint32_t prompt_count, uint32_t max_tokens) {
    sim_client *c = ask(s, (sim_ask){.story = story, .prompt_count = prompt_count, .max_tokens = max_tokens});
    UNTIL(s, c->ended);
    assert_done(c);
    run_for(s, 100 * MS); /* what it held is free */
    return c;
}

/* Prompt rows that were computed, and rows that travelled, since the last call. */
typedef struct moved {
    uint64_t computed, travelled;
} moved;

static moved since(sim *s) {
    static moved last;
    moved now = {0};
    for (uint32_t w = 0; w < s->proc_count; w++) {
        now.computed += sim_stats(s, w).prefill_rows;
    }
    now.travelled = s->seen.rows;
    moved out = {now.computed - last.computed, now.travelled - last.travelled};
    last = now;
    return out;
}

static void expect_moved(sim *s, uint64_t computed, uint64_t travelled) {
    moved m = since(s);
    assert_int_equal(m.computed, computed);
    assert_int_equal(m.travelled, travelled);
}

static void a_prompt_that_comes_again_is_computed_and_sent_from_its_last_page_on(void **state) {
    (void)state;
    sim *s = cluster(cached(), 1, 1, 0);
    since(s);
    assert_int_equal(tell(s, 1, 64, 5)->times.cached_tokens, 0);
    expect_moved(s, 64, 64);
    assert_int_equal(tell(s, 1, 64, 5)->times.cached_tokens, 48);
    expect_moved(s, 16, 16);
    assert_int_equal(tell(s, 1, 100, 5)->times.cached_tokens, 64);
    expect_moved(s, 36, 36);
    assert_int_equal(tell(s, 2, 100, 5)->times.cached_tokens, 0);
    expect_moved(s, 100, 100);
    assert_int_equal(sim_stats(s, P0).cache_hits, 112);
    assert_int_equal(sim_stats(s, P0).cache_queries, 64 + 64 + 100 + 100);
    all_over(s);
}

/* A restarted worker has nothing, the other one still has it. */
static void what_one_side_lost_the_other_one_still_has(void **state) {
    (void)state;
    sim *s = cluster(cached(), 1, 1, 0);
    tell(s, 1, 64, 5);
    sim_kill(s, 1);
    sim_restart(s, 1);
    UNTIL(s, sim_member(s, 1));
    since(s);
    assert_int_equal(tell(s, 1, 80, 5)->times.cached_tokens, 64); /* P sends what it did not compute */
    expect_moved(s, 16, 80);
    sim_kill(s, P0);
    sim_restart(s, P0);
    UNTIL(s, sim_member(s, P0));
    since(s);
    assert_int_equal(tell(s, 1, 80, 5)->times.cached_tokens, 0); /* and computes what it need not send */
    expect_moved(s, 80, 16);
    all_over(s);
}

static void the_next_turn_of_a_chat_finds_the_answer_too(void **state) {
    (void)state;
    sim *s = cluster(cached(), 1, 1, 0);
    sim_client *first = tell(s, 0, 40, 40);
    since(s);
    sim_client *next = ask(s, (sim_ask){.after = first, .prompt_count = 20, .max_tokens = 5});
    UNTIL(s, next->ended);
    assert_done(next);
    assert_int_equal(next->times.cached_tokens, 32); /* P never saw the answer: 2 pages of its own prompt */
    expect_moved(s, 100 - 32, 100 - 64);             /* D computed rows up to 78 of it: 4 pages */
    all_over(s);
}

static void a_colocated_worker_finds_prompt_and_answer(void **state) {
    (void)state;
    sim *s = cluster(cached(), 0, 0, 1);
    sim_client *first = tell(s, 0, 40, 40);
    since(s);
    sim_client *next = ask(s, (sim_ask){.after = first, .prompt_count = 20, .max_tokens = 5});
    UNTIL(s, next->ended);
    assert_done(next);
    assert_int_equal(next->times.cached_tokens, 64);
    expect_moved(s, 100 - 64, 0);
    all_over(s);
}

static void choices_of_one_prompt_are_computed_once(void **state) {
    (void)state;
    sim_options o = cached();
    o.chunk_tokens = 64;
    sim *s = cluster(o, 1, 1, 0);
    since(s);
    sim_client *c[6];
    for (uint32_t i = 0; i < ARRAY_LEN(c); i++)
        c[i] = ask(s, (sim_ask){.story = 1, .prompt_count = 60, .max_tokens = 5});
    for (uint32_t i = 0; i < ARRAY_LEN(c); i++) {
        UNTIL(s, c[i]->ended);
        assert_done(c[i]);
        assert_int_equal(c[i]->times.cached_tokens, i ? 48 : 0);
    }
    assert_int_equal(since(s).computed, 60 + 5 * 12);
    all_over(s);
}

static void salts_are_apart(void **state) {
    (void)state;
    sim *s = cluster(cached(), 1, 1, 0);
    const uint64_t salts[] = {0, 1, 2, 1, 0};
    const uint32_t found[] = {0, 0, 0, 48, 48};
    for (uint32_t i = 0; i < ARRAY_LEN(salts); i++) {
        sim_client *c = ask(s, (sim_ask){.story = 1, .salt = salts[i], .prompt_count = 64, .max_tokens = 5});
        UNTIL(s, c->ended);
        assert_done(c);
        assert_int_equal(c->times.cached_tokens, found[i]);
        run_for(s, 100 * MS);
    }
    all_over(s);
}

static void switched_off_nothing_is_found_and_nothing_kept(void **state) {
    (void)state;
    sim *s = cluster(sim_defaults(), 1, 1, 0);
    since(s);
    tell(s, 1, 64, 5);
    assert_int_equal(tell(s, 1, 64, 5)->times.cached_tokens, 0);
    expect_moved(s, 128, 128);
    assert_int_equal(sim_stats(s, P0).cache_pages, 0);
    assert_int_equal(sim_stats(s, P0).cache_queries, 0);
    all_over(s);
}

/* The whole pool is full of what nobody needs any more, and a request that needs all of it is served. */
static void a_full_cache_is_no_reason_to_wait(void **state) {
    (void)state;
    sim_options o = cached();
    o.pages[ROLE_PREFILL] = o.pages[ROLE_DECODE] = 16;
    sim *s = cluster(o, 1, 1, 0);
    for (uint32_t i = 1; i <= 8; i++) tell(s, i, 64, 5);
    assert_int_equal(sim_stats(s, P0).cache_pages, 16);
    assert_int_equal(sim_stats(s, P0).pages_free, 16);
    sim_client *c = tell(s, 9, 220, 5);
    assert_int_equal(c->first_ns - c->submit_ns, 1 * MS + 7 * 10 * MS + 1 * MS); /* 32 rows a step */
    assert_int_equal(sim_stats(s, P0).cache_evictions, 16 + 14);
    all_over(s);
}

/* A replay is a prompt like any other, and its first attempt was here. */
static void a_replay_finds_what_its_first_attempt_left(void **state) {
    (void)state;
    sim *s = cluster(cached(), 1, 2, 0);
    sim_client *c = ask(s, (sim_ask){.prompt_count = 64, .max_tokens = 40});
    UNTIL(s, c->got == 20);
    since(s);
    for (uint32_t d = 1; d <= 2; d++)
        if (sim_pages_used(s, d)) sim_kill(s, d);
    UNTIL(s, c->ended);
    assert_done(c);
    assert_int_equal(c->times.replays, 1);
    moved m = since(s);
    assert_true(m.computed >= 20 && m.computed <= 22);   /* the prompt was there */
    assert_true(m.travelled >= 84 && m.travelled <= 86); /* to a D that had nothing */
    for (uint32_t d = 1; d <= 2; d++) sim_restart(s, d);
    all_over(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prompt_that_comes_again_is_computed_and_sent_from_its_last_page_on),
        cmocka_unit_test(what_one_side_lost_the_other_one_still_has),
        cmocka_unit_test(the_next_turn_of_a_chat_finds_the_answer_too),
        cmocka_unit_test(a_colocated_worker_finds_prompt_and_answer),
        cmocka_unit_test(choices_of_one_prompt_are_computed_once),
        cmocka_unit_test(salts_are_apart),
        cmocka_unit_test(switched_off_nothing_is_found_and_nothing_kept),
        cmocka_unit_test(a_full_cache_is_no_reason_to_wait),
        cmocka_unit_test(a_replay_finds_what_its_first_attempt_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
