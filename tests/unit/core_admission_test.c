/* Who is let into the queue, and what becomes of those that wait there in vain. What is learned of time is
 * told by tests/cluster/story_overload_test.c. */
#include "core_world.h"

typedef struct asked {
    uint32_t prompt, choices;
    uint64_t client;
    uint64_t first_by_ns; /* from now on; 0: not said */
    int32_t priority;
    uint32_t retry_s; /* answer */
    uint64_t reqs[16];
    errbuf why;
} asked;

static status ask(world *w, asked *a) {
    core_request r[16];
    uint32_t count = MAX(a->choices, 1u);
    for (uint32_t i = 0; i < count; i++) {
        r[i] = (core_request){.prompt = prompt_ids(),
                              .prompt_count = a->prompt,
                              .max_tokens_given = true,
                              .client = a->client,
                              .priority = a->priority,
                              .first_by_ns = a->first_by_ns ? w->now_ns + a->first_by_ns : 0};
        r[i].params = sampling_default();
        r[i].params.max_tokens = 2;
    }
    return core_submit_all(w->core, r, count, w->now_ns, a->reqs, &a->retry_s, &a->why);
}

static core_counters counters(const world *w) {
    core_counters k;
    core_counters_of(w->core, &k);
    return k;
}

static world *nobody_works(uint32_t max_queue, uint64_t max_queue_tokens) {
    core_options o = options();
    o.max_requests = 16;
    o.max_queue = max_queue;
    o.max_queue_tokens = max_queue_tokens;
    return world_new(o);
}

static void assert_waiting(const world *w, uint32_t count, uint64_t tokens) {
    core_counters k = counters(w);
    assert_int_equal(k.requests[REQ_WAIT_PREFILL], count);
    assert_int_equal(k.queue_tokens, tokens);
    assert_true(core_check(w->core));
}

static void all_choices_are_taken_or_none(void **state) {
    (void)state;
    world *w = nobody_works(8, 0);
    asked a = {.prompt = 20, .choices = 5};
    assert_int_equal(ask(w, &a), ST_OK);
    for (uint32_t i = 0; i < 5; i++) assert_int_equal(a.reqs[i], i + 1);
    assert_waiting(w, 5, 100);
    a.choices = 4;
    assert_int_equal(ask(w, &a), ST_AGAIN);
    assert_string_equal(a.why.text, "the queue is full: 5 requests wait, 5 are alive; try again later");
    assert_int_equal(a.retry_s, 1); /* nothing is known of how long that takes */
    assert_waiting(w, 5, 100);
    a.choices = 3;
    assert_int_equal(ask(w, &a), ST_OK);
    assert_int_equal(a.reqs[0], 6); /* no number was used up */
    assert_waiting(w, 8, 160);
    assert_int_equal(counters(w).rejected_full, 1);
    assert_int_equal(counters(w).submitted, 8);
    world_free(w);
}

static void all_that_are_alive_are_bounded_however_long_the_queue_may_be(void **state) {
    (void)state;
    world *w = nobody_works(32, 0); /* and 16 requests */
    asked a = {.prompt = 20, .choices = 16};
    assert_int_equal(ask(w, &a), ST_OK);
    a.choices = 1;
    assert_int_equal(ask(w, &a), ST_AGAIN);
    assert_string_equal(a.why.text, "the queue is full: 16 requests wait, 16 are alive; try again later");
    assert_waiting(w, 16, 320);
    world_free(w);
}

static void more_choices_than_the_queue_has_places_never_fit(void **state) {
    (void)state;
    world *w = nobody_works(4, 0);
    asked a = {.prompt = 20, .choices = 5};
    assert_int_equal(ask(w, &a), ST_INVALID);
    assert_string_equal(a.why.text, "5 choices are asked for at once, and limits.max_queue is 4");
    assert_int_equal(counters(w).rejected_invalid, 1);
    world_free(w);
}

