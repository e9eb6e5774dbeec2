/* The file of events: what a line says, that it is whole or not there, and that nobody waits for it. */
#include "coordinator/event_log.h"

#include "base/clock.h"
#include "base/mem.h"
#include "tests/test.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct world {
    char dir[64], path[96], older[96];
} world;

static int setup(void **state) {
    world *w = xcalloc(1, sizeof *w);
    snprintf(w->dir, sizeof w->dir, "/tmp/baton-event-log-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->path, sizeof w->path, "%s/events", w->dir);
    snprintf(w->older, sizeof w->older, "%s/events.1", w->dir);
    *state = w;
    return 0;
}

static int teardown(void **state) {
    world *w = *state;
    unlink(w->path);
    unlink(w->older);
    assert_int_equal(rmdir(w->dir), 0);
    free(w);
    return 0;
}

static event_log *opened(const char *path, uint64_t bytes_max) {
    event_log *l = NULL;
    errbuf eb = {0};
    if (event_log_open(&l, path, bytes_max, &eb) != ST_OK) fail_msg("%s", eb.text);
    return l;
}

/* The lines of a file, each of which must be an object; a JSON array. */
static json_t *lines_of(const char *path) {
    json_t *all = json_array();
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    char text[2048];
    while (fgets(text, sizeof text, f)) {
        assert_int_equal(text[strlen(text) - 1], '\n');
        json_t *one = json_loads(text, 0, NULL);
        if (!one) fail_msg("no JSON: %s", text);
        json_array_append_new(all, one);
    }
    assert_int_equal(fclose(f), 0);
    return all;
}

static void a_line_has_every_key_and_null_for_what_does_not_apply(void **state) {
    world *w = *state;
    event_log *l = opened(w->path, EVENT_LOG_BYTES_MAX);
    core_event e = {.kind = EVENT_REPLAY,
                    .worker = "decode-0",
                    .role = "decode",
                    .incarnation = 0xabc,
                    .req = 7,
                    .attempt = 2,
                    .cause = "death",
                    .reason = "decode worker decode-0 is gone: \"lost\""};
    event_log_add(l, &e, "my-id", 1500 * NS_PER_US);
    event_log_add(l, &(core_event){.kind = EVENT_REFUSED, .reason = ""}, NULL, NS_PER_MS);
    event_log_free(l);
    json_t *all = lines_of(w->path);
    const char *want[] = {
        "{\"t_ms\":1.5,\"event\":\"replay\",\"worker\":\"decode-0\",\"role\":\"decode\",\"incarnation\":"
        "\"0000000000000abc\",\"req\":7,\"id\":\"my-id\",\"attempt\":2,\"cause\":\"death\",\"reason\":"
        "\"decode "
        "worker decode-0 is gone: \\\"lost\\\"\"}",
        "{\"t_ms\":1.0,\"event\":\"refused\",\"worker\":null,\"role\":null,\"incarnation\":null,\"req\":null,"
        "\"id\":null,\"attempt\":null,\"cause\":null,\"reason\":null}"};
    assert_int_equal(json_array_size(all), 2);
    for (size_t i = 0; i < 2; i++) {
        json_t *one = json_array_get(all, i);
        const char *time = json_string_value(json_object_get(one, "time"));
        assert_non_null(time);
        assert_int_equal(strlen(time), strlen("2026-11-21T10:00:00.123Z"));
        json_object_del(one, "time");
        char *text = json_dumps(one, JSON_COMPACT);
        assert_string_equal(text, want[i]);
        free(text);
    }
    json_decref(all);
}

static void a_file_that_would_grow_too_long_becomes_the_older_one(void **state) {
    world *w = *state;
    event_log *l = opened(w->path, 1000);
    for (uint32_t i = 1; i <= 20; i++)
        event_log_add(l, &(core_event){.kind = EVENT_JOIN, .worker = "decode-0", .req = i}, NULL, 0);
    event_log_free(l);
    struct stat now, older;
    assert_int_equal(stat(w->path, &now), 0);
    assert_int_equal(stat(w->older, &older), 0);
    assert_true(now.st_size <= 1000 && older.st_size <= 1000);
    json_t *all = lines_of(w->older), *newer = lines_of(w->path);
    json_array_extend(all, newer);
    size_t count = json_array_size(all);
    assert_true(count >= 6);
    for (size_t i = 0; i < count; i++) /* the newest, without a gap */
        assert_int_equal(json_integer_value(json_object_get(json_array_get(all, i), "req")),
                         20 - count + 1 + i);
    json_decref(all);
    json_decref(newer);
    /* Another process goes on behind what is there. */
    l = opened(w->path, 100000);
    event_log_add(l, &(core_event){.kind = EVENT_JOIN, .req = 21}, NULL, 0);
    event_log_free(l);
    all = lines_of(w->path);
    assert_int_equal(
        json_integer_value(json_object_get(json_array_get(all, json_array_size(all) - 1), "req")), 21);
    json_decref(all);
}

static void a_file_that_was_moved_away_is_begun_anew(void **state) {
    world *w = *state;
    event_log *l = opened(w->path, 1000);
    assert_int_equal(unlink(w->path), 0);
    for (uint32_t i = 1; i <= 20; i++)
        event_log_add(l, &(core_event){.kind = EVENT_JOIN, .worker = "decode-0", .req = i}, NULL, 0);
    event_log_free(l);
    json_t *all = lines_of(w->path);
    size_t count = json_array_size(all);
    assert_true(count > 0);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(all, count - 1), "req")), 20);
    json_decref(all);
}

