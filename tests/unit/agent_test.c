#include "tests/test.h"

#include "base/clock.h"
#include "base/mem.h"
#include "worker_core/agent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS      NS_PER_MS
#define LOG_MAX 64u

typedef struct world {
    agent *a;
    ctl_msg sent[LOG_MAX];
    uint32_t sent_count, sent_read;
    xfer_cmd cmds[LOG_MAX];
    uint32_t cmd_count;
    const dev_job *job;
    uint32_t reconnects, quits;
    bool quit_orderly;
    char quit_why[256];
    uint64_t now_ns;
} world;

static const step_span span = {.begin_ns = 900 * MS, .duration_ns = 3 * MS};

static void on_send(void *ctx, const ctl_msg *m) {
    world *w = ctx;
    assert_true(w->sent_count < LOG_MAX);
    w->sent[w->sent_count++] = *m;
}

static void on_xfer(void *ctx, const xfer_cmd *c) {
    world *w = ctx;
    assert_true(w->cmd_count < LOG_MAX);
    w->cmds[w->cmd_count++] = *c;
}

static void on_step(void *ctx, const dev_job *j) {
    world *w = ctx;
    w->job = j;
}

static void on_reconnect(void *ctx) {
    world *w = ctx;
    w->reconnects++;
}

static void on_quit(void *ctx, const char *why, bool orderly) {
    world *w = ctx;
    w->quits++;
    w->quit_orderly = orderly;
    snprintf(w->quit_why, sizeof w->quit_why, "%s", why);
}

static world *start(void) {
    world *w = xcalloc(1, sizeof *w);
    agent_options opt = {
        .role = &prefill_core_ops,
        .core = {.page_count = 10, .max_seqs = 2, .max_rows = 64, .chunk_tokens = 32, .max_context = 128},
        .join = {.role = ROLE_PREFILL, .name = "prefill-0", .page_count = 10},
        .join_retry_ns = 1000 * MS,
        .rejoin_ns = 60000 * MS};
    agent_sink sink = {.ctx = w,
                       .send = on_send,
                       .xfer = on_xfer,
                       .step = on_step,
                       .reconnect = on_reconnect,
                       .quit = on_quit};
    w->now_ns = 1000 * MS;
    w->a = agent_new(&opt, &sink, w->now_ns);
    agent_connected(w->a, w->now_ns);
    return w;
}

static void end(world *w) {
    assert_true(agent_check(w->a));
    agent_free(w->a);
    free(w);
}

static const ctl_msg *expect(world *w, ctl_kind kind) {
    assert_true(w->sent_read < w->sent_count);
    const ctl_msg *m = &w->sent[w->sent_read++];
    assert_int_equal(m->kind, kind);
    return m;
}

static void expect_quiet(const world *w) {
    assert_int_equal(w->sent_read, w->sent_count);
}

static uint64_t turn(world *w) {
    uint64_t next = agent_turn(
        w->a,
        &(agent_progress){
            .step = 3, .step_age_ns = 4, .step_bound_ns = 5, .step_layers_done = 6, .step_layers = 7},
        w->now_ns);
    assert_true(agent_check(w->a));
    return next;
}

/* Lets time pass as the runtime does: a turn whenever the agent asked for one. */
static void pass(world *w, uint64_t ns) {
    uint64_t until = w->now_ns + ns;
    while (w->now_ns < until && !w->quits) {
        uint64_t next = turn(w);
        assert_true(next > w->now_ns);
        w->now_ns = MIN(next, until);
    }
    turn(w);
}

static void tell(world *w, ctl_msg m) {
    agent_ctl(w->a, &m, w->now_ns);
    assert_true(agent_check(w->a));
}

static void welcome(world *w, uint64_t incarnation) {
    tell(w, (ctl_msg){.kind = CTL_WELCOME,
                      .epoch = 9,
                      .incarnation = incarnation,
                      .welcome = {.lease_ns = 10000 * MS, .heartbeat_ns = 250 * MS, .name = "prefill-0"}});
}

