/* The coordinator core: who joins, what is admitted, where it goes. */
#include "core_world.h"

/* ---- joining ---- */

static void a_worker_takes_work_after_its_first_heartbeat(void **state) {
    (void)state;
    world *w = world_new(options());
    ctl_join j = join_of(ROLE_PREFILL, "prefill-0", 10);
    core_message(w->core, P, &(ctl_msg){.kind = CTL_JOIN, .join = j}, w->now_ns);
    assert_string_equal(expect(w, P, CTL_WELCOME)->text, "prefill-0");
    join(w, D, join_of(ROLE_DECODE, "decode-0", 11));
    submit(w, 20, 4);
    turn(w);
    expect_nothing(w);
    assert_false(core_ready(w->core));
    beat(w, P, 50);
    assert_true(core_ready(w->core));
    turn(w);
    expect(w, P, CTL_PREFILL);
    world_free(w);
}

static void a_retried_join_gets_the_same_incarnation_and_another_name_is_made_unique(void **state) {
    (void)state;
    world *w = world_new(options());
    ctl_msg m = {.kind = CTL_JOIN, .join = join_of(ROLE_DECODE, "decode-0", 10)};
    core_message(w->core, 1, &m, w->now_ns);
    core_message(w->core, 1, &m, w->now_ns);
    uint64_t first = expect(w, 1, CTL_WELCOME)->incarnation;
    assert_int_equal(expect(w, 1, CTL_WELCOME)->incarnation, first);
    m.join.pid = 11;
    core_message(w->core, 2, &m, w->now_ns);
    const sent *s = expect(w, 2, CTL_WELCOME);
    assert_string_equal(s->text, "decode-0#2");
    assert_true(s->incarnation != first && s->incarnation != 0);
    m.join.pid = 10; /* the first process again: its earlier session is over */
    core_message(w->core, 3, &m, w->now_ns);
    assert_string_equal(expect(w, 3, CTL_WELCOME)->text, "decode-0");
    assert_int_equal(w->hung_up, 1);
    core_worker_info info[4];
    assert_int_equal(members(w, info, 4), 2);
    world_free(w);
}

static void workers_of_one_process_are_told_apart_by_their_names(void **state) {
    (void)state;
    world *w = world_new(options());
    ctl_msg m = {.kind = CTL_JOIN, .join = join_of(ROLE_DECODE, "decode-1", 10)};
    core_message(w->core, 1, &m, w->now_ns);
    m.join.name = "decode-10";
    core_message(w->core, 2, &m, w->now_ns);
    assert_string_equal(expect(w, 1, CTL_WELCOME)->text, "decode-1");
    assert_string_equal(expect(w, 2, CTL_WELCOME)->text, "decode-10");
    core_worker_info info[4];
    assert_int_equal(members(w, info, 4), 2);
    m.join.name = "decode-1"; /* joins again: its earlier session is over, the other one's is not */
    core_message(w->core, 3, &m, w->now_ns);
    assert_string_equal(expect(w, 3, CTL_WELCOME)->text, "decode-1");
    assert_int_equal(w->hung_up, 1);
    assert_int_equal(members(w, info, 4), 2);
    world_free(w);
}

static void a_join_on_a_connection_in_use_ends_the_session_that_was_there(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t first = w->incarnation[D];
    uint64_t req = submit(w, 20, 4);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    join(w, D, join_of(ROLE_DECODE, "decode-0", 99));
    assert_true(w->incarnation[D] != first);
    assert_int_equal(w->hung_up, 0);
    turn(w);
    assert_int_equal(expect(w, D, CTL_RESERVE)->attempt, 2);
    answer(w, D, CTL_RESERVED, req, 2);
    expect(w, P, CTL_DEST);
    world_free(w);
}