static void waiting_tokens_are_bounded_and_one_alone_is_taken(void **state) {
    (void)state;
    world *w = nobody_works(8, 100);
    asked large = {.prompt = 60, .choices = 2}, small = {.prompt = 30}, smaller = {.prompt = 10};
    assert_int_equal(ask(w, &large), ST_OK); /* 120 of 100, but nobody else waits */
    assert_int_equal(ask(w, &smaller), ST_AGAIN);
    assert_string_equal(smaller.why.text,
                        "the queue is full: 120 prompt tokens wait, this request has 10, and "
                        "limits.max_queue_tokens is 100; try again later");
    core_cancel(w->core, large.reqs[0], w->now_ns);
    assert_waiting(w, 1, 60);
    assert_int_equal(ask(w, &small), ST_OK);
    assert_int_equal(ask(w, &small), ST_AGAIN);
    assert_int_equal(ask(w, &smaller), ST_OK); /* exactly 100 */
    assert_waiting(w, 3, 100);
    assert_int_equal(counters(w).rejected_tokens, 2);
    assert_int_equal(counters(w).rejected_full, 0);
    world_free(w);
}

static void a_flood_fills_its_share_and_leaves_room_for_others(void **state) {
    (void)state;
    world *w = nobody_works(10, 0);
    asked flood = {.prompt = 20, .client = 7}, other = {.prompt = 20, .client = 8}, third = {.prompt = 20};
    for (uint32_t i = 0; i < 8; i++) assert_int_equal(ask(w, &flood), ST_OK);
    assert_int_equal(ask(w, &flood), ST_AGAIN); /* 9 would be more than 4 times the 2 that are free */
    assert_string_equal(flood.why.text,
                        "this client has its share of the queue: 8 requests with 160 prompt tokens "
                        "wait for it, and what is free is for others; try again later");
    assert_int_equal(ask(w, &other), ST_OK);
    assert_int_equal(ask(w, &third), ST_OK); /* nobody in particular is one more client */
    assert_int_equal(ask(w, &other), ST_AGAIN);
    assert_int_equal(counters(w).rejected_share, 1);
    assert_int_equal(counters(w).rejected_full, 1);
    assert_int_equal(counters(w).queue_clients, 3);
    world_free(w);
}

static void a_share_is_of_tokens_too(void **state) {
    (void)state;
    world *w = nobody_works(16, 1000);
    asked flood = {.prompt = 200, .client = 7}, other = {.prompt = 150, .client = 8};
    for (uint32_t i = 0; i < 4; i++) assert_int_equal(ask(w, &flood), ST_OK);
    assert_int_equal(ask(w, &flood), ST_AGAIN); /* 1000 would be more than 4 times the 200 that are free */
    assert_int_equal(counters(w).rejected_share, 1);
    assert_int_equal(ask(w, &other), ST_OK);
    assert_waiting(w, 5, 950);
    world_free(w);
}

static void without_names_the_queue_is_everybodys(void **state) {
    (void)state;
    world *w = nobody_works(10, 0);
    asked a = {.prompt = 20};
    for (uint32_t i = 0; i < 10; i++) assert_int_equal(ask(w, &a), ST_OK);
    assert_int_equal(ask(w, &a), ST_AGAIN);
    assert_int_equal(counters(w).rejected_full, 1);
    world_free(w);
}

static void what_cannot_be_in_time_any_more_ends_in_the_queue(void **state) {
    (void)state;
    world *w = nobody_works(10, 0);
    asked a = {.prompt = 20, .first_by_ns = 3 * NS_PER_S}, patient = {.prompt = 20};
    assert_int_equal(ask(w, &a), ST_OK); /* whether it can be is not known */
    assert_int_equal(ask(w, &patient), ST_OK);
    assert_true(core_turn(w->core, w->now_ns) <= w->now_ns + 3 * NS_PER_S);
    w->now_ns += 3 * NS_PER_S - 1;
    turn(w);
    assert_waiting(w, 2, 40);
    w->now_ns++;
    turn(w);
    assert_waiting(w, 1, 20);
    assert_int_equal(w->ends, 1);
    assert_int_equal(w->end.state, REQ_FAILED);
    assert_int_equal(w->end.st, ST_PEER);
    assert_string_equal(w->why,
                        "its first token cannot come in time any more: there was no worker of a role within "
                        "3000 ms; try again later");
    assert_int_equal(counters(w).expired, 1);
    world_free(w);
}