static void lines_that_a_full_disk_does_not_take_are_counted(void **state) {
    (void)state;
    event_log *l = opened("/dev/full", EVENT_LOG_BYTES_MAX);
    for (uint32_t i = 0; i < 3; i++) event_log_add(l, &(core_event){.kind = EVENT_JOIN}, NULL, 0);
    for (uint64_t until = clock_now_ns() + 60 * NS_PER_S; event_log_dropped(l) < 3 && clock_now_ns() < until;)
        usleep(1000);
    assert_int_equal(event_log_dropped(l), 3);
    event_log_free(l);
}

static void a_disk_that_fills_up_leaves_whole_lines_only_and_is_used_again(void **state) {
    world *w = *state;
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, little;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    little = (struct rlimit){500, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    event_log *l = opened(w->path, EVENT_LOG_BYTES_MAX);
    for (uint32_t i = 1; i <= 10; i++)
        event_log_add(l, &(core_event){.kind = EVENT_JOIN, .req = i, .attempt = 1}, NULL, 0);
    for (uint64_t until = clock_now_ns() + 60 * NS_PER_S; event_log_dropped(l) < 7 && clock_now_ns() < until;)
        usleep(1000);
    assert_int_equal(event_log_dropped(l), 7); /* a line has some 160 bytes */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    event_log_add(l, &(core_event){.kind = EVENT_JOIN, .req = 11}, NULL, 0);
    event_log_free(l);
    json_t *all = lines_of(w->path);
    static const int want[] = {1, 2, 3, 11};
    assert_int_equal(json_array_size(all), 4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(json_integer_value(json_object_get(json_array_get(all, i), "req")), want[i]);
    json_decref(all);
}

static void a_pipe_that_nobody_reads_holds_nobody(void **state) {
    world *w = *state;
    assert_int_equal(mkfifo(w->path, 0600), 0);
    int reader = open(w->path, O_RDONLY | O_NONBLOCK); /* which never reads */
    assert_true(reader >= 0);
    event_log *l = opened(w->path, EVENT_LOG_BYTES_MAX);
    uint32_t added = 0;
    for (uint64_t until = clock_now_ns() + 60 * NS_PER_S; !event_log_dropped(l) && clock_now_ns() < until;
         added++)
        event_log_add(l, &(core_event){.kind = EVENT_JOIN, .req = added + 1}, NULL, 0);
    assert_true(event_log_dropped(l) > 0);
    event_log_free(l);
    close(reader);
}

static void what_cannot_be_opened_is_said(void **state) {
    world *w = *state;
    event_log *l = NULL;
    errbuf eb = {0};
    char path[128], want[256];
    snprintf(path, sizeof path, "%s/no/events", w->dir);
    snprintf(want, sizeof want, "%s: No such file or directory", path);
    assert_int_equal(event_log_open(&l, path, 1000, &eb), ST_IO);
    assert_string_equal(eb.text, want);
    assert_null(l);
    event_log_add(NULL, &(core_event){.kind = EVENT_JOIN}, NULL, 0); /* as for a config without the file */
    assert_int_equal(event_log_dropped(NULL), 0);
    event_log_free(NULL);
}

#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_WORLD(a_line_has_every_key_and_null_for_what_does_not_apply),
        WITH_WORLD(a_file_that_would_grow_too_long_becomes_the_older_one),
        WITH_WORLD(a_file_that_was_moved_away_is_begun_anew),
        WITH_WORLD(lines_that_a_full_disk_does_not_take_are_counted),
        WITH_WORLD(a_disk_that_fills_up_leaves_whole_lines_only_and_is_used_again),
        WITH_WORLD(a_pipe_that_nobody_reads_holds_nobody),
        WITH_WORLD(what_cannot_be_opened_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
