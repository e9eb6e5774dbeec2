/* Turns: one per batch of events, on time, and from another thread's wake. */
#include "tests/test.h"

#include "base/clock.h"
#include "net/loop.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <unistd.h>

typedef struct probe {
    loop *l;
    uint32_t turns;
    uint32_t turns_max; /* stop after so many */
    bool wakes;         /* each turn has another thread wake the loop */
    uint64_t first_ns;
    uint64_t last_ns;
    uint64_t period_ns; /* next turn that far ahead; 0 = whenever */
    uint32_t reads;
    uint32_t turn_of_read;
    uint32_t waits;
    int fd;
    int signo;
} probe;

static void *wake_thread(void *ctx) {
    loop_wake(((probe *)ctx)->l);
    return NULL;
}

static uint64_t turn(void *ctx, uint64_t now_ns) {
    probe *p = ctx;
    if (!p->turns++) p->first_ns = now_ns;
    p->last_ns = now_ns;
    if (p->wakes) {
        pthread_t t;
        assert_int_equal(pthread_create(&t, NULL, wake_thread, p), 0);
        pthread_join(t, NULL);
    }
    if (p->turns == p->turns_max) loop_stop(p->l);
    return p->period_ns ? now_ns + p->period_ns : UINT64_MAX;
}

static void new_loop(probe *p) {
    errbuf eb = {0};
    if (loop_new(&p->l, turn, p, &eb) != ST_OK) fail_msg("%s", eb.text);
}

static void a_turn_comes_when_it_was_asked_for(void **state) {
    (void)state;
    probe p = {.turns_max = 6, .period_ns = 5 * NS_PER_MS};
    new_loop(&p);
    loop_run(p.l);
    assert_int_equal(p.turns, 6);
    assert_true(p.last_ns - p.first_ns >= 5 * 5 * NS_PER_MS); /* never early */
    loop_free(p.l);
}

static void a_turn_comes_at_least_every_quarter_second(void **state) {
    (void)state;
    probe p = {.turns_max = 2};
    new_loop(&p);
    loop_run(p.l);
    assert_true(p.last_ns - p.first_ns >= 250 * NS_PER_MS);
    assert_true(p.last_ns - p.first_ns < 60 * NS_PER_S); /* whatever else the machine does */
    loop_free(p.l);
}

static void turns_that_come_thick_rest_in_between(void **state) {
    (void)state;
    enum { TURNS = 64, THICK = 16 };
    probe p = {.turns_max = TURNS, .wakes = true};
    new_loop(&p);
    loop_gather(p.l, 2 * NS_PER_MS);
    loop_run(p.l);
    assert_int_equal(p.turns, TURNS);
    /* The first ones tell how thick they come. Where the machine makes them rarer, they took as long without
     * a rest. */
    assert_true(p.last_ns - p.first_ns >= (TURNS - 2 * THICK) * 2 * NS_PER_MS);
    loop_free(p.l);
}

static void on_read(void *ctx) {
    probe *p = ctx;
    uint64_t n;
    assert_int_equal(read(p->fd, &n, sizeof n), sizeof n);
    p->reads++;
    p->turn_of_read = p->turns;
}

static void a_turn_follows_the_events_of_a_watched_descriptor(void **state) {
    (void)state;
    probe p = {.turns_max = 2};
    new_loop(&p);
    p.fd = eventfd(1, EFD_NONBLOCK);
    loop_watch(p.l, p.fd, on_read, &p);
    loop_run(p.l);
    assert_int_equal(p.reads, 1);
    assert_int_equal(p.turn_of_read, 1); /* after the first turn, before the second */
    loop_free(p.l);
    close(p.fd);
}

static void another_thread_wakes_the_loop(void **state) {
    (void)state;
    probe p = {.turns_max = 241, .wakes = true};
    new_loop(&p);
    loop_run(p.l);
    assert_int_equal(p.turns, 241);
    assert_true(p.last_ns - p.first_ns < 30 * NS_PER_S); /* a minute of turns that come by themselves */
    loop_free(p.l);
}

static void on_signal(void *ctx, int signo) {
    probe *p = ctx;
    p->signo = signo;
    loop_stop(p->l);
}

static void a_signal_is_an_event_of_the_loop(void **state) {
    (void)state;
    probe p = {0};
    new_loop(&p);
    loop_signals(p.l, on_signal, &p);
    raise(SIGTERM);
    loop_run(p.l);
    assert_int_equal(p.signo, SIGTERM);
    loop_free(p.l);
}

static void on_wait(void *ctx) {
    probe *p = ctx;
    p->waits++;
    if (p->waits < 3) loop_wake(p->l);
}

static void what_is_asked_before_a_wait_may_end_the_wait(void **state) {
    (void)state;
    probe p = {.turns_max = 3}, other = {0};
    new_loop(&p);
    other.l = p.l;
    loop_before_wait(p.l, on_wait, &other);
    loop_before_wait(p.l, on_wait, &p);
    loop_before_wait_end(p.l, &other);
    loop_before_wait_end(p.l, &other); /* gone already */
    loop_run(p.l);
    assert_int_equal(p.waits, 2); /* after each turn but the last, which stopped the loop */
    assert_int_equal(other.waits, 0);
    assert_true(p.last_ns - p.first_ns < 60 * NS_PER_S);
    loop_before_wait_end(p.l, &p);
    loop_free(p.l);
}

static void a_stopped_loop_can_run_again(void **state) {
    (void)state;
    probe p = {.turns_max = 1};
    new_loop(&p);
    loop_run(p.l);
    assert_int_equal(p.turns, 1);
    p.turns_max = 3;
    loop_run(p.l);
    assert_int_equal(p.turns, 3);
    loop_free(p.l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_turn_comes_when_it_was_asked_for),
        cmocka_unit_test(a_turn_comes_at_least_every_quarter_second),
        cmocka_unit_test(turns_that_come_thick_rest_in_between),
        cmocka_unit_test(a_turn_follows_the_events_of_a_watched_descriptor),
        cmocka_unit_test(another_thread_wakes_the_loop),
        cmocka_unit_test(a_signal_is_an_event_of_the_loop),
        cmocka_unit_test(what_is_asked_before_a_wait_may_end_the_wait),
        cmocka_unit_test(a_stopped_loop_can_run_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
