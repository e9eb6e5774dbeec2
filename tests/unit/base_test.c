#include "tests/test.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/ring.h"
#include "base/role.h"
#include "base/sm.h"
#include "base/status.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void errf_writes_the_text_and_returns_the_code(void **state) {
    (void)state;
    errbuf eb = {0};
    assert_int_equal(errf(&eb, ST_PEER, "worker %d is gone", 3), ST_PEER);
    assert_string_equal(eb.text, "worker 3 is gone");
    assert_int_equal(err_prefix(&eb, ST_PEER, "request %d", 7), ST_PEER);
    assert_string_equal(eb.text, "request 7: worker 3 is gone");
    assert_int_equal(errf(NULL, ST_IO, "nobody reads this"), ST_IO);
    assert_int_equal(err_prefix(NULL, ST_IO, "nor this"), ST_IO);
}

static void a_long_error_text_is_cut_not_overrun(void **state) {
    (void)state;
    errbuf eb = {0};
    char longer[400];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    errf(&eb, ST_IO, "%s", longer);
    assert_int_equal(strlen(eb.text), sizeof eb.text - 1);
    err_prefix(&eb, ST_IO, "outer");
    assert_int_equal(strlen(eb.text), sizeof eb.text - 1);
    assert_memory_equal(eb.text, "outer: xxx", 10);
}

static void every_status_has_a_name_and_a_text(void **state) {
    (void)state;
    for (int st = ST_OK; st <= ST_UNSUPPORTED; st++) {
        assert_memory_equal(status_name((status)st), "ST_", 3);
        assert_true(strlen(status_text((status)st)) > 1);
    }
    assert_string_equal(status_name(ST_CORRUPT), "ST_CORRUPT");
    assert_string_equal(status_text(ST_TIMEOUT), "deadline passed");
}

static void a_buf_grows_and_keeps_a_nul_after_its_bytes(void **state) {
    (void)state;
    buf b = {0};
    size_t want = 0;
    for (int i = 0; i < 1000; i++) {
        buf_addf(&b, "%d,", i);
        want += (size_t)snprintf(NULL, 0, "%d,", i);
    }
    assert_int_equal(b.len, want);
    assert_int_equal(strlen(b.data), want);
    assert_memory_equal(b.data, "0,1,2,3,", 8);
    buf_reset(&b);
    assert_int_equal(b.len, 0);
    buf_add(&b, "a\0b", 3);
    buf_adds(&b, "c");
    assert_memory_equal(b.data, "a\0bc", 5);
    buf_done(&b);
    assert_null(b.data);
    buf_done(NULL);
}

static void copies_are_equal_and_bounded(void **state) {
    (void)state;
    char *s = xstrndup("prefill", 3);
    assert_string_equal(s, "pre");
    free(s);
    s = xstrndup("ab", 10);
    assert_string_equal(s, "ab");
    free(s);
    s = xasprintf("%s-%d", "decode", 1);
    assert_string_equal(s, "decode-1");
    free(s);
    uint32_t *zeros = xcalloc(64, sizeof *zeros);
    for (int i = 0; i < 64; i++) assert_int_equal(zeros[i], 0);
    free(zeros);
}