static void the_goal_is_the_time_of_those_that_say_none(void **state) {
    (void)state;
    core_options o = options();
    o.ttft_goal_ns = 2 * NS_PER_S;
    world *w = world_new(o);
    asked usual = {.prompt = 20}, hasty = {.prompt = 20, .first_by_ns = NS_PER_S};
    asked any_time = {.prompt = 20, .first_by_ns = UINT64_MAX - w->now_ns};
    assert_int_equal(ask(w, &usual), ST_OK);
    assert_int_equal(ask(w, &hasty), ST_OK);
    assert_int_equal(ask(w, &any_time), ST_OK);
    static const uint32_t left[] = {2, 1, 1};
    for (uint32_t i = 0; i < ARRAY_LEN(left); i++) {
        w->now_ns += NS_PER_S;
        turn(w);
        assert_waiting(w, left[i], left[i] * 20);
    }
    assert_int_equal(core_request_state(w->core, any_time.reqs[0]), REQ_WAIT_PREFILL);
    world_free(w);
}

static void what_has_got_a_token_has_no_such_time(void **state) {
    (void)state;
    core_options o = options();
    o.ttft_goal_ns = NS_PER_S;
    world *w = cluster(o, true);
    uint64_t req = decoding(w);
    w->now_ns += 2 * NS_PER_S;
    core_conn_lost(w->core, D, "gone", w->now_ns);
    turn(w); /* back in the queue, late, and nobody is refused what was begun */
    assert_int_equal(core_request_state(w->core, req), REQ_PREFILL);
    assert_int_equal(w->ends, 0);
    assert_int_equal(counters(w).expired, 0);
    world_free(w);
}

/* What the loop overslept is nobody's silence (rule 14), but to be a little late for one deadline after the
 * other is not to oversleep. */
static void deadlines_that_come_thick_do_not_hide_a_silent_worker(void **state) {
    (void)state;
    core_options o = options();
    o.max_requests = o.max_queue = 1024;
    world *w = cluster(o, false);
    uint64_t heard_ns = w->now_ns;
    for (; w->now_ns < heard_ns + 1750 * NS_PER_MS; w->now_ns += 250 * NS_PER_MS) turn(w);
    for (uint32_t i = 1; i <= 600; i++) {
        asked a = {.prompt = 20, .first_by_ns = i * 10 * NS_PER_MS};
        assert_int_equal(ask(w, &a), ST_OK);
    }
    while (w->now_ns < heard_ns + 5500 * NS_PER_MS) {
        uint64_t wake_ns = core_turn(w->core, w->now_ns);
        w->now_ns = MAX(wake_ns, w->now_ns) + 8 * NS_PER_MS;
    }
    core_worker_info info[2];
    assert_int_equal(members(w, info, 2), 0);
    world_free(w);
}

/* What found no room comes back: the queue has become no shorter, however often it is tried. */
static void what_finds_no_room_leaves_the_queue_once(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    asked both = {.prompt = 60, .choices = 2};
    assert_int_equal(ask(w, &both), ST_OK);
    turn(w);
    for (uint32_t attempt = 1; attempt <= 12; attempt++) {
        for (uint32_t i = 0; i < 2; i++) {
            answer(w, P, CTL_NO_ROOM, both.reqs[i], attempt);
            answer(w, D, CTL_CLOSED, both.reqs[i], attempt);
        }
        turn(w);
        assert_waiting(w, 2, 120);
        w->read = w->sent_count;
        w->now_ns += 250 * NS_PER_MS;
        beat(w, D, 50);
        beat(w, P, 50);
        turn(w);
    }
    assert_true(counters(w).queue_tokens_per_s == 0); /* eight must have left before anything is said */
    w->read = w->sent_count;
    world_free(w);
}

int main(void) {
    log_setup(LOG_ERROR, "core_admission_test");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deadlines_that_come_thick_do_not_hide_a_silent_worker),
        cmocka_unit_test(all_choices_are_taken_or_none),
        cmocka_unit_test(all_that_are_alive_are_bounded_however_long_the_queue_may_be),
        cmocka_unit_test(more_choices_than_the_queue_has_places_never_fit),
        cmocka_unit_test(waiting_tokens_are_bounded_and_one_alone_is_taken),
        cmocka_unit_test(a_flood_fills_its_share_and_leaves_room_for_others),
        cmocka_unit_test(a_share_is_of_tokens_too),
        cmocka_unit_test(without_names_the_queue_is_everybodys),
        cmocka_unit_test(what_cannot_be_in_time_any_more_ends_in_the_queue),
        cmocka_unit_test(the_goal_is_the_time_of_those_that_say_none),
        cmocka_unit_test(what_has_got_a_token_has_no_such_time),
        cmocka_unit_test(what_finds_no_room_leaves_the_queue_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