static void ack(world *w, uint64_t incarnation) {
    tell(w, (ctl_msg){.kind = CTL_ACK, .epoch = 9, .incarnation = incarnation});
}

static void prefill(world *w, uint64_t epoch, uint64_t incarnation) {
    static const int32_t ids[16] = {1};
    ctl_msg m = {.kind = CTL_PREFILL, .epoch = epoch, .incarnation = incarnation, .req = 1, .attempt = 1};
    m.work = (ctl_work){.prompt = ids, .prompt_count = 16, .params = sampling_default()};
    tell(w, m);
}

static void a_connection_is_greeted_with_join_and_unanswered_ones_are_repeated(void **state) {
    (void)state;
    world *w = start();
    const ctl_msg *m = expect(w, CTL_JOIN);
    assert_int_equal(m->incarnation, 0);
    assert_int_equal(m->free_pages, 10);
    assert_int_equal(m->join.last_incarnation, 0);
    assert_string_equal(m->join.name, "prefill-0");
    pass(w, 999 * MS);
    expect_quiet(w);
    pass(w, 1 * MS);
    expect(w, CTL_JOIN);
    assert_false(agent_is_member(w->a));
    end(w);
}

static void welcome_makes_a_member_that_beats_every_250_ms(void **state) {
    (void)state;
    world *w = start();
    expect(w, CTL_JOIN);
    welcome(w, 33);
    assert_true(agent_is_member(w->a));
    assert_int_equal(agent_incarnation(w->a), 33);
    assert_int_equal(w->cmds[0].kind, X_EPOCH);
    assert_int_equal(w->cmds[0].id.p_inc, 33);
    turn(w);
    const ctl_msg *m = expect(w, CTL_HEARTBEAT);
    assert_int_equal(m->epoch, 9);
    assert_int_equal(m->incarnation, 33);
    assert_int_equal(m->free_pages, 10);
    assert_int_equal(m->heartbeat.step, 3);
    assert_int_equal(m->heartbeat.step_age_ns, 4);
    assert_int_equal(m->heartbeat.step_bound_ns, 5);
    assert_int_equal(m->heartbeat.step_layers_done, 6);
    assert_int_equal(m->heartbeat.step_layers, 7);
    pass(w, 249 * MS);
    expect_quiet(w);
    pass(w, 1 * MS);
    expect(w, CTL_HEARTBEAT);
    pass(w, 1000 * MS);
    for (int i = 0; i < 4; i++) expect(w, CTL_HEARTBEAT);
    expect_quiet(w);
    end(w);
}

static void a_welcome_that_names_no_session_is_stale(void **state) {
    (void)state;
    world *w = start();
    ctl_msg m = {.kind = CTL_WELCOME, .incarnation = 33};
    m.welcome = (ctl_welcome){.lease_ns = 10000 * MS, .heartbeat_ns = 250 * MS, .name = "prefill-0"};
    tell(w, m);
    assert_false(agent_is_member(w->a));
    m.epoch = 9;
    m.incarnation = 0;
    tell(w, m);
    assert_false(agent_is_member(w->a));
    assert_int_equal(agent_stats(w->a).stale, 2);
    end(w);
}