static void unlike_numerics_are_refused_naming_the_field(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    ctl_join j = join_of(ROLE_DECODE, "decode-1", 12);
    j.numerics = f32;
    core_message(w->core, 5, &(ctl_msg){.kind = CTL_JOIN, .join = j}, w->now_ns);
    assert_string_equal(expect(w, 5, CTL_REFUSED)->text,
                        "kv_dtype|f32 here and f16 on prefill-0: start it with the same, or set "
                        "cluster.mixed_numerics");
    assert_int_equal(w->hung_up, 5);
    j.numerics = f16;
    j.page_tokens = 32;
    core_message(w->core, 6, &(ctl_msg){.kind = CTL_JOIN, .join = j}, w->now_ns);
    assert_string_equal(expect(w, 6, CTL_REFUSED)->text,
                        "page_tokens|pages of 32 tokens, want 16: start the same version");
    world_free(w);

    core_options o = options();
    o.mixed_numerics = true;
    w = cluster(o, false);
    j = join_of(ROLE_COLOCATED, "colocated-0", 12);
    j.numerics = f32;
    join(w, 5, j);
    world_free(w);
}

static void the_numerics_of_the_members_can_be_asked_for(void **state) {
    (void)state;
    world *w = world_new(options());
    assert_null(core_numeric(w->core, "kv_dtype"));
    join(w, P, join_of(ROLE_PREFILL, "prefill-0", 10));
    assert_string_equal(core_numeric(w->core, "kv_dtype"), "f16");
    assert_null(core_numeric(w->core, "path"));
    world_free(w);
}

/* ---- leaving ---- */

static void a_worker_that_leaves_is_told_exit_and_its_reason_is_kept(void **state) {
    (void)state;
    world *w = cluster(options(), true);
    core_lost lost;
    core_counters k;
    assert_false(core_last_lost(w->core, &lost, w->now_ns));
    uint64_t req = submit(w, 20, 4);
    turn(w);
    expect(w, P, CTL_PREFILL);
    uint64_t d = w->sent[w->read].conn, other = d == D ? D2 : D;
    expect(w, d, CTL_RESERVE);
    say(w, d, (ctl_msg){.kind = CTL_LEAVING, .failed = {.why = "step of 4 rows: attend: illegal address"}});
    expect(w, d, CTL_EXIT);
    expect_nothing(w);
    turn(w);
    assert_int_equal(w->hung_up, d);
    assert_int_equal(expect(w, other, CTL_RESERVE)->req, req); /* as after a death */
    assert_true(core_last_lost(w->core, &lost, w->now_ns + 5));
    assert_string_equal(lost.worker, d == D ? "decode-0" : "decode-1");
    assert_string_equal(lost.why, "step of 4 rows: attend: illegal address");
    assert_int_equal(lost.age_ns, 5);
    core_counters_of(w->core, &k);
    assert_int_equal(k.workers_joined, 3);
    assert_int_equal(k.workers_lost, 1);
    join(w, d, join_of(ROLE_DECODE, lost.worker, 77)); /* started again */
    core_worker_info info[4];
    assert_int_equal(members(w, info, 4), 3);
    world_free(w);
}

static void a_worker_beyond_the_limit_is_not_answered_until_there_is_a_place(void **state) {
    (void)state;
    core_options o = options();
    o.max_workers = 2;
    world *w = cluster(o, false);
    ctl_msg m = {.kind = CTL_JOIN, .free_pages = 50, .join = join_of(ROLE_DECODE, "decode-1", 12)};
    core_message(w->core, D2, &m, w->now_ns);
    expect_nothing(
        w); /* no REFUSED: it would end the worker, and one that died may be gone by its next JOIN */
    core_worker_info info[2];
    assert_int_equal(members(w, info, 2), 2);
    core_conn_lost(w->core, D, "gone", w->now_ns);
    core_message(w->core, D2, &m, w->now_ns);
    assert_string_equal(expect(w, D2, CTL_WELCOME)->text, "decode-1");
    world_free(w);
}

static void a_worker_that_was_told_to_leave_is_not_lost(void **state) {
    (void)state;
    world *w = cluster(options(), true);
    core_exit_all(w->core, w->now_ns);
    for (uint64_t conn = P; conn <= D2; conn++) expect(w, conn, CTL_EXIT);
    core_conn_lost(w->core, D, "closed", w->now_ns);
    turn(w);
    core_lost lost;
    assert_false(core_last_lost(w->core, &lost, w->now_ns));
    world_free(w);
}

