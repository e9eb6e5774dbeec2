/* What an experiment needs of the system: files, processes, sockets, and the programs that it measures. */
#include "tests/test.h"

#include "base/clock.h"
#include "base/mem.h"
#include "bench/experiment/build.h"
#include "bench/experiment/cluster.h"
#include "bench/experiment/files.h"
#include "bench/experiment/http_get.h"
#include "bench/experiment/proc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static char folder[] = "/tmp/baton-system-XXXXXX";

static int make_folder(void **state) {
    (void)state;
    assert_non_null(mkdtemp(folder));
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    return files_remove_dir(folder, NULL) == ST_OK ? 0 : 1;
}

static void a_build_is_known_by_the_bytes_of_its_programs(void **state) {
    (void)state;
    char *bin = xasprintf("%s/bin", folder), *program = xasprintf("%s/baton-decode", bin), text[128];
    assert_int_equal(files_make_dir(bin, NULL), ST_OK);
    build_id none, one, same, other;
    assert_int_equal(build_id_of(&none, bin, NULL, NULL), ST_OK);
    assert_int_equal(files_write(program, "one", 3, NULL), ST_OK);
    assert_int_equal(build_id_of(&one, bin, NULL, NULL), ST_OK);
    assert_int_equal(build_id_of(&same, bin, NULL, NULL), ST_OK);
    assert_int_equal(files_write(program, "two", 3, NULL), ST_OK);
    assert_int_equal(build_id_of(&other, bin, NULL, NULL), ST_OK);
    assert_true(build_same(&one, &same));
    assert_false(build_same(&one, &none) || build_same(&one, &other));
    assert_non_null(strstr(build_text(&one, text, sizeof text), one.programs));
    assert_string_equal(build_text(&(build_id){0}, text, sizeof text), "an unknown one");
    errbuf eb = {0};
    assert_int_equal(remove(program), 0);
    assert_int_equal(files_make_dir(program, NULL), ST_OK);
    assert_int_equal(build_id_of(&other, bin, NULL, &eb), ST_IO);
    assert_non_null(strstr(eb.text, program));
    free(program);
    free(bin);
}

static void what_the_system_refuses_is_told(void **state) {
    (void)state;
    struct rlimit was, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    none = was;
    errbuf eb = {0};
    char *log = xasprintf("%s/proc.log", folder), *const argv[] = {(char *)"true", NULL};
    cluster_ports ports;
    int lowest = dup(0); /* the next one that would be given out */
    assert_true(lowest >= 0);
    close(lowest);
    for (int left = 0; left < 3; left++) { /* the log; an end of the pipe; both ends */
        none.rlim_cur = (rlim_t)(lowest + left);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        proc p = {0};
        eb = (errbuf){0};
        status st = proc_start(&p, argv, NULL, log, &eb);
        proc_done(&p);
        assert_int_equal(st, ST_IO);
    }
    assert_non_null(strstr(eb.text, "ulimit -n"));
    none.rlim_cur = (rlim_t)lowest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(cluster_free_ports(&ports, &eb), ST_IO);
    assert_non_null(strstr(eb.text, "ulimit -n"));
    char *body;
    int code;
    assert_int_not_equal(http_get(&body, &code, "127.0.0.1:1", "/", clock_now_ns(), &eb), ST_OK);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    free(log);
}

static void a_full_disk_is_said(void **state) {
    (void)state;
    if (access("/dev/full", W_OK) != 0) skip();
    errbuf eb = {0};
    char *link = xasprintf("%s/full.new", folder), *to = xasprintf("%s/full", folder);
    assert_int_equal(symlink("/dev/full", link), 0);
    assert_int_equal(files_write(to, "x", 1, &eb), ST_IO);
    assert_non_null(strstr(eb.text, "the disk is full"));
    free(link);
    free(to);
}

static void the_last_lines_of_a_log_are_one_line(void **state) {
    (void)state;
    char out[64], *log = xasprintf("%s/log", folder);
    assert_int_equal(files_write(log, "one\ntwo\nthree\n\n", 15, NULL), ST_OK);
    files_last_words(out, sizeof out, log, 2);
    assert_string_equal(out, "two | three");
    files_last_words(out, sizeof out, log, 9);
    assert_string_equal(out, "one | two | three");
    files_last_words(out, sizeof out, "/nowhere", 2);
    assert_string_equal(out, "");
    free(log);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_build_is_known_by_the_bytes_of_its_programs),
        cmocka_unit_test(what_the_system_refuses_is_told),
        cmocka_unit_test(a_full_disk_is_said),
        cmocka_unit_test(the_last_lines_of_a_log_are_one_line),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
