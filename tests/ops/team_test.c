#include "kernels/host/team.h"
#include "tests/ops/fixture.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

enum { TASKS_MAX = 1000 };

typedef struct counts {
    uint32_t threads;
    uint32_t done[TASKS_MAX]; /* plain: a task that ran twice at once would be a race */
    _Atomic uint32_t bad_threads;
} counts;

static void count_task(void *ctx, uint32_t task, uint32_t thread) {
    counts *c = ctx;
    c->done[task]++;
    if (thread >= c->threads) atomic_fetch_add(&c->bad_threads, 1);
}

static void every_task_runs_once_in_each_of_many_calls(void **state) {
    (void)state;
    for (uint32_t threads = 1; threads <= 4; threads++) {
        team *t = NULL;
        assert_int_equal(team_new(&t, threads, NULL, NULL), ST_OK);
        assert_int_equal(team_threads(t), threads);
        for (uint32_t call = 0; call < 300; call++) {
            counts c = {.threads = threads};
            uint32_t count = (uint32_t)(random_at(threads, call) % TASKS_MAX) >> (call % 10);
            team_run(t, count, count_task, &c);
            for (uint32_t i = 0; i < TASKS_MAX; i++) assert_int_equal(c.done[i], i < count);
            assert_int_equal(c.bad_threads, 0);
        }
        team_free(t);
    }
}

/* More threads than this machine may have CPUs, of two teams that do not know of each other. */
static void *call_often(void *arg) {
    team *t = NULL;
    CHECK(team_new(&t, 3, NULL, NULL) == ST_OK);
    for (uint32_t call = 0; call < 2000; call++) {
        counts c = {.threads = 3};
        uint32_t count = 2 + call % 7;
        team_run(t, count, count_task, &c);
        for (uint32_t i = 0; i < count; i++) *(uint32_t *)arg += c.done[i];
    }
    team_free(t);
    return NULL;
}

static void two_teams_at_once_do_all_their_tasks(void **state) {
    (void)state;
    uint32_t done[2] = {0}, want = 0;
    pthread_t other;
    for (uint32_t call = 0; call < 2000; call++) want += 2 + call % 7;
    assert_int_equal(pthread_create(&other, NULL, call_often, &done[1]), 0);
    call_often(&done[0]);
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_int_equal(done[0], want);
    assert_int_equal(done[1], want);
}

static void stamp_task(void *ctx, uint32_t task, uint32_t thread) {
    (void)thread;
    uint32_t **next = ctx;
    *(*next)++ = task;
}

static void one_thread_runs_tasks_in_order(void **state) {
    (void)state;
    team *t = NULL;
    uint32_t order[10], *next = order;
    assert_int_equal(team_new(&t, 1, NULL, NULL), ST_OK);
    team_run(t, 10, stamp_task, &next);
    for (uint32_t i = 0; i < 10; i++) assert_int_equal(order[i], i);
    team_free(t);
}

static void a_team_that_was_never_called_can_be_freed(void **state) {
    (void)state;
    team *t = NULL;
    assert_int_equal(team_new(&t, 3, NULL, NULL), ST_OK);
    team_free(t);
    team_free(NULL);
}

static void threads_are_pinned_to_the_cpus_asked_for(void **state) {
    (void)state;
    cpu_set_t before, now;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    uint32_t cpu = 0;
    while (!CPU_ISSET(cpu, &before)) cpu++;
    team *t = NULL;
    assert_int_equal(team_new(&t, 2, (uint32_t[]){cpu, cpu}, NULL), ST_OK);
    assert_int_equal(sched_getaffinity(0, sizeof now, &now), 0);
    assert_int_equal(CPU_COUNT(&now), 1);
    assert_true(CPU_ISSET(cpu, &now));
    counts c = {.threads = 2};
    team_run(t, 100, count_task, &c);
    for (uint32_t i = 0; i < 100; i++) assert_int_equal(c.done[i], 1);
    team_free(t);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

static void a_cpu_that_does_not_exist_is_refused_by_number(void **state) {
    (void)state;
    team *t = NULL;
    errbuf eb = {0};
    assert_int_equal(team_new(&t, 1, (uint32_t[]){100000}, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "100000"));
    assert_null(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_runs_once_in_each_of_many_calls),
        cmocka_unit_test(two_teams_at_once_do_all_their_tasks),
        cmocka_unit_test(one_thread_runs_tasks_in_order),
        cmocka_unit_test(a_team_that_was_never_called_can_be_freed),
        cmocka_unit_test(threads_are_pinned_to_the_cpus_asked_for),
        cmocka_unit_test(a_cpu_that_does_not_exist_is_refused_by_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
