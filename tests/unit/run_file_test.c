/* run.json: what is written is read back, and what is not what it should be is named. */
#include "bench/rows/run_file.h"

#include "base/mem.h"
#include "base/mix.h"
#include "base/status.h"
#include "tests/test.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static char dir[] = "/tmp/baton-run-XXXXXX", path[64];

static int make_dir(void **state) {
    (void)state;
    memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
    if (!mkdtemp(dir)) return -1;
    snprintf(path, sizeof path, "%s/run.json", dir);
    return 0;
}

static int remove_dir(void **state) {
    (void)state;
    unlink(path);
    return rmdir(dir); /* fails when a half file is left */
}

static void spill(const char *text) {
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static run_info full_run(void) {
    run_info r;
    run_info_init(&r);
    r.command = xcalloc(2, sizeof *r.command);
    r.command[0] = xstrdup("baton-bench");
    r.command[1] = xstrdup("serve");
    r.command_count = 2;
    r.date = xstrdup("2026-11-28T08:31:00Z");
    r.target.kind = xstrdup("openai");
    r.target.server = json_pack("{s:s}", "version", "0.1.0");
    r.workload.name = xstrdup("random");
    r.workload.prompt_mean = 256.5;
    r.arrivals_kind = xstrdup("gamma");
    r.burstiness = 1;
    r.rate = 2.25;
    r.warmup_s = 30;
    r.segments = xcalloc(2, sizeof *r.segments);
    r.segments[0] = (run_segment){INT64_MAX, 30, 60};
    r.segments[1] = (run_segment){2, 60, 90.5};
    r.segment_count = 2;
    r.client.lateness_p99_ms = 0.125;
    r.valid = false;
    r.reasons = xcalloc(1, sizeof *r.reasons);
    r.reasons[0] = xstrdup("the client was late");
    r.reason_count = 1;
    r.steady.reached = true;
    r.steady.g = 0.01;
    r.workers = xcalloc(1, sizeof *r.workers);
    r.workers[0] = (run_worker){xstrdup("prefill-0"), xstrdup("prefill"), 0.4, 0, 0, 12, NAN};
    r.worker_count = 1;
    r.preemptions = 3;
    r.interrupted = true;
    r.duration_s = 61.5;
    r.result = json_pack("{s:i}", "completed", 7);
    r.slos = xcalloc(1, sizeof *r.slos);
    r.slos[0] = (run_slo){slo_none(), 0.9, 0.85, NAN, 1.5};
    strcpy(r.slos[0].limits.name, "tight");
    r.slos[0].limits.ttft_ms = 200;
    r.slo_count = 1;
    return r;
}

static void a_run_comes_back_as_it_was(void **state) {
    (void)state;
    run_info r = full_run(), got;
    errbuf eb = {0};
    assert_int_equal(run_file_write(&r, dir, &eb), ST_OK);
    assert_int_equal(run_file_read(&got, dir, &eb), ST_OK);
    assert_int_equal(got.command_count, 2);
    assert_string_equal(got.command[1], "serve");
    assert_string_equal(got.date, r.date);
    assert_null(got.name);
    assert_string_equal(got.target.kind, "openai");
    assert_true(json_equal(got.target.server, r.target.server));
    assert_true(got.workload.prompt_mean == 256.5);
    assert_true(isnan(got.workload.output_mean));
    assert_null(got.workload.path);
    assert_string_equal(got.arrivals_kind, "gamma");
    assert_true(got.rate == 2.25);
    assert_true(isnan(got.max_concurrency));
    assert_int_equal(got.segment_count, 2);
    assert_true(got.segments[0].seed == INT64_MAX);
    assert_true(run_window_s(&got) == 60.5);
    assert_true(got.client.lateness_p99_ms == 0.125);
    assert_false(got.valid);
    assert_int_equal(got.reason_count, 1);
    assert_string_equal(got.reasons[0], "the client was late");
    assert_true(got.steady.reached);
    assert_false(got.steady.unstable);
    assert_true(got.steady.g == 0.01);
    assert_int_equal(got.worker_count, 1);
    assert_string_equal(got.workers[0].role, "prefill");
    assert_true(got.workers[0].decode_share == 0);
    assert_true(isnan(got.workers[0].pages_total));
    assert_true(got.preemptions == 3);
    assert_true(got.interrupted);
    assert_true(json_equal(got.result, r.result));
    assert_int_equal(json_object_size(got.compat), 0);
    assert_int_equal(got.slo_count, 1);
    assert_string_equal(got.slos[0].limits.name, "tight");
    assert_true(got.slos[0].limits.ttft_ms == 200);
    assert_true(isinf(got.slos[0].limits.tpot_ms));
    assert_true(isnan(got.slos[0].high));
    run_info_done(&got);
    run_info_done(&r);
    assert_null(r.segments);
}

static void missing_keys_are_as_at_the_start_and_unknown_ones_left_out(void **state) {
    (void)state;
    spill("{\"schema\":\"baton-bench/1\",\"later\":{\"x\":1},\"segments\":[{}],\"workers\":null,"
          "\"slo\":[{}],\"client\":null}");
    run_info got;
    assert_int_equal(run_file_read(&got, dir, NULL), ST_OK);
    assert_true(isinf(got.rate));
    assert_true(got.valid);
    assert_true(isnan(got.duration_s));
    assert_true(isnan(got.client.cpu_share));
    assert_null(got.target.server);
    assert_null(got.result);
    assert_int_equal(got.segment_count, 1);
    assert_true(isnan(got.segments[0].begin_s));
    assert_int_equal(got.worker_count, 0);
    assert_true(isinf(got.slos[0].limits.ttft_ms));
    assert_int_equal(run_file_write(&got, dir, NULL), ST_OK);
    run_info_done(&got);
    json_t *again = json_load_file(path, 0, NULL);
    assert_null(json_object_get(again, "later"));
    assert_true(json_is_null(json_object_get(again, "rate")));
    assert_true(json_is_object(json_object_get(again, "result")));
    json_decref(again);
}

static void what_is_not_what_it_should_be_is_named(void **state) {
    (void)state;
    const struct {
        const char *inside, *names;
    } bad[] = {{"\"date\":7", "'date' is not a text"},
               {"\"rate\":\"2\"", "'rate' is not a number"},
               {"\"interrupted\":0", "'interrupted' is not true or false"},
               {"\"client\":{\"lateness_ms\":{\"p99\":[]}}", "'client.lateness_ms.p99' is not a number"},
               {"\"segments\":{}", "'segments' is not a list"},
               {"\"segments\":[{},7]", "'segments[1]' is not an object"},
               {"\"segments\":[{\"seed\":-1}]", "'segments[0].seed' is not a whole number"},
               {"\"workers\":[{\"name\":\"a\"},{\"name\":1}]", "'workers[1].name' is not a text"},
               {"\"slo\":[{\"name\":1}]", "'slo[0].name' is not a text"},
               {"\"command\":[\"a\",2]", "'command[1]' is not a text"},
               {"\"validity\":{\"reasons\":\"x\"}", "'validity.reasons' is not a list"},
               {"\"result\":[]", "'result' is not an object"},
               {"\"result\":{}", NULL}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char *text = xasprintf("{\"schema\":\"baton-bench/1\",%s}", bad[i].inside);
        spill(text);
        free(text);
        run_info got;
        errbuf eb = {0};
        status st = run_file_read(&got, dir, &eb);
        assert_int_equal(st, bad[i].names ? ST_INVALID : ST_OK);
        if (st == ST_OK) {
            run_info_done(&got);
            continue;
        }
        assert_non_null(strstr(eb.text, path));
        assert_non_null(strstr(eb.text, bad[i].names));
    }
}

static void no_file_no_json_and_another_schema_are_told_apart(void **state) {
    (void)state;
    run_info got;
    errbuf eb = {0};
    assert_int_equal(run_file_read(&got, dir, &eb), ST_IO);
    assert_non_null(strstr(eb.text, path));
    spill("{\n\"schema\":");
    assert_int_equal(run_file_read(&got, dir, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "run.json:2: no JSON"));
    const char *others[] = {"{}", "[]", "{\"schema\":\"baton-bench/2\"}", "{\"schema\":1}"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        spill(others[i]);
        assert_int_equal(run_file_read(&got, dir, &eb), ST_INVALID);
        assert_non_null(strstr(eb.text, "schema"));
    }
}

static void a_changed_byte_is_read_or_refused(void **state) {
    (void)state;
    run_info r = full_run();
    assert_int_equal(run_file_write(&r, dir, NULL), ST_OK);
    run_info_done(&r);
    json_t *json = json_load_file(path, 0, NULL);
    char *whole = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    size_t len = strlen(whole);
    uint64_t x = 1;
    uint32_t refused = 0;
    for (uint32_t i = 0; i < 3000; i++) {
        x += MIX64_STEP;
        uint64_t bits = mix64(x);
        size_t at = (bits >> 8) % len;
        char before = whole[at];
        whole[at] = (char)(1 + (bits & 0xff) % 255);
        spill(whole);
        whole[at] = before;
        run_info got;
        errbuf eb = {0};
        status st = run_file_read(&got, dir, &eb);
        if (st == ST_OK) {
            run_info_done(&got);
            continue;
        }
        refused++;
        assert_int_equal(st, ST_INVALID);
        assert_non_null(strstr(eb.text, path));
    }
    assert_in_range(refused, 1000, 2999);
    free(whole);
}

static void without_room_the_old_file_stays_whole(void **state) {
    (void)state;
    run_info r = full_run(), got;
    assert_int_equal(run_file_write(&r, dir, NULL), ST_OK);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit now = before;
    now.rlim_cur = 100;
    r.duration_s = 99;
    errbuf eb = {0};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
    status st = run_file_write(&r, dir, &eb);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(st, ST_IO);
    assert_non_null(strstr(eb.text, path));
    assert_int_equal(run_file_read(&got, dir, NULL), ST_OK);
    assert_true(got.duration_s == 61.5);
    run_info_done(&got);
    run_info_done(&r);
    assert_int_equal(run_file_write(&got, "/nowhere", &eb), ST_IO);
    assert_non_null(strstr(eb.text, "/nowhere/run.json"));
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_DIR(a_run_comes_back_as_it_was),
        IN_DIR(missing_keys_are_as_at_the_start_and_unknown_ones_left_out),
        IN_DIR(what_is_not_what_it_should_be_is_named),
        IN_DIR(no_file_no_json_and_another_schema_are_told_apart),
        IN_DIR(a_changed_byte_is_read_or_refused),
        IN_DIR(without_room_the_old_file_stays_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