static void a_heartbeat_tells_the_steps_since_the_one_before_and_the_time_in_all(void **state) {
    (void)state;
    world *w = start();
    welcome(w, 33);
    prefill(w, 9, 33);
    turn(w);
    assert_int_equal(w->job->sums.tokens, 16);
    assert_int_equal(w->job->sums.batch, 0);
    agent_stepped(w->a, &(step_result){.tag = 1, .sampled = true}, 1, &span, w->now_ns);
    w->sent_read = w->sent_count;
    pass(w, 250 * MS);
    const ctl_msg *m = expect(w, CTL_HEARTBEAT);
    assert_int_equal(m->heartbeat.step_count, 1);
    assert_int_equal(m->heartbeat.steps_left_out, 0);
    assert_int_equal(m->heartbeat.busy_ns[BUSY_PREFILL], 3 * MS);
    assert_int_equal(m->heartbeat.busy_ns[BUSY_DECODE], 0);
    pass(w, 250 * MS);
    m = expect(w, CTL_HEARTBEAT);
    assert_int_equal(m->heartbeat.step_count, 0);
    assert_int_equal(m->heartbeat.busy_ns[BUSY_PREFILL], 3 * MS);
    end(w);
}

static void no_step_begins_in_the_second_half_of_an_unanswered_lease_until_an_answer_comes(void **state) {
    (void)state;
    world *w = start();
    static int32_t ids[40];
    welcome(w, 33);
    ctl_msg m = {.kind = CTL_PREFILL, .epoch = 9, .incarnation = 33, .req = 1, .attempt = 1};
    m.work = (ctl_work){.prompt = ids, .prompt_count = 40, .params = sampling_default()};
    tell(w, m);
    turn(w);
    assert_non_null(w->job); /* the first chunk of two */
    pass(w, 5000 * MS);
    w->job = NULL;
    agent_stepped(w->a, &(step_result){.tag = 1}, 1, &span, w->now_ns);
    turn(w);
    assert_null(w->job);
    ack(w, 33);
    turn(w);
    assert_non_null(w->job);
    end(w);
}

static void a_lease_that_runs_out_drops_everything_and_joins_anew(void **state) {
    (void)state;
    world *w = start();
    welcome(w, 33);
    prefill(w, 9, 33);
    pass(w, 9999 * MS);
    assert_int_equal(w->reconnects, 0);
    pass(w, 1 * MS);
    assert_int_equal(w->reconnects, 1);
    assert_false(agent_is_member(w->a));
    assert_int_equal(agent_incarnation(w->a), 0);
    w->sent_read = w->sent_count;
    agent_connected(w->a, w->now_ns);
    assert_int_equal(expect(w, CTL_JOIN)->join.last_incarnation, 33); /* it lives */
    agent_stepped(w->a, &(step_result){.tag = 1, .sampled = true}, 1, &span, w->now_ns);
    agent_xfer(w->a, &(xfer_event){.kind = X_DROPPED, .id = {.req = 1}}, w->now_ns);
    assert_true(agent_idle(w->a));
    expect_quiet(w); /* not a word about the old session's request */
    welcome(w, 34);
    assert_int_equal(agent_incarnation(w->a), 34);
    end(w);
}

static void a_stopped_process_does_not_count_its_sleep_as_silence(void **state) {
    (void)state;
    world *w = start();
    welcome(w, 33);
    pass(w, 1000 * MS);
    w->now_ns += 30000 * MS; /* SIGSTOP ... SIGCONT */
    turn(w);
    assert_true(agent_is_member(w->a));
    assert_int_equal(w->reconnects, 0);
    ack(w, 33);
    turn(w);
    assert_true(agent_is_member(w->a));
    end(w);
}

static void a_lost_connection_ends_the_session_at_once(void **state) {
    (void)state;
    world *w = start();
    welcome(w, 33);
    prefill(w, 9, 33);
    assert_false(agent_idle(w->a));
    agent_lost(w->a, w->now_ns);
    assert_int_equal(w->reconnects, 1);
    agent_xfer(w->a, &(xfer_event){.kind = X_DROPPED, .id = {.req = 1}}, w->now_ns);
    assert_true(agent_idle(w->a));
    end(w);
}

