/* The runner before a client that answers when the test says so. */
#include "tests/test.h"

#include "base/clock.h"
#include "base/mem.h"
#include "bench/load/runner.h"
#include "bench/rows/row_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ITEMS = 64 };
#define FOREVER (600 * NS_PER_S)

typedef struct world {
    client client; /* first: the fake is one */
    loop *loop;
    runner *runner;
    schedule plan;
    planned items[ITEMS];
    schedule_window windows[3];
    uint64_t prepared[ITEMS + 1], started[ITEMS + 1]; /* how often, by number */
    bool running[ITEMS + 1];
    uint32_t active, most, canceled;
    bool hold;           /* nothing is answered */
    uint32_t hold_from;  /* nor are items from here on; 0: none */
    row_outcome outcome; /* of what is answered */
    uint32_t stop_after; /* rows; 0: never */
    row_list rows;
    bool over;
    runner_state how;
    char told[64];           /* windows: "b0 e0 " */
    uint32_t counted_before; /* requests of the run that began while warm-ups ran */
} world;

/* ---- the client ---- */

static void prepare(client *c, const client_request *r, buf *wire) {
    world *w = (world *)c;
    w->prepared[r->number]++;
    buf_reset(wire);
    buf_addf(wire, "%u %u", (unsigned)r->number, r->output_tokens);
}

static void start(client *c, const buf *wire, uint64_t number) {
    world *w = (world *)c;
    assert_int_equal(strtoul(wire->data, NULL, 10), number);
    assert_int_equal(w->prepared[number], 1);
    w->started[number]++;
    w->running[number] = true;
    w->active++;
    w->most = MAX(w->most, w->active);
    bool warmups = false;
    for (uint32_t i = 0; i < w->plan.before_count; i++) warmups = warmups || w->running[i + 1];
    if (warmups && number > w->plan.before_count) w->counted_before++;
    loop_wake(w->loop);
}

static void cancel(client *c, uint64_t number) {
    world *w = (world *)c;
    assert_true(w->running[number]);
    w->running[number] = false;
    w->active--;
    w->canceled++;
}

static void answer_all(world *w) {
    client_handler h = runner_client_handler(w->runner);
    for (uint64_t n = 1; n <= w->plan.count && !w->over; n++) {
        if (!w->running[n] || w->hold || (w->hold_from && n > w->hold_from)) continue;
        w->running[n] = false;
        w->active--;
        client_end e = client_end_empty();
        e.outcome = w->outcome;
        e.at_ns = clock_now_ns();
        snprintf(e.finish, sizeof e.finish, "length");
        if (w->outcome == ROW_OK) {
            h.event(h.ctx, n, e.at_ns, 0);
            h.event(h.ctx, n, e.at_ns, 2);
            e.output_tokens = 2;
        }
        h.end(h.ctx, n, &e);
    }
}

/* ---- the handler ---- */

static void on_ask(void *ctx, const planned *p, client_request *out) {
    static const int32_t ids[] = {1, 2, 3};
    (void)ctx;
    out->ids = ids;
    out->id_count = ARRAY_LEN(ids);
    out->output_tokens = p->output_tokens;
}

static void on_row(void *ctx, row *r) {
    world *w = ctx;
    row_list_add(&w->rows, r);
}

static void on_window(void *ctx, uint32_t window, bool end) {
    world *w = ctx;
    size_t len = strlen(w->told);
    snprintf(w->told + len, sizeof w->told - len, "%s%u ", end ? "e" : "b", window);
}

static void on_over(void *ctx, runner_state how) {
    world *w = ctx;
    assert_false(w->over);
    w->over = true;
    w->how = how;
    loop_stop(w->loop);
}

static uint64_t on_turn(void *ctx, uint64_t now_ns) {
    world *w = ctx;
    if (w->over) return UINT64_MAX;
    uint64_t next = runner_turn(w->runner, now_ns);
    answer_all(w);
    if (!w->over && w->stop_after && w->rows.count >= w->stop_after) runner_stop(w->runner, "enough");
    return next;
}

/* ---- the plan ---- */

static world *world_new(void) {
    static const client_ops ops = {.prepare = prepare, .start = start, .cancel = cancel};
    world *w = xcalloc(1, sizeof *w);
    w->client.ops = &ops;
    w->plan = (schedule){.items = w->items, .windows = w->windows};
    return w;
}

static void add(world *w, row_phase phase, uint64_t at_ms, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        assert_true(w->plan.count < ITEMS);
        w->items[w->plan.count] = (planned){.seed = 1 + phase,
                                            .index = w->plan.count,
                                            .at_ns = at_ms * NS_PER_MS,
                                            .prompt_tokens = 3,
                                            .output_tokens = 2,
                                            .phase = phase};
        w->plan.count++;
    }
}

static void add_window(world *w, uint64_t begin_ms, uint64_t end, uint32_t first, uint32_t count) {
    w->windows[w->plan.window_count++] =
        (schedule_window){.begin_ns = begin_ms * NS_PER_MS, .end_ns = end, .first = first, .count = count};
}

