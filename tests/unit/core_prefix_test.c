/* The coordinator core and prefixes: what workers are told, what is believed of them, what is counted. */
#include "core_world.h"

#define P2 4u

static core_options cached_options(void) {
    core_options o = options();
    o.prefix_cache = true;
    return o;
}

/* Two of each, so that every choice shows what was believed. */
static world *two_of_each(core_options o) {
    world *w = cluster(o, true);
    ctl_join j = join_of(ROLE_PREFILL, "prefill-1", 13);
    join(w, P2, j);
    turn(w);
    return w;
}

static uint64_t submit_salted(world *w, uint32_t prompt_count, uint64_t salt) {
    core_request r = {
        .prompt = prompt_ids(), .prompt_count = prompt_count, .max_tokens_given = true, .salt = {salt, 0}};
    r.params = sampling_default();
    r.params.max_tokens = 20;
    uint64_t req = 0;
    assert_int_equal(core_submit(w->core, &r, w->now_ns, &req, NULL), ST_OK);
    return req;
}

static void reserved(world *w, uint64_t d, uint64_t req, uint32_t attempt, uint32_t d_have) {
    say(w, d,
        (ctl_msg){
            .kind = CTL_RESERVED, .req = req, .attempt = attempt, .free_pages = 50, .reserved = {d_have}});
}

static void first_token(world *w, uint64_t conn, uint64_t req, uint32_t attempt, uint32_t index,
                        uint32_t cached) {
    ctl_token t = {.req = req, .attempt = attempt, .index = index, .token = {.id = 100}, .cached = cached};
    say(w, conn, (ctl_msg){.kind = CTL_TOKENS, .free_pages = 50, .tokens = {.tokens = &t, .count = 1}});
}

/* A request from its routing to p and d, which hold `cached` and d_have rows of it, to DECODE. */
static void decode(world *w, uint64_t req, uint64_t p, uint64_t d, uint32_t cached, uint32_t d_have) {
    turn(w);
    expect(w, p, CTL_PREFILL);
    expect(w, d, CTL_RESERVE);
    reserved(w, d, req, 1, d_have);
    assert_int_equal(expect(w, p, CTL_DEST)->token_begin, d_have);
    first_token(w, p, req, 1, 0, cached);
    answer(w, d, CTL_VERIFIED, req, 1);
    expect(w, p, CTL_RELEASE);
    answer(w, p, CTL_CLOSED, req, 1);
}

static void finish_at(world *w, uint64_t d, uint64_t req, uint32_t index) {
    for (uint32_t i = 1; i <= index; i++) token(w, d, req, 1, i, 7, i == index ? FINISH_EOS : FINISH_NONE);
    assert_int_equal(core_request_state(w->core, req), REQ_DONE);
}

static void workers_are_told_whether_the_cache_serves_and_with_which_salt(void **state) {
    (void)state;
    world *w = cluster(cached_options(), false);
    submit_salted(w, 40, 9);
    turn(w);
    const sent *s = expect(w, P, CTL_PREFILL);
    assert_true(s->cache && s->salt == 9);
    s = expect(w, D, CTL_RESERVE);
    assert_true(s->cache && s->salt == 9);
    world_free(w);
    w = cluster(options(), false);
    submit_salted(w, 40, 9);
    turn(w);
    assert_false(expect(w, P, CTL_PREFILL)->cache);
    assert_false(expect(w, D, CTL_RESERVE)->cache);
    world_free(w);
}

static void the_second_request_goes_where_the_first_one_went(void **state) {
    (void)state;
    world *w = two_of_each(cached_options());
    decode(w, submit(w, 100, 20), P, D, 0, 0);
    uint64_t other = submit_salted(w, 100, 5); /* another salt meets nobody: the load alone decides */
    decode(w, other, P, D2, 0, 0);
    uint64_t third = submit(w, 20, 20); /* D and D2 have one each; a page of it lies at D */
    decode(w, third, P, D, 16, 16);
    world_free(w);
}

static void without_a_cache_the_load_alone_decides(void **state) {
    (void)state;
    world *w = two_of_each(options());
    decode(w, submit(w, 100, 20), P, D, 0, 0);
    decode(w, submit(w, 100, 20), P, D2, 0, 0);
    core_counters n;
    core_counters_of(w->core, &n);
    assert_int_equal(n.cache_queries, 0);
    world_free(w);
}

static void rows_at_a_worker_are_those_that_it_does_not_hold(void **state) {
    (void)state;
    world *w = cluster(cached_options(), false);
    finish_at(w, D, (decode(w, submit(w, 100, 20), P, D, 0, 0), 1), 3);
    submit(w, 100, 20); /* 4 rows beside 96 held; two batches are 128 */
    submit(w, 100, 20);
    submit(w, 100, 20);
    turn(w);
    for (uint32_t i = 0; i < 3; i++) {
        expect(w, P, CTL_PREFILL);
        expect(w, D, CTL_RESERVE);
    }
    submit_salted(w, 100, 3); /* 112 in all */
    submit_salted(w, 100, 4); /* too many */
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    expect_nothing(w);
    world_free(w);
}