static bool readable(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static void a_ring_is_first_in_first_out_and_full_is_again(void **state) {
    (void)state;
    ring *r = NULL;
    int out = -1;
    assert_int_equal(ring_new(&r, 3, sizeof(int), NULL), ST_OK); /* rounded up to 4 */
    assert_int_equal(ring_pop(r, &out), ST_AGAIN);
    assert_int_equal(out, -1);
    for (int i = 0; i < 4; i++) assert_int_equal(ring_push(r, &i), ST_OK);
    assert_int_equal(ring_push(r, &out), ST_AGAIN);
    assert_int_equal(ring_count(r), 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(ring_pop(r, &out), ST_OK);
        assert_int_equal(out, i);
    }
    assert_int_equal(ring_count(r), 0);
    ring_free(r);
    ring_free(NULL);
}

static void a_push_makes_the_descriptor_readable_until_ack(void **state) {
    (void)state;
    ring *r = NULL;
    int item = 5;
    assert_int_equal(ring_new(&r, 4, sizeof item, NULL), ST_OK);
    assert_false(readable(ring_fd(r)));
    assert_int_equal(ring_wait(r, NS_PER_MS), ST_TIMEOUT);
    assert_int_equal(ring_push(r, &item), ST_OK);
    assert_true(readable(ring_fd(r)));
    assert_int_equal(ring_wait(r, 0), ST_OK);
    ring_ack(r);
    assert_false(readable(ring_fd(r)));
    assert_int_equal(ring_pop(r, &item), ST_OK);
    ring_free(r);
}

enum { HANDED = 200000 };

static void *produce(void *ctx) {
    for (uint64_t i = 1; i <= HANDED;) {
        uint64_t item[2] = {i, ~i};
        if (ring_push(ctx, item) == ST_OK)
            i++;
        else
            sched_yield();
    }
    return NULL;
}

static void two_threads_lose_and_reorder_nothing(void **state) {
    (void)state;
    ring *r = NULL;
    pthread_t producer;
    assert_int_equal(ring_new(&r, 64, 2 * sizeof(uint64_t), NULL), ST_OK);
    assert_int_equal(pthread_create(&producer, NULL, produce, r), 0);
    uint64_t deadline_ns = clock_now_ns() + 60 * NS_PER_S;
    for (uint64_t want = 1; want <= HANDED;) {
        uint64_t item[2];
        assert_true(clock_now_ns() < deadline_ns);
        if (ring_pop(r, item) == ST_OK) {
            assert_true(item[0] == want && item[1] == ~want);
            want++;
        } else if (ring_wait(r, NS_PER_S) == ST_OK) {
            ring_ack(r);
        }
    }
    pthread_join(producer, NULL);
    assert_int_equal(ring_count(r), 0);
    ring_free(r);
}

static const sm_state door_states[] = {
    {"open", SM_TO(1), false},
    {"shut", SM_TO(0) | SM_TO(2), false},
    {"locked", 0, true},
};
static const sm_def door = {.name = "door", .states = door_states, .state_count = 3};

static void a_move_stamps_the_first_and_the_last_entry(void **state) {
    (void)state;
    sm m;
    sm_init(&m, &door, 100);
    assert_string_equal(sm_name(&m), "open");
    assert_true(sm_can(&m, 1));
    assert_false(sm_can(&m, 2));
    sm_move(&m, 1, 110);
    sm_move(&m, 0, 120);
    sm_move(&m, 1, 130);
    assert_int_equal(m.first_ns[1], 110);
    assert_int_equal(m.entered_ns[1], 130);
    assert_int_equal(m.first_ns[0], 100);
    assert_int_equal(m.entered_ns[0], 120);
    assert_int_equal(m.entered_ns[2], 0);
    assert_false(sm_ended(&m));
    sm_move(&m, 2, 140);
    assert_true(sm_ended(&m));
}

static void a_machine_prints_itself_as_mermaid(void **state) {
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    sm_print_mermaid(&door, out);
    fclose(out);
    assert_string_equal(text, "stateDiagram-v2\n    [*] --> open\n    open --> shut\n    shut --> open\n"
                              "    shut --> locked\n    locked --> [*]\n");
    free(text);
}

static void log_levels_are_parsed_by_name(void **state) {
    (void)state;
    const char *names[] = {"error", "warn", "info", "debug", "trace"};
    errbuf eb = {0};
    log_level level;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(log_level_parse(names[i], &level, &eb), ST_OK);
        assert_int_equal(level, i);
    }
    assert_int_equal(log_level_parse("loud", &level, &eb), ST_INVALID);
    assert_string_equal(eb.text, "log level 'loud': want error, warn, info, debug or trace");
    assert_int_equal(level, LOG_TRACE); /* untouched */
}

static void a_level_shows_itself_and_what_is_more_urgent(void **state) {
    (void)state;
    log_setup(LOG_WARN, "test");
    assert_true(log_on(LOG_ERROR));
    assert_true(log_on(LOG_WARN));
    assert_false(log_on(LOG_INFO));
}

static void *name_of_a_new_thread(void *ctx) {
    snprintf(ctx, 40, "%s", log_name());
    return NULL;
}

static void a_thread_may_log_under_a_name_of_its_own(void **state) {
    (void)state;
    char other[40] = "";
    pthread_t thread;
    log_setup(LOG_WARN, "process");
    assert_string_equal(log_name(), "process");
    log_as("decode-3");
    assert_string_equal(log_name(), "decode-3");
    assert_int_equal(pthread_create(&thread, NULL, name_of_a_new_thread, other), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(other, "process");
    log_as("");
    assert_string_equal(log_name(), "process");
}

/* In a process of its own, whose standard error is fd: the lines that got lost of `count`. */
static int lost_lines(int fd, int count) {
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(fd, STDERR_FILENO);
        log_setup(LOG_INFO, "test");
        log_outlives_stderr();
        for (int i = 0; i < count; i++) log_info("base", "a line", "i=%d", i);
        _exit(log_dropped() > 250 ? 250 : (int)log_dropped());
    }
    int how = 0;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    if (!WIFEXITED(how)) fail_msg("a signal ended it: %d", WTERMSIG(how));
    return WEXITSTATUS(how);
}