static void run(world *w, runner_options o) {
    errbuf eb = {0};
    o.plan = &w->plan;
    if (!o.request_timeout_ns) o.request_timeout_ns = FOREVER;
    if (!o.stall_ns) o.stall_ns = FOREVER;
    runner_handler h = {.ctx = w, .ask = on_ask, .row = on_row, .window = on_window, .over = on_over};
    assert_int_equal(loop_new(&w->loop, on_turn, w, &eb), ST_OK);
    assert_int_equal(runner_new(&w->runner, w->loop, &o, &h, &eb), ST_OK);
    runner_start(w->runner, &w->client);
    loop_run(w->loop);
    assert_true(w->over);
}

static uint32_t with_outcome(const world *w, row_phase phase, row_outcome outcome) {
    uint32_t n = 0;
    for (size_t i = 0; i < w->rows.count; i++)
        n += w->rows.rows[i].phase == phase && w->rows.rows[i].outcome == outcome;
    return n;
}

static void world_free(world *w) {
    runner_free(w->runner);
    loop_free(w->loop);
    row_list_done(&w->rows);
    free(w);
}

/* ---- facts ---- */

static void every_request_is_sent_once_and_has_one_row(void **state) {
    (void)state;
    world *w = world_new();
    for (uint32_t i = 0; i < 20; i++) add(w, ROW_WINDOW, i, 2);
    add_window(w, 0, ROW_NEVER, 0, 40);
    run(w, (runner_options){0});
    assert_int_equal(w->how, RUNNER_ENDED);
    assert_int_equal(w->rows.count, 40);
    for (uint32_t i = 0; i < 40; i++) {
        assert_int_equal(w->started[i + 1], 1);
        const row *r = &w->rows.rows[i];
        assert_int_equal(r->outcome, ROW_OK);
        assert_int_equal(r->scheduled_ns, (uint64_t)(r->index / 2) * NS_PER_MS);
        assert_true(r->sent_ns >= r->scheduled_ns);
        assert_int_equal(r->event_count, 2);
        assert_int_equal(r->first_ns, r->events[1].at_ns);
        assert_int_equal(r->output_tokens, 2);
        assert_string_equal(r->finish, "length");
    }
    runner_counts c = runner_counts_of(w->runner);
    assert_int_equal(c.sent, 40);
    assert_int_equal(c.done, 40);
    assert_int_equal(c.in_flight, 0);
    assert_int_equal(c.tokens, 80);
    assert_string_equal(w->told, "b0 e0 ");
    world_free(w);
}

static void a_cap_is_kept_and_due_requests_wait_for_a_place(void **state) {
    (void)state;
    world *w = world_new();
    add(w, ROW_WINDOW, 0, 30);
    add_window(w, 0, ROW_NEVER, 0, 30);
    run(w, (runner_options){.max_concurrency = 3});
    assert_int_equal(w->most, 3);
    assert_int_equal(with_outcome(w, ROW_WINDOW, ROW_OK), 30);
    for (size_t i = 0; i < w->rows.count; i++) assert_int_equal(w->rows.rows[i].scheduled_ns, 0);
    world_free(w);
}

static void in_a_closed_loop_a_request_is_due_when_its_place_is_free(void **state) {
    (void)state;
    world *w = world_new();
    add(w, ROW_WINDOW, 0, 30);
    add_window(w, 0, ROW_NEVER, 0, 30);
    run(w, (runner_options){.max_concurrency = 3, .closed = true});
    for (size_t i = 0; i < w->rows.count; i++)
        assert_int_equal(w->rows.rows[i].scheduled_ns, w->rows.rows[i].sent_ns);
    world_free(w);
}

static void warm_ups_before_the_clock_are_waited_for(void **state) {
    (void)state;
    world *w = world_new();
    add(w, ROW_WARMUP, 0, 3);
    add(w, ROW_WINDOW, 0, 5);
    w->plan.before_count = 3;
    add_window(w, 0, ROW_NEVER, 3, 5);
    run(w, (runner_options){0});
    assert_int_equal(w->counted_before, 0);
    assert_int_equal(with_outcome(w, ROW_WARMUP, ROW_OK), 3);
    assert_int_equal(with_outcome(w, ROW_WINDOW, ROW_OK), 5);
    world_free(w);
}

static void the_tail_goes_on_until_the_last_member_ended(void **state) {
    (void)state;
    world *w = world_new();
    add(w, ROW_WARMUP, 0, 2);
    add(w, ROW_WINDOW, 2, 4);
    add(w, ROW_TAIL, 4, 3);
    add(w, ROW_TAIL, 3600 * 1000, 5); /* never */
    add_window(w, 1, 3 * NS_PER_MS, 2, 4);
    run(w, (runner_options){0});
    assert_int_equal(w->how, RUNNER_ENDED);
    assert_int_equal(with_outcome(w, ROW_WARMUP, ROW_OK), 2);
    assert_int_equal(with_outcome(w, ROW_WINDOW, ROW_OK), 4);
    assert_true(w->rows.count <= 9);
    assert_string_equal(w->told, "b0 e0 ");
    world_free(w);
}