static void a_decode_worker_that_holds_less_than_was_thought_is_not_preferred_again(void **state) {
    (void)state;
    world *w = two_of_each(cached_options());
    uint64_t one = submit(w, 100, 20);
    decode(w, one, P, D, 0, 0);
    finish_at(w, D, one, 3);
    uint64_t two = submit(w, 100, 20);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    reserved(w, D, two, 1, 32); /* it gave up the rest */
    assert_int_equal(expect(w, P, CTL_DEST)->token_begin, 32);
    answer(w, D, CTL_HANDOFF_FAILED, two, 1);
    expect(w, D, CTL_DROP);
    turn(w);
    /* Another D, under another attempt: it has nothing, and gets all rows. */
    assert_int_equal(expect(w, D2, CTL_RESERVE)->attempt, 2);
    reserved(w, D2, two, 2, 0);
    const sent *dest = expect(w, P, CTL_DEST);
    assert_int_equal(dest->token_begin, 0);
    assert_int_equal(dest->new_attempt, 2);
    first_token(w, P, two, 2, 0, 96);
    answer(w, D2, CTL_VERIFIED, two, 2);
    expect(w, P, CTL_RELEASE);
    answer(w, P, CTL_CLOSED, two, 2);
    answer(w, D, CTL_CLOSED, two, 1);
    /* D2 has one request and all of it; D has none and two pages: four pages of 50 weigh less than a slot. */
    uint64_t three = submit(w, 100, 20);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    (void)three;
    world_free(w);
}

static void what_was_generated_is_held_too(void **state) {
    (void)state;
    world *w = two_of_each(cached_options());
    uint64_t one = submit(w, 30, 20);
    decode(w, one, P, D, 0, 0);
    finish_at(w, D, one, 3); /* 33 tokens are fed, 2 pages: the prompt's first, and one with its last 14 */
    int32_t next[40];
    memcpy(next, prompt_ids(), 30 * sizeof *next);
    next[30] = 100;
    for (uint32_t i = 31; i < 40; i++) next[i] = 7;
    core_request r = {.prompt = next, .prompt_count = 40, .max_tokens_given = true};
    r.params = sampling_default();
    r.params.max_tokens = 4;
    uint64_t req = 0;
    assert_int_equal(core_submit(w->core, &r, w->now_ns, &req, NULL), ST_OK);
    decode(w, req, P, D, 16, 32);
    world_free(w);
}

static void a_worker_that_joins_anew_holds_nothing(void **state) {
    (void)state;
    world *w = two_of_each(cached_options());
    uint64_t one = submit(w, 100, 20);
    decode(w, one, P, D, 0, 0);
    finish_at(w, D, one, 3);
    core_conn_lost(w->core, D, "gone", w->now_ns);
    core_conn_lost(w->core, P, "gone", w->now_ns);
    turn(w);
    join(w, P, join_of(ROLE_PREFILL, "prefill-0", 20));
    join(w, D, join_of(ROLE_DECODE, "decode-0", 21));
    decode(w, submit(w, 100, 20), P2, D2, 0, 0); /* the first of those that are here now */
    world_free(w);
}

static void cached_tokens_are_those_of_the_attempt_that_gave_the_first_token(void **state) {
    (void)state;
    world *w = two_of_each(cached_options());
    uint64_t req = submit(w, 100, 20);
    decode(w, req, P, D, 64, 0);
    core_conn_lost(w->core, D, "gone", w->now_ns);
    turn(w);
    const sent *s = expect(w, P, CTL_PREFILL); /* the replay */
    assert_int_equal(s->output_count, 1);
    expect(w, D2, CTL_RESERVE);
    reserved(w, D2, req, 2, 0);
    expect(w, P, CTL_DEST);
    first_token(w, P, req, 2, 1, 96);
    answer(w, D2, CTL_VERIFIED, req, 2);
    expect(w, P, CTL_RELEASE);
    token(w, D2, req, 2, 2, 7, FINISH_EOS);
    assert_int_equal(w->times.cached_tokens, 64);
    core_counters n;
    core_counters_of(w->core, &n);
    assert_int_equal(n.cache_queries, 201); /* 100, and 101 of the replay */
    assert_int_equal(n.cache_hits, 160);
    world_free(w);
}

static void a_first_token_that_verified_overtook_is_counted(void **state) {
    (void)state;
    world *w = cluster(cached_options(), false);
    uint64_t req = submit(w, 100, 20);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    reserved(w, D, req, 1, 0);
    expect(w, P, CTL_DEST);
    answer(w, D, CTL_VERIFIED, req, 1);
    expect(w, P, CTL_RELEASE);
    first_token(w, P, req, 1, 0, 48);
    token(w, D, req, 1, 0, 100, FINISH_NONE);
    token(w, D, req, 1, 1, 7, FINISH_EOS);
    assert_int_equal(w->times.cached_tokens, 48);
    world_free(w);
}

int main(void) {
    log_setup(LOG_ERROR, "core_prefix_test");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_are_told_whether_the_cache_serves_and_with_which_salt),
        cmocka_unit_test(the_second_request_goes_where_the_first_one_went),
        cmocka_unit_test(without_a_cache_the_load_alone_decides),
        cmocka_unit_test(rows_at_a_worker_are_those_that_it_does_not_hold),
        cmocka_unit_test(a_decode_worker_that_holds_less_than_was_thought_is_not_preferred_again),
        cmocka_unit_test(what_was_generated_is_held_too),
        cmocka_unit_test(a_worker_that_joins_anew_holds_nothing),
        cmocka_unit_test(cached_tokens_are_those_of_the_attempt_that_gave_the_first_token),
        cmocka_unit_test(a_first_token_that_verified_overtook_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