static void refused_is_final_while_joining_and_a_rejoin_when_it_is_about_the_session(void **state) {
    (void)state;
    world *w = start();
    welcome(w, 33);
    tell(w, (ctl_msg){.kind = CTL_REFUSED, .refused = {.field = "gone", .why = "silent for 5 s"}});
    assert_int_equal(w->quits, 0);
    assert_int_equal(w->reconnects, 1);
    agent_connected(w->a, w->now_ns);
    tell(w, (ctl_msg){.kind = CTL_REFUSED, .refused = {.field = "session", .why = "it is over"}});
    assert_int_equal(w->quits, 0);
    assert_int_equal(w->reconnects, 2);
    agent_connected(w->a, w->now_ns);
    tell(w, (ctl_msg){.kind = CTL_REFUSED, .refused = {.field = "kv_dtype", .why = "f32 here, f16 there"}});
    assert_int_equal(w->quits, 1);
    assert_false(w->quit_orderly);
    assert_string_equal(w->quit_why, "the coordinator refused this worker: kv_dtype: f32 here, f16 there");
    end(w);
}

static void without_a_coordinator_it_gives_up_after_rejoin_ns(void **state) {
    (void)state;
    world *w = start();
    for (int i = 0; i < 59; i++) {
        pass(w, 1000 * MS);
        w->sent_count = w->sent_read = 0;
    }
    pass(w, 999 * MS);
    assert_int_equal(w->quits, 0);
    pass(w, 1 * MS);
    assert_int_equal(w->quits, 1);
    assert_false(w->quit_orderly);
    assert_string_equal(w->quit_why, "no coordinator answered for 60.0 s");
    end(w);
}

static void exit_is_an_orderly_quit_and_is_told_once(void **state) {
    (void)state;
    world *w = start();
    welcome(w, 33);
    tell(w, (ctl_msg){.kind = CTL_EXIT, .epoch = 9, .incarnation = 33});
    tell(w, (ctl_msg){.kind = CTL_EXIT, .epoch = 9, .incarnation = 33});
    assert_int_equal(w->quits, 1);
    assert_true(w->quit_orderly);
    end(w);
}

static void messages_of_another_session_are_counted_and_ignored(void **state) {
    (void)state;
    world *w = start();
    welcome(w, 33);
    prefill(w, 8, 33);
    prefill(w, 9, 32);
    tell(w, (ctl_msg){.kind = CTL_EXIT, .epoch = 8, .incarnation = 33});
    assert_true(agent_idle(w->a));
    assert_int_equal(w->quits, 0);
    assert_int_equal(agent_stats(w->a).stale, 3);
    end(w);
}

static void drain_is_answered_when_nothing_is_held_any_more(void **state) {
    (void)state;
    world *w = start();
    welcome(w, 33);
    prefill(w, 9, 33);
    turn(w);
    w->sent_read = w->sent_count;
    tell(w, (ctl_msg){.kind = CTL_DRAIN, .epoch = 9, .incarnation = 33});
    turn(w);
    expect_quiet(w);
    tell(w, (ctl_msg){.kind = CTL_CANCEL, .epoch = 9, .incarnation = 33, .req = 1, .attempt = 1});
    agent_xfer(w->a, &(xfer_event){.kind = X_DROPPED, .id = {.req = 1}}, w->now_ns);
    agent_stepped(w->a, &(step_result){.tag = 1, .sampled = true}, 1, &span, w->now_ns);
    expect(w, CTL_CLOSED);
    turn(w);
    expect(w, CTL_DRAINED);
    turn(w);
    expect_quiet(w);
    end(w);
}

static void a_worker_that_cannot_go_on_says_why_and_quits_when_told_exit(void **state) {
    (void)state;
    world *w = start();
    welcome(w, 33);
    w->sent_read = w->sent_count;
    agent_leave(w->a, "attend: illegal address", w->now_ns);
    agent_leave(w->a, "again", w->now_ns);
    const ctl_msg *m = expect(w, CTL_LEAVING);
    assert_string_equal(m->failed.why, "attend: illegal address");
    assert_int_equal(m->incarnation, 33);
    prefill(w, 9, 33);
    pass(w, 500 * MS);
    expect_quiet(w);
    assert_null(w->job); /* nothing is begun any more */
    assert_int_equal(w->quits, 0);
    tell(w, (ctl_msg){.kind = CTL_EXIT, .epoch = 9, .incarnation = 33});
    assert_int_equal(w->quits, 1);
    assert_true(w->quit_orderly);
    end(w);
}

