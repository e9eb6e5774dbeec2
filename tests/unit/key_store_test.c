/* Keys and lists that are held in memory. */
#include "tests/test.h"

#include "base/mem.h"
#include "checkpoint/key_store.h"

#include <stdlib.h>
#include <string.h>

static bool is_text(checkpoint_text t, const char *want) {
    return t.len == strlen(want) && memcmp(t.data, want, t.len) == 0;
}

static void a_key_is_found_by_name_and_kind(void **state) {
    (void)state;
    key_store *s = key_store_new();
    key_store_u64(s, "n", 9);
    key_store_f64(s, "f", 0.5);
    key_store_bool(s, "b", true);
    key_store_text(s, "t", "abc", 3);
    uint64_t n = 0;
    double f = 0;
    bool b = false;
    checkpoint_text t;
    assert_true(key_store_get_u64(s, "n", &n) && n == 9);
    assert_true(key_store_get_f64(s, "f", &f) && f == 0.5);
    assert_true(key_store_get_bool(s, "b", &b) && b);
    assert_true(key_store_get_text(s, "t", &t) && is_text(t, "abc"));
    assert_false(key_store_get_u64(s, "f", &n));
    assert_false(key_store_get_f64(s, "n", &f));
    assert_false(key_store_get_bool(s, "absent", &b));
    assert_false(key_store_get_text(s, "n", &t));
    key_store_free(s);
}

static void setting_a_key_again_replaces_its_value_and_kind(void **state) {
    (void)state;
    key_store *s = key_store_new();
    key_store_list(s, "k", CHECKPOINT_INTEGERS, 3);
    key_store_text(s, "k", "x", 1);
    checkpoint_kind kind;
    uint64_t count;
    checkpoint_text t;
    assert_false(key_store_get_list(s, "k", &kind, &count));
    assert_true(key_store_get_text(s, "k", &t) && is_text(t, "x"));
    key_store_free(s);
}

static void elements_of_a_list_start_empty_and_are_of_its_kind(void **state) {
    (void)state;
    key_store *s = key_store_new();
    key_store_list(s, "t", CHECKPOINT_TEXTS, 2);
    key_store_list(s, "i", CHECKPOINT_INTEGERS, 2);
    key_store_list(s, "f", CHECKPOINT_REALS, 1);
    key_store_list_text(s, "t", 1, "b\0c", 3);
    key_store_list_i64(s, "i", 0, -4);
    key_store_list_f64(s, "f", 0, 1.5);
    checkpoint_kind kind;
    uint64_t count;
    assert_true(key_store_get_list(s, "t", &kind, &count));
    assert_int_equal(kind, CHECKPOINT_TEXTS);
    assert_int_equal(count, 2);
    checkpoint_text t;
    int64_t i = 1;
    double f = 0;
    assert_true(key_store_get_list_text(s, "t", 0, &t) && t.len == 0 && t.data);
    assert_true(key_store_get_list_text(s, "t", 1, &t) && t.len == 3 && memcmp(t.data, "b\0c", 3) == 0);
    assert_false(key_store_get_list_text(s, "t", 2, &t));
    assert_true(key_store_get_list_i64(s, "i", 0, &i) && i == -4);
    assert_true(key_store_get_list_i64(s, "i", 1, &i) && i == 0);
    assert_false(key_store_get_list_i64(s, "t", 0, &i));
    assert_true(key_store_get_list_f64(s, "f", 0, &f) && f == 1.5);
    key_store_free(s);
}

static void what_was_handed_out_stays_while_more_is_added(void **state) {
    (void)state;
    enum { TEXTS = 5000 };
    key_store *s = key_store_new();
    key_store_text(s, "first", "stays", 5);
    checkpoint_text first, t;
    assert_true(key_store_get_text(s, "first", &first));
    key_store_list(s, "many", CHECKPOINT_TEXTS, TEXTS);
    char text[40];
    memset(text, 'x', sizeof text);
    for (uint64_t i = 0; i < TEXTS; i++) key_store_list_text(s, "many", i, text, sizeof text);
    char *large = xcalloc(1, 1 << 20);
    key_store_text(s, "large", large, 1 << 20);
    assert_true(is_text(first, "stays"));
    assert_true(key_store_get_text(s, "large", &t) && t.len == 1 << 20);
    assert_true(key_store_get_list_text(s, "many", TEXTS - 1, &t) && memcmp(t.data, text, sizeof text) == 0);
    free(large);
    key_store_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_found_by_name_and_kind),
        cmocka_unit_test(setting_a_key_again_replaces_its_value_and_kind),
        cmocka_unit_test(elements_of_a_list_start_empty_and_are_of_its_kind),
        cmocka_unit_test(what_was_handed_out_stays_while_more_is_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