/* Its old connection is not known to be lost, or is: either way it lives. Three times are no death. */
static void a_worker_that_joins_anew_did_not_die(void **state) {
    for (int told = 0; told < 2; told++) {
        (void)state;
        world *w = cluster(options(), false);
        uint64_t req = submit(w, 20, 4);
        turn(w);
        expect(w, P, CTL_PREFILL);
        expect(w, D, CTL_RESERVE);
        for (uint64_t conn = P, next = 4; next < 7; conn = next++) {
            ctl_join again = join_of(ROLE_PREFILL, "prefill-0", 10);
            again.last_incarnation = w->incarnation[conn];
            if (told) core_conn_lost(w->core, conn, "closed", w->now_ns);
            if (told) turn(w);
            if (told) expect(w, D, CTL_DROP);
            core_message(w->core, next, &(ctl_msg){.kind = CTL_JOIN, .free_pages = 50, .join = again},
                         w->now_ns);
            if (!told) expect(w, D, CTL_DROP);
            expect(w, next, CTL_WELCOME);
            beat(w, next, 50);
            turn(w);
            assert_int_equal(w->ends, 0);
            assert_int_equal(expect(w, next, CTL_PREFILL)->req, req);
            expect(w, D, CTL_RESERVE);
        }
        world_free(w);
    }
}

static void a_process_that_dies_is_one_death_however_many_workers_it_had(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    join(w, 4, join_of(ROLE_PREFILL, "prefill-1", 10)); /* of the same process as prefill-0 */
    join(w, 5, join_of(ROLE_PREFILL, "prefill-2", 10));
    uint64_t req = submit(w, 20, 4);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    static const uint64_t dead[] = {P, 4, 5};
    for (size_t i = 0; i < ARRAY_LEN(dead); i++) { /* a turn sees the end of one connection */
        core_conn_lost(w->core, dead[i], "closed", w->now_ns);
        turn(w);
        if (dead[i] == P) expect(w, D, CTL_DROP);
        expect_nothing(w);
    }
    join(w, P, join_of(ROLE_PREFILL, "prefill-3", 13));
    turn(w);
    assert_int_equal(expect(w, P, CTL_PREFILL)->req, req);
    expect(w, D, CTL_RESERVE);
    core_times t;
    assert_true(core_request_times(w->core, req, w->now_ns, &t));
    assert_int_equal(t.attempts, 2);
    assert_int_equal(w->ends, 0);
    world_free(w);
}

static void what_is_left_of_a_process_works_again_when_it_is_heard(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    join(w, 4, join_of(ROLE_PREFILL, "prefill-1", 10));
    ctl_join elsewhere = join_of(ROLE_PREFILL, "prefill-2", 10); /* the same pid on another host */
    elsewhere.host = "there";
    join(w, 5, elsewhere);
    say(w, P, (ctl_msg){.kind = CTL_LEAVING, .failed = {.why = "its device failed"}});
    expect(w, P, CTL_EXIT);
    turn(w);
    core_worker_info info[3];
    assert_int_equal(members(w, info, 3), 3);
    assert_int_equal(info[0].state, MEMBER_READY);
    assert_int_equal(info[1].state, MEMBER_SUSPECT);
    assert_int_equal(info[2].state, MEMBER_READY);
    beat(w, 4, 50);
    (void)members(w, info, 3);
    assert_int_equal(info[1].state, MEMBER_READY);
    uint64_t req = submit(w, 20, 4);
    turn(w);
    assert_int_equal(expect(w, 4, CTL_PREFILL)->req, req);
    expect(w, D, CTL_RESERVE);
    world_free(w);
}

static void a_worker_that_was_drained_casts_no_doubt_on_its_process(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    join(w, 4, join_of(ROLE_PREFILL, "prefill-1", 10));
    core_drain(w->core, 0, w->now_ns);
    expect(w, P, CTL_DRAIN);
    say(w, P, (ctl_msg){.kind = CTL_DRAINED, .free_pages = 50});
    expect(w, P, CTL_EXIT);
    core_conn_lost(w->core, P, "closed", w->now_ns);
    turn(w);
    core_worker_info info[2];
    assert_int_equal(members(w, info, 2), 2);
    assert_string_equal(info[1].name, "prefill-1");
    assert_int_equal(info[1].state, MEMBER_READY);
    world_free(w);
}

