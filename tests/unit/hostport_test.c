#include "tests/test.h"

#include "base/hostport.h"
#include "base/mem.h"

#include <string.h>

static void an_address_falls_into_host_and_port(void **state) {
    (void)state;
    const struct {
        const char *text;
        bool tcp;
        const char *host, *port;
        bool bracketed;
    } cases[] = {
        {"127.0.0.1:8000", false, "127.0.0.1", "8000", false},
        {"node-a:0", false, "node-a", "0", false},
        {"*:65535", false, "*", "65535", false},
        {"[::1]:80", false, "::1", "80", true},
        {"::1:80", false, "::1", "80", false},
        {"tcp://127.0.0.1:8001", true, "127.0.0.1", "8001", false},
        {"tcp://*:*", true, "*", "*", false},
        {"tcp://[fe80::1%eth0]:00080", true, "fe80::1%eth0", "00080", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        hostport got = {0};
        assert_true(hostport_parse(&got, cases[i].text, cases[i].tcp));
        assert_string_equal(got.host, cases[i].host);
        assert_string_equal(got.port, cases[i].port);
        assert_int_equal(got.bracketed, cases[i].bracketed);
    }
}

static void what_is_no_address_changes_nothing(void **state) {
    (void)state;
    const struct {
        const char *text;
        bool tcp;
    } cases[] = {
        {"", false},
        {":", false},
        {"8000", false},
        {":8000", false},
        {"host", false},
        {"host:", false},
        {"host:65536", false},
        {"host:123456", false},
        {"host:80x", false},
        {"host:-1", false},
        {"host:*", false},
        {"a/b:80", false},
        {"[]:80", false},
        {"[::1:80", false},
        {"[:80", false},
        {"tcp://host:80", false},
        {"host:80", true},
        {"tcp://", true},
        {"tcp://:80", true},
        {"tcp://host", true},
        {"tcp:///a:80", true},
        {"ipc://host:80", true},
        {"tcp://a:99999", true},
        {"tcp://host:**", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        hostport got = {.host = "before"};
        if (hostport_parse(&got, cases[i].text, cases[i].tcp)) fail_msg("'%s' was taken", cases[i].text);
        assert_string_equal(got.host, "before");
    }
}

static void what_only_this_machine_reaches_is_known_by_its_text(void **state) {
    (void)state;
    static const char *const near[] = {"127.0.0.1:1", "127.1.2.3:1", "localhost:1", "[::1]:1", "::1:1"};
    static const char *const far[] = {
        "127.example.com:1", "localhost.example.com:1", "128.0.0.1:1", "[::]:1", "::2:1", "*:1"};
    hostport at;
    for (size_t i = 0; i < ARRAY_LEN(near); i++)
        assert_true(hostport_parse(&at, near[i], false) && hostport_is_loopback(&at));
    for (size_t i = 0; i < ARRAY_LEN(far); i++)
        assert_true(hostport_parse(&at, far[i], false) && !hostport_is_loopback(&at));
}

/* A host of 255 bytes fits, one of 256 does not. */
static void a_host_is_taken_whole_or_not_at_all(void **state) {
    (void)state;
    char text[300];
    hostport got;
    memset(text, 'h', 256);
    strcpy(text + 255, ":1");
    assert_true(hostport_parse(&got, text, false));
    assert_int_equal(strlen(got.host), 255);
    memset(text, 'h', 256);
    strcpy(text + 256, ":1");
    assert_false(hostport_parse(&got, text, false));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_falls_into_host_and_port),
        cmocka_unit_test(what_is_no_address_changes_nothing),
        cmocka_unit_test(what_only_this_machine_reaches_is_known_by_its_text),
        cmocka_unit_test(a_host_is_taken_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