static void leaving_ends_after_a_second_without_an_answer(void **state) {
    (void)state;
    world *w = start();
    welcome(w, 33);
    agent_leave(w->a, "gone", w->now_ns);
    pass(w, 999 * MS);
    assert_int_equal(w->quits, 0);
    pass(w, 1 * MS);
    assert_int_equal(w->quits, 1);
    end(w);
}

static void leaving_ends_at_once_without_a_session(void **state) {
    (void)state;
    world *w = start();
    agent_leave(w->a, "gone", w->now_ns); /* not welcomed yet */
    assert_int_equal(w->quits, 1);
    end(w);
    w = start();
    welcome(w, 33);
    agent_leave(w->a, "gone", w->now_ns);
    agent_lost(w->a, w->now_ns);
    assert_int_equal(w->quits, 1);
    assert_int_equal(w->reconnects, 0);
    end(w);
}

static void a_worker_that_was_asked_to_stop_asks_to_be_drained_and_leaves_when_told(void **state) {
    (void)state;
    world *w = start();
    welcome(w, 33);
    turn(w);
    w->sent_read = w->sent_count;
    agent_drain(w->a, 30000 * MS, w->now_ns);
    turn(w);
    assert_true(expect(w, CTL_HEARTBEAT)->heartbeat.drain); /* at once, not with the next one that is due */
    expect_quiet(w);
    tell(w, (ctl_msg){.kind = CTL_DRAIN, .epoch = 9, .incarnation = 33});
    turn(w);
    expect(w, CTL_DRAINED);
    assert_int_equal(w->quits, 0);
    tell(w, (ctl_msg){.kind = CTL_DRAIN, .epoch = 9, .incarnation = 33}); /* again: answered again */
    turn(w);
    expect(w, CTL_DRAINED);
    tell(w, (ctl_msg){.kind = CTL_EXIT, .epoch = 9, .incarnation = 33});
    assert_int_equal(w->quits, 1);
    assert_true(w->quit_orderly);
    end(w);
}

static void what_cannot_be_drained_ends_at_once(void **state) {
    (void)state;
    world *w = start();
    agent_drain(w->a, 30000 * MS, w->now_ns); /* not welcomed yet */
    assert_int_equal(w->quits, 1);
    assert_true(w->quit_orderly);
    end(w);
    w = start();
    welcome(w, 33);
    agent_drain(w->a, 30000 * MS, w->now_ns);
    assert_int_equal(w->quits, 0);
    agent_drain(w->a, 30000 * MS, w->now_ns);
    assert_int_equal(w->quits, 1);
    assert_string_equal(w->quit_why, "it was asked to stop a second time");
    end(w);
    w = start();
    welcome(w, 33);
    agent_drain(w->a, 30000 * MS, w->now_ns);
    agent_lost(w->a, w->now_ns);
    assert_int_equal(w->quits, 1);
    assert_int_equal(w->reconnects, 0);
    end(w);
}

static void draining_ends_when_its_time_is_over(void **state) {
    (void)state;
    world *w = start();
    welcome(w, 33);
    prefill(w, 9, 33);
    agent_drain(w->a, 700 * MS, w->now_ns);
    tell(w, (ctl_msg){.kind = CTL_DRAIN, .epoch = 9, .incarnation = 33});
    pass(w, 699 * MS);
    assert_int_equal(w->quits, 0);
    assert_true(turn(w) == w->now_ns + MS);
    pass(w, MS);
    assert_int_equal(w->quits, 1);
    assert_true(w->quit_orderly);
    assert_string_equal(w->quit_why, "its requests did not finish in the time that it has for draining");
    end(w);
}