/* ---- admission ---- */

static void what_can_never_fit_is_400_and_names_the_numbers(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req;
    errbuf eb = {0};
    /* D: 50 pages less one of headroom; 49 x 16 = 784 tokens. */
    assert_int_equal(try_submit(w, 700, 85, true, &req, &eb), ST_INVALID);
    assert_string_equal(
        eb.text, "the prompt of 700 tokens with max_tokens 85 exceeds the 784 tokens that the KV pool of "
                 "decode-0 can hold: shorten it or lower max_tokens");
    assert_int_equal(try_submit(w, 700, 84, true, &req, &eb), ST_OK);
    assert_int_equal(try_submit(w, 784, 500, false, &req, &eb), ST_INVALID);
    assert_int_equal(try_submit(w, 10, 0, true, &req, &eb), ST_OK); /* its prompt is computed, no more */
    core_counters k;
    core_counters_of(w->core, &k);
    assert_int_equal(k.rejected_invalid, 2);
    world_free(w);

    w = world_new(options());
    assert_int_equal(try_submit(w, 1000, 25, true, &req, &eb), ST_INVALID);
    assert_string_equal(
        eb.text, "the prompt of 1000 tokens with max_tokens 25 exceeds the context of 1024 tokens: shorten "
                 "it or lower max_tokens");
    world_free(w);
}

static void absent_max_tokens_are_clipped_to_the_pool(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req;
    assert_int_equal(try_submit(w, 780, 1000, false, &req, NULL), ST_OK);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    for (uint32_t i = 0; i < 4; i++) token(w, P, req, 1, i, 5, FINISH_NONE); /* more than a P would send */
    assert_int_equal(w->ends, 1); /* 784 - 780 tokens: the end by length, even if the worker did not say so */
    assert_int_equal(w->end.fin, FINISH_LENGTH);
    world_free(w);
}

static void a_full_queue_is_429_and_a_role_nobody_wants_is_503(void **state) {
    (void)state;
    core_options o = options();
    o.max_queue = 2;
    world *w = world_new(o);
    submit(w, 20, 4);
    uint64_t last = submit(w, 20, 4), req;
    assert_int_equal(core_request_position(w->core, last), 2);
    errbuf eb = {0};
    assert_int_equal(try_submit(w, 20, 4, true, &req, &eb), ST_AGAIN);
    assert_string_equal(eb.text, "the queue is full: 2 requests wait, 2 are alive; try again later");
    world_free(w);

    o.role_wanted[ROLE_DECODE] = 0;
    w = world_new(o);
    assert_int_equal(try_submit(w, 20, 4, true, &req, &eb), ST_PEER);
    assert_string_equal(eb.text, "no decode worker has joined, and the config wants none: start one");
    world_free(w);
}

/* ---- routing ---- */

static void prefill_and_reserve_go_out_in_one_turn_and_dest_follows_reserved(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = submit(w, 20, 30);
    turn(w);
    const sent *s = expect(w, P, CTL_PREFILL);
    assert_int_equal(s->attempt, 1);
    assert_int_equal(s->prompt_count, 20);
    assert_false(s->then_decode);
    s = expect(w, D, CTL_RESERVE);
    assert_true(s->ids_hash == kv_ids_hash(KV_IDS_HASH_START, prompt_ids(), 20));
    answer(w, D, CTL_RESERVED, req, 1);
    s = expect(w, P, CTL_DEST);
    assert_int_equal(s->new_attempt, 1);
    assert_int_equal(s->token_begin, 0);
    assert_true(s->d_inc == w->incarnation[D]);
    expect_nothing(w);
    world_free(w);
}

static void dest_tells_p_the_first_row_that_d_lacks(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = submit(w, 40, 30);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    say(w, D, (ctl_msg){.kind = CTL_RESERVED, .req = req, .attempt = 1, .reserved.d_have = 32});
    assert_int_equal(expect(w, P, CTL_DEST)->token_begin, 32);
    world_free(w);
}

