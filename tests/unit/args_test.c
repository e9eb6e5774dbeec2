/* The daemons' command line. What ends the process is tried in a child. */
#include "tests/test.h"

#include "base/mem.h"
#include "config/args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void parse(args *out, uint32_t count, const char *const *words) {
    char *argv[16] = {0};
    assert_true(count < ARRAY_LEN(argv));
    for (uint32_t i = 0; i < count; i++) argv[i] = (char *)words[i]; /* argp moves them, and writes none */
    args_parse(out, (int)count, argv, "A test.");
}
#define PARSE(out, ...)                                                                                      \
    parse(out, ARRAY_LEN(((const char *const[]){__VA_ARGS__})), (const char *const[]){__VA_ARGS__})

static void a_config_and_its_settings_are_read_in_order(void **state) {
    (void)state;
    args a;
    PARSE(&a, "baton-x", "--set", "decode.count=2", "c.yaml", "--set=prefill.count=1", "-s",
          "limits.lease_ms=9");
    assert_string_equal(a.config, "c.yaml");
    assert_int_equal(a.set_count, 3);
    assert_string_equal(a.sets[0], "decode.count=2");
    assert_string_equal(a.sets[1], "prefill.count=1");
    assert_string_equal(a.sets[2], "limits.lease_ms=9");
    assert_false(a.check);
    assert_false(a.version);
    args_done(&a);
    assert_null(a.sets);
    PARSE(&a, "baton-x", "c.yaml", "--check");
    assert_true(a.check);
    args_done(&a);
    PARSE(&a, "baton-x", "--version"); /* needs no config */
    assert_true(a.version);
    assert_null(a.config);
    args_done(&a);
}

typedef struct outcome {
    int code;
    char out[4096], err[4096];
} outcome;

static void read_all(FILE *f, char text[4096]) {
    rewind(f);
    text[fread(text, 1, 4095, f)] = 0;
    fclose(f);
}

/* A program that only reads its arguments: the exit status is 77 when it would go on. */
static outcome program(uint32_t count, const char *const *words) {
    outcome result = {0};
    FILE *out = tmpfile(), *err = tmpfile();
    assert_non_null(out);
    assert_non_null(err);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(fileno(out), STDOUT_FILENO);
        dup2(fileno(err), STDERR_FILENO);
        args a;
        config *c = NULL;
        int code;
        parse(&a, count, words);
        if (args_config(&a, "baton-x", NULL, &c, &code)) code = c->decode.count == 2 ? 77 : 78;
        fflush(NULL);
        _exit(code);
    }
    int state;
    assert_int_equal(waitpid(child, &state, 0), child);
    assert_true(WIFEXITED(state));
    result.code = WEXITSTATUS(state);
    read_all(out, result.out);
    read_all(err, result.err);
    return result;
}
#define PROGRAM(...)                                                                                         \
    program(ARRAY_LEN(((const char *const[]){__VA_ARGS__})), (const char *const[]){__VA_ARGS__})

static void arguments_that_cannot_be_end_with_status_2_and_say_why(void **state) {
    (void)state;
    outcome o = PROGRAM("baton-x");
    assert_int_equal(o.code, ARGS_REFUSED);
    assert_non_null(strstr(o.err, "the CONFIG file is missing"));
    o = PROGRAM("baton-x", "a.yaml", "b.yaml");
    assert_int_equal(o.code, ARGS_REFUSED);
    assert_non_null(strstr(o.err, "one CONFIG is enough: 'b.yaml' is one too many"));
    o = PROGRAM("baton-x", "--port=1", "a.yaml");
    assert_int_equal(o.code, ARGS_REFUSED);
    assert_non_null(strstr(o.err, "port"));
    o = PROGRAM("baton-x", "/nowhere/a.yaml");
    assert_int_equal(o.code, ARGS_REFUSED);
    assert_memory_equal(o.err, "baton-x: ", 9);
    assert_non_null(strstr(o.err, "/nowhere/a.yaml"));
    assert_string_equal(o.out, "");
}

static void version_and_help_end_well(void **state) {
    (void)state;
    outcome o = PROGRAM("baton-x", "--version");
    assert_int_equal(o.code, 0);
    assert_string_equal(o.out, "baton-x " BATON_VERSION "\n");
    o = PROGRAM("baton-x", "--help");
    assert_int_equal(o.code, 0);
    assert_non_null(strstr(o.out, "CONFIG"));
    assert_non_null(strstr(o.out, "--set=KEY=VALUE"));
}

static void check_prints_config_and_ranks_and_a_good_config_goes_on(void **state) {
    (void)state;
    outcome o =
        PROGRAM("baton-x", CONFIG_DIR "/local.yaml", "--set", "cluster.oversubscribe=true", "--check");
    assert_int_equal(o.code, 0);
    assert_non_null(strstr(o.out, "\nrank=0 role=coordinator index=0 host=localhost cores=-\n"));
    assert_string_equal(o.err, "");
    o = PROGRAM("baton-x", CONFIG_DIR "/local.yaml", "--set", "decode.count=2");
    assert_int_equal(o.code, 77);
    assert_string_equal(o.out, "");
    o = PROGRAM("baton-x", CONFIG_DIR "/local.yaml", "--set", "decode.count=x");
    assert_int_equal(o.code, ARGS_REFUSED);
    assert_string_equal(o.err, "baton-x: --set decode.count=x: decode.count: \"x\" is no whole number\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_config_and_its_settings_are_read_in_order),
        cmocka_unit_test(arguments_that_cannot_be_end_with_status_2_and_say_why),
        cmocka_unit_test(version_and_help_end_well),
        cmocka_unit_test(check_prints_config_and_ranks_and_a_good_config_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