static void a_receiver_is_told_to_the_transfer_thread_and_its_pair_to_the_coordinator(void **state) {
    (void)state;
    world *w = start();
    expect(w, CTL_JOIN);
    welcome(w, 5);
    pass(w, 0);
    expect(w, CTL_HEARTBEAT);
    uint32_t before = w->cmd_count;
    tell(w, (ctl_msg){.kind = CTL_PEER,
                      .epoch = 9,
                      .incarnation = 5,
                      .dest = {.d_inc = 77, .endpoint = "tcp://10.0.0.2:4"}});
    assert_int_equal(w->cmd_count, before + 1);
    assert_int_equal(w->cmds[before].kind, X_PEER);
    assert_int_equal(w->cmds[before].peer_inc, 77);
    assert_string_equal(w->cmds[before].endpoint, "tcp://10.0.0.2:4");

    tell(w, (ctl_msg){.kind = CTL_PEER_GONE, .epoch = 9, .incarnation = 5, .dest.d_inc = 76});
    assert_int_equal(w->cmds[before + 1].kind, X_PEER_GONE);
    assert_int_equal(w->cmds[before + 1].peer_inc, 76);

    xfer_event e = {.kind = X_PAIR, .id = {.epoch = 9, .p_inc = 5, .d_inc = 77}};
    e.pair = (xfer_pair){.transport = "zmq", .open = true, .latency_ns = 9, .bytes_per_s = 1e9};
    agent_xfer(w->a, &e, w->now_ns);
    const ctl_msg *m = expect(w, CTL_PAIR);
    assert_int_equal(m->pair.d_inc, 77);
    assert_string_equal(m->pair.transport, "zmq");
    assert_int_equal(m->pair.bytes_per_s, 1000000000);
    e.id.p_inc = 4; /* of an earlier session */
    agent_xfer(w->a, &e, w->now_ns);
    expect_quiet(w);
    end(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_is_greeted_with_join_and_unanswered_ones_are_repeated),
        cmocka_unit_test(welcome_makes_a_member_that_beats_every_250_ms),
        cmocka_unit_test(a_heartbeat_tells_the_steps_since_the_one_before_and_the_time_in_all),
        cmocka_unit_test(no_step_begins_in_the_second_half_of_an_unanswered_lease_until_an_answer_comes),
        cmocka_unit_test(a_lease_that_runs_out_drops_everything_and_joins_anew),
        cmocka_unit_test(a_stopped_process_does_not_count_its_sleep_as_silence),
        cmocka_unit_test(a_lost_connection_ends_the_session_at_once),
        cmocka_unit_test(refused_is_final_while_joining_and_a_rejoin_when_it_is_about_the_session),
        cmocka_unit_test(without_a_coordinator_it_gives_up_after_rejoin_ns),
        cmocka_unit_test(exit_is_an_orderly_quit_and_is_told_once),
        cmocka_unit_test(messages_of_another_session_are_counted_and_ignored),
        cmocka_unit_test(drain_is_answered_when_nothing_is_held_any_more),
        cmocka_unit_test(a_worker_that_cannot_go_on_says_why_and_quits_when_told_exit),
        cmocka_unit_test(leaving_ends_after_a_second_without_an_answer),
        cmocka_unit_test(leaving_ends_at_once_without_a_session),
        cmocka_unit_test(a_welcome_that_names_no_session_is_stale),
        cmocka_unit_test(a_worker_that_was_asked_to_stop_asks_to_be_drained_and_leaves_when_told),
        cmocka_unit_test(what_cannot_be_drained_ends_at_once),
        cmocka_unit_test(draining_ends_when_its_time_is_over),
        cmocka_unit_test(a_receiver_is_told_to_the_transfer_thread_and_its_pair_to_the_coordinator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