static void a_prefill_worker_has_two_batches_of_prompt_tokens_at_most(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t a = submit(w, 100, 4);
    submit(w, 28, 4);
    uint64_t c = submit(w, 1, 4);
    turn(w);
    for (int i = 0; i < 2; i++) {
        expect(w, P, CTL_PREFILL);
        expect(w, D, CTL_RESERVE);
    }
    expect_nothing(w);
    assert_int_equal(core_request_position(w->core, c), 1);
    token(w, P, a, 1, 0, 7, FINISH_NONE); /* 100 rows are computed */
    turn(w);
    assert_int_equal(expect(w, P, CTL_PREFILL)->req, c);
    world_free(w);
}

static void a_promise_ends_with_the_workers_answer(void **state) {
    (void)state;
    core_options o = options();
    o.role_wanted[ROLE_PREFILL] = o.role_wanted[ROLE_DECODE] = 0;
    o.role_wanted[ROLE_COLOCATED] = 1;
    world *w = world_new(o);
    join(w, 4, join_of(ROLE_COLOCATED, "colocated-0", 10));
    uint64_t req = submit(w, 31, 4);
    core_worker_info info;
    turn(w);
    assert_true(expect(w, 4, CTL_PREFILL)->then_decode);
    beat(w, 4, 50); /* sent before PREFILL came */
    (void)members(w, &info, 1);
    assert_int_equal(info.pages_promised, 2); /* 31 rows and the first to decode */
    token(w, 4, req, 1, 0, 7, FINISH_NONE);
    (void)members(w, &info, 1);
    assert_int_equal(info.pages_promised, 0);
    assert_int_equal(info.assigned, 1);
    token(w, 4, req, 1, 1, 8, FINISH_EOS);
    (void)members(w, &info, 1);
    assert_int_equal(info.assigned, 0);
    world_free(w);
}

static void without_room_at_d_the_kv_is_parked_and_gets_the_first_pages_that_are_free(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    beat(w, D, 4); /* the headroom is one page */
    uint64_t old = submit(w, 60, 4), young = submit(w, 10, 4);
    turn(w);
    assert_int_equal(expect(w, P, CTL_PREFILL)->req,
                     old); /* 60 + 1 rows: 4 pages and 1 of headroom; 4 are free */
    assert_int_equal(expect(w, P, CTL_PREFILL)->req, young);
    expect_nothing(w); /* and the young one may not take the pages that the old one waits for */
    token(w, P, old, 1, 0, 7, FINISH_NONE);
    token(w, P, young, 1, 0, 7, FINISH_NONE);
    turn(w);
    expect_nothing(w);
    beat(w, D, 7);
    turn(w);
    const sent *s = expect(w, D, CTL_RESERVE);
    assert_int_equal(s->req, old);
    assert_int_equal(s->output_count, 0); /* k as P ran it, although token 0 is emitted */
    s = expect(w, D, CTL_RESERVE);        /* 4 promised, 1 wanted, 1 held: 1 page + headroom of 1 */
    assert_int_equal(s->req, young);
    world_free(w);
}

static void no_room_at_p_drops_the_reservation_and_keeps_the_place_in_the_queue(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = submit(w, 20, 4);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    answer(w, P, CTL_NO_ROOM, req, 1);
    const sent *s = expect(w, D, CTL_DROP);
    assert_int_equal(s->attempt, 1);
    assert_int_equal(core_request_position(w->core, req), 1);
    turn(w);
    expect_nothing(w); /* not again before P's next heartbeat */
    beat(w, P, 50);
    turn(w);
    assert_int_equal(expect(w, P, CTL_PREFILL)->attempt, 2);
    core_times t;
    assert_true(core_request_times(w->core, req, w->now_ns, &t));
    assert_int_equal(t.attempts, 1);
    assert_int_equal(t.replays, 0);
    world_free(w);
}