static void standard_error_neither_ends_nor_holds_a_process_that_outlives_it(void **state) {
    (void)state;
    int full = open("/dev/full", O_WRONLY), ends[2];
    assert_true(full >= 0);
    assert_int_equal(lost_lines(full, 3), 3);
    close(full);
    assert_int_equal(pipe(ends), 0); /* nobody reads it: 64 KiB hold some of the lines */
    assert_int_equal(lost_lines(ends[1], 5000), 250);
    char line[256], *newline;
    ssize_t got = read(ends[0], line, sizeof line);
    assert_int_equal(got, sizeof line);
    newline = memchr(line, '\n', sizeof line);
    assert_non_null(newline);
    *newline = 0;
    assert_non_null(strstr(line, " info  base       test a line i=0"));
    close(ends[0]); /* and now nobody has it open */
    assert_int_equal(lost_lines(ends[1], 3), 3);
    close(ends[1]);
    int none = open("/dev/null", O_WRONLY);
    assert_int_equal(lost_lines(none, 3), 0);
    close(none);
}

static void a_line_tells_of_those_that_got_lost_before_it(void **state) {
    (void)state;
    char path[] = "/tmp/baton-log-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int full = open("/dev/full", O_WRONLY);
        dup2(full, STDERR_FILENO);
        log_setup(LOG_INFO, "test");
        log_info("base", "one");
        log_info("base", "two");
        dup2(fd, STDERR_FILENO);
        log_info("base", "three", "key=%d", 3);
        log_info("base", "four");
        _exit(0);
    }
    int how = 0;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    char text[512] = "";
    assert_true(pread(fd, text, sizeof text - 1, 0) > 0);
    assert_non_null(strstr(text, " test three key=3 log_lines_lost=2\n"));
    assert_non_null(strstr(text, " test four\n"));
    close(fd);
    unlink(path);
}

static void the_clock_goes_forward_and_random_ids_differ(void **state) {
    (void)state;
    uint64_t a = clock_now_ns();
    assert_true(clock_now_ns() >= a);
    assert_true(clock_wall_s() > 1600000000);
    uint64_t id = clock_random64();
    assert_true(id != 0 && id != clock_random64());
}

static void a_stem_is_the_name_without_folders_and_the_last_ending(void **state) {
    (void)state;
    const char *const cases[][2] = {
        {"models/SmolLM2-135M.Q4_1.gguf", "SmolLM2-135M.Q4_1"},
        {"m.gguf", "m"},
        {"/a.b/model", "model"},
        {"a/.hidden", ".hidden"},
        {"a/.hidden.gguf", ".hidden"},
        {"ends.", "ends"},
        {"folder/", ""},
        {"", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *stem = path_stem(cases[i][0]);
        assert_string_equal(stem, cases[i][1]);
        free(stem);
    }
}

static void every_role_has_its_name(void **state) {
    (void)state;
    assert_string_equal(worker_role_name(ROLE_PREFILL), "prefill");
    assert_string_equal(worker_role_name(ROLE_DECODE), "decode");
    assert_string_equal(worker_role_name(ROLE_COLOCATED), "colocated");
    assert_int_equal(ROLE_COUNT, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errf_writes_the_text_and_returns_the_code),
        cmocka_unit_test(a_long_error_text_is_cut_not_overrun),
        cmocka_unit_test(every_status_has_a_name_and_a_text),
        cmocka_unit_test(a_buf_grows_and_keeps_a_nul_after_its_bytes),
        cmocka_unit_test(copies_are_equal_and_bounded),
        cmocka_unit_test(a_ring_is_first_in_first_out_and_full_is_again),
        cmocka_unit_test(a_push_makes_the_descriptor_readable_until_ack),
        cmocka_unit_test(two_threads_lose_and_reorder_nothing),
        cmocka_unit_test(a_move_stamps_the_first_and_the_last_entry),
        cmocka_unit_test(a_machine_prints_itself_as_mermaid),
        cmocka_unit_test(log_levels_are_parsed_by_name),
        cmocka_unit_test(a_level_shows_itself_and_what_is_more_urgent),
        cmocka_unit_test(a_thread_may_log_under_a_name_of_its_own),
        cmocka_unit_test(standard_error_neither_ends_nor_holds_a_process_that_outlives_it),
        cmocka_unit_test(a_line_tells_of_those_that_got_lost_before_it),
        cmocka_unit_test(the_clock_goes_forward_and_random_ids_differ),
        cmocka_unit_test(a_stem_is_the_name_without_folders_and_the_last_ending),
        cmocka_unit_test(every_role_has_its_name),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