static void what_runs_when_the_last_member_ends_is_unfinished(void **state) {
    (void)state;
    world *w = world_new();
    add(w, ROW_WINDOW, 0, 2);
    add(w, ROW_TAIL, 0, 3); /* sent in the same turn, and not answered */
    add_window(w, 0, 1 * NS_PER_MS, 0, 2);
    w->hold_from = 2;
    run(w, (runner_options){0});
    assert_int_equal(w->how, RUNNER_ENDED);
    assert_int_equal(with_outcome(w, ROW_WINDOW, ROW_OK), 2);
    assert_int_equal(with_outcome(w, ROW_TAIL, ROW_UNFINISHED), 3);
    assert_int_equal(w->canceled, 3);
    assert_int_equal(runner_counts_of(w->runner).failed, 0);
    world_free(w);
}

static void windows_are_told_in_order(void **state) {
    (void)state;
    world *w = world_new();
    add(w, ROW_WINDOW, 1, 2);
    add(w, ROW_WINDOW, 6, 2);
    add_window(w, 0, 5 * NS_PER_MS, 0, 2);
    add_window(w, 5, 10 * NS_PER_MS, 2, 2);
    run(w, (runner_options){0});
    assert_true(strcmp(w->told, "b0 e0 b1 e1 ") == 0 || strcmp(w->told, "b0 b1 e0 e1 ") == 0);
    world_free(w);
}

static void a_stop_leaves_rows_that_say_what_was_not_done(void **state) {
    (void)state;
    world *w = world_new();
    add(w, ROW_WINDOW, 0, 10);
    add(w, ROW_WINDOW, 3600 * 1000, 5);
    add(w, ROW_TAIL, 3600 * 1000, 5);
    add_window(w, 0, ROW_NEVER, 0, 15);
    w->hold_from = 6;
    w->stop_after = 6;
    run(w, (runner_options){0});
    assert_int_equal(w->how, RUNNER_STOPPED);
    assert_int_equal(with_outcome(w, ROW_WINDOW, ROW_OK), 6);
    assert_int_equal(with_outcome(w, ROW_WINDOW, ROW_UNFINISHED), 4);
    assert_int_equal(with_outcome(w, ROW_WINDOW, ROW_UNSENT), 5);
    assert_int_equal(w->rows.count, 15);
    assert_int_equal(w->canceled, 4);
    for (size_t i = 0; i < w->rows.count; i++) {
        const row *r = &w->rows.rows[i];
        if (r->outcome != ROW_OK) assert_string_equal(r->error, "enough");
        assert_int_equal(r->sent_ns == ROW_NEVER, r->outcome == ROW_UNSENT);
    }
    world_free(w);
}

static void a_request_beyond_its_time_is_canceled(void **state) {
    (void)state;
    world *w = world_new();
    add(w, ROW_WINDOW, 0, 4);
    add_window(w, 0, ROW_NEVER, 0, 4);
    w->hold_from = 2;
    run(w, (runner_options){.request_timeout_ns = 50 * NS_PER_MS});
    assert_int_equal(w->how, RUNNER_ENDED);
    assert_int_equal(with_outcome(w, ROW_WINDOW, ROW_OK), 2);
    assert_int_equal(with_outcome(w, ROW_WINDOW, ROW_TIMED_OUT), 2);
    for (size_t i = 0; i < w->rows.count; i++) {
        const row *r = &w->rows.rows[i];
        if (r->outcome == ROW_TIMED_OUT) assert_true(r->end_ns >= r->sent_ns + 50 * NS_PER_MS);
    }
    world_free(w);
}

static void a_run_in_which_nothing_succeeds_any_more_is_given_up(void **state) {
    (void)state;
    world *w = world_new();
    add(w, ROW_WINDOW, 0, 3);
    add(w, ROW_WINDOW, 3600 * 1000, 3);
    add_window(w, 0, ROW_NEVER, 0, 6);
    w->outcome = ROW_FAILED;
    run(w, (runner_options){.stall_ns = 20 * NS_PER_MS});
    assert_int_equal(w->how, RUNNER_STALLED);
    assert_int_equal(with_outcome(w, ROW_WINDOW, ROW_FAILED), 3);
    assert_int_equal(with_outcome(w, ROW_WINDOW, ROW_UNSENT), 3);
    world_free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_is_sent_once_and_has_one_row),
        cmocka_unit_test(a_cap_is_kept_and_due_requests_wait_for_a_place),
        cmocka_unit_test(in_a_closed_loop_a_request_is_due_when_its_place_is_free),
        cmocka_unit_test(warm_ups_before_the_clock_are_waited_for),
        cmocka_unit_test(the_tail_goes_on_until_the_last_member_ended),
        cmocka_unit_test(what_runs_when_the_last_member_ends_is_unfinished),
        cmocka_unit_test(windows_are_told_in_order),
        cmocka_unit_test(a_stop_leaves_rows_that_say_what_was_not_done),
        cmocka_unit_test(a_request_beyond_its_time_is_canceled),
        cmocka_unit_test(a_run_in_which_nothing_succeeds_any_more_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
