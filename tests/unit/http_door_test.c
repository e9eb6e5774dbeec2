/* What HTTP is locked with: a key from wherever opens an address beyond this machine. */
#include "tests/unit/config_scene.h"

#include "base/mem.h"
#include "coordinator/http_door.h"

#define FAR "cluster:\n  http: 0.0.0.0:8000\n"

/* What is said about it; "": nothing. */
static const char *judged(const char *text) {
    static errbuf eb;
    eb = (errbuf){0};
    config *c = loads(text, NULL, 0);
    status st = http_door_check(c, &eb);
    assert_int_equal(st == ST_OK, !eb.text[0]);
    config_free(c);
    return eb.text;
}

static void an_address_beyond_this_machine_needs_a_key(void **state) {
    (void)state;
    unsetenv("BATON_API_KEY");
    static const char want[] =
        "cluster.http: 0.0.0.0:8000 is beyond this machine, and who reaches it could use the cluster: set "
        "http.api_key_file or BATON_API_KEY, or cluster.insecure: true";
    assert_string_equal(judged(MODEL FAR), want);
    setenv("BATON_API_KEY", "", 1);
    assert_string_equal(judged(MODEL FAR), want);
    assert_string_equal(judged(MODEL "cluster:\n  http: 127.0.0.1:8000\n"), "");
    assert_string_equal(judged(MODEL FAR "  insecure: true\n"), "");
}

static void any_key_will_do(void **state) {
    (void)state;
    unsetenv("BATON_API_KEY");
    assert_string_equal(judged(MODEL FAR "http:\n  api_keys: [k]\n"), "");
    assert_string_equal(judged(MODEL FAR "http:\n  api_key_file: f\n"), "");
    setenv("BATON_API_KEY", "k", 1);
    assert_string_equal(judged(MODEL FAR), "");
    unsetenv("BATON_API_KEY");
}

static void a_key_of_the_environment_is_asked_for(void **state) {
    (void)state;
    setenv("BATON_API_KEY", "sk-around", 1);
    config *c = loads(MODEL FAR, NULL, 0);
    http_door d;
    errbuf eb = {0};
    assert_int_equal(http_door_open(&d, c, &eb), ST_OK);
    assert_int_equal(http_keys_count(d.keys), 1);
    assert_true(http_keys_client(d.keys, "sk-around") && !http_keys_client(d.keys, "sk-other"));
    http_door_done(&d);
    config_free(c);
    unsetenv("BATON_API_KEY");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_beyond_this_machine_needs_a_key),
        cmocka_unit_test(any_key_will_do),
        cmocka_unit_test(a_key_of_the_environment_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