static void no_room_at_d_is_offered_again_under_the_same_attempt(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = submit(w, 20, 4);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    answer(w, D, CTL_NO_ROOM, req, 1);
    turn(w);
    expect_nothing(w);
    beat(w, D, 50);
    turn(w);
    assert_int_equal(expect(w, D, CTL_RESERVE)->attempt, 1);
    world_free(w);
}

static void closed_of_an_attempt_that_was_never_given_is_stale(void **state) {
    (void)state;
    world *w = cluster(options(), false);
    uint64_t req = submit(w, 20, 4);
    turn(w);
    expect(w, P, CTL_PREFILL);
    expect(w, D, CTL_RESERVE);
    answer(w, P, CTL_CLOSED, req, 2);
    turn(w);
    core_counters counts;
    core_counters_of(w->core, &counts);
    assert_int_equal(counts.stale_messages, 1);
    answer(w, D, CTL_RESERVED, req, 1); /* it goes on as if nothing had been said */
    assert_int_equal(expect(w, P, CTL_DEST)->attempt, 1);
    expect_nothing(w);
    world_free(w);
}

static void reserved_of_a_worker_that_computed_the_prompt_itself_changes_nothing(void **state) {
    (void)state;
    world *w = world_new(options());
    join(w, P, join_of(ROLE_COLOCATED, "colocated-0", 10));
    turn(w);
    uint64_t req = submit(w, 20, 4);
    turn(w);
    expect(w, P, CTL_PREFILL);
    token(w, P, req, 1, 0, 100, FINISH_NONE);
    answer(w, P, CTL_RESERVED, req, 1);
    turn(w);
    expect_nothing(w);
    assert_int_equal(core_request_state(w->core, req), REQ_DECODE);
    world_free(w);
}

int main(void) {
    log_setup(LOG_ERROR, "core_test");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_takes_work_after_its_first_heartbeat),
        cmocka_unit_test(a_retried_join_gets_the_same_incarnation_and_another_name_is_made_unique),
        cmocka_unit_test(workers_of_one_process_are_told_apart_by_their_names),
        cmocka_unit_test(a_join_on_a_connection_in_use_ends_the_session_that_was_there),
        cmocka_unit_test(unlike_numerics_are_refused_naming_the_field),
        cmocka_unit_test(the_numerics_of_the_members_can_be_asked_for),
        cmocka_unit_test(a_worker_that_leaves_is_told_exit_and_its_reason_is_kept),
        cmocka_unit_test(a_worker_beyond_the_limit_is_not_answered_until_there_is_a_place),
        cmocka_unit_test(a_worker_that_was_told_to_leave_is_not_lost),
        cmocka_unit_test(a_worker_that_joins_anew_did_not_die),
        cmocka_unit_test(a_process_that_dies_is_one_death_however_many_workers_it_had),
        cmocka_unit_test(what_is_left_of_a_process_works_again_when_it_is_heard),
        cmocka_unit_test(a_worker_that_was_drained_casts_no_doubt_on_its_process),
        cmocka_unit_test(what_can_never_fit_is_400_and_names_the_numbers),
        cmocka_unit_test(absent_max_tokens_are_clipped_to_the_pool),
        cmocka_unit_test(a_full_queue_is_429_and_a_role_nobody_wants_is_503),
        cmocka_unit_test(prefill_and_reserve_go_out_in_one_turn_and_dest_follows_reserved),
        cmocka_unit_test(dest_tells_p_the_first_row_that_d_lacks),
        cmocka_unit_test(a_prefill_worker_has_two_batches_of_prompt_tokens_at_most),
        cmocka_unit_test(a_promise_ends_with_the_workers_answer),
        cmocka_unit_test(without_room_at_d_the_kv_is_parked_and_gets_the_first_pages_that_are_free),
        cmocka_unit_test(no_room_at_p_drops_the_reservation_and_keeps_the_place_in_the_queue),
        cmocka_unit_test(no_room_at_d_is_offered_again_under_the_same_attempt),
        cmocka_unit_test(closed_of_an_attempt_that_was_never_given_is_stale),
        cmocka_unit_test(reserved_of_a_worker_that_computed_the_prompt_itself_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
