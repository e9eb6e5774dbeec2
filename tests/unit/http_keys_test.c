/* Keys of the API: what a file may say, whose a key is, and what is taken for one. */
#include "tests/test.h"

#include "base/mem.h"
#include "base/secret_file.h"
#include "coordinator/http_access.h"
#include "coordinator/http_keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[] = "/tmp/baton-keys-XXXXXX";

static int make_file(void **state) {
    (void)state;
    strcpy(path, "/tmp/baton-keys-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    return 0;
}

static int remove_file(void **state) {
    (void)state;
    unlink(path);
    return 0;
}

static void file_has(const char *text, size_t len) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static http_keys *reads(const char *text) {
    file_has(text, strlen(text));
    http_keys *k = http_keys_new();
    errbuf eb = {0};
    if (http_keys_read(k, path, &eb) != ST_OK) fail_msg("%s", eb.text);
    return k;
}

/* The error is PATH and then `want`. */
static void refuses_file(const char *want) {
    http_keys *k = http_keys_new();
    errbuf eb = {0};
    char *full = xasprintf("%s%s", path, want);
    assert_int_not_equal(http_keys_read(k, path, &eb), ST_OK);
    assert_string_equal(eb.text, full);
    free(full);
    http_keys_free(k);
}

static void refuses(const char *text, const char *want) {
    file_has(text, strlen(text));
    refuses_file(want);
}

static void a_file_has_a_key_per_line_with_or_without_a_name(void **state) {
    (void)state;
    http_keys *k = reads("# the batch\n\nbatch  k-1\n\tk-2 \r\n  # k-3\nbatch\tk-4\nk-5");
    assert_int_equal(http_keys_count(k), 4);
    uint64_t batch = http_keys_client(k, "k-1"), other = http_keys_client(k, "k-2");
    assert_true(batch && other && batch != other);
    assert_int_equal(http_keys_client(k, "k-4"), batch); /* of one name */
    assert_string_equal(http_keys_name(k, batch), "batch");
    assert_string_equal(http_keys_name(k, other), "");
    assert_int_not_equal(http_keys_client(k, "k-5"), 0);
    static const char *const no_key[] = {"", "k-3", "k-", "k-11", "batch", "K-1", "#", "k-1 "};
    for (size_t i = 0; i < ARRAY_LEN(no_key); i++) assert_int_equal(http_keys_client(k, no_key[i]), 0);
    http_keys *again = reads("k-2\nbatch new\n");
    assert_int_equal(http_keys_client(again, "k-2"), other); /* the same after a reload */
    assert_int_equal(http_keys_client(again, "new"), batch);
    assert_int_equal(http_keys_client(again, "k-1"), 0);
    http_keys_free(again);
    http_keys_free(k);
}

static void a_file_that_is_wrong_is_told_by_line_and_without_the_key(void **state) {
    (void)state;
    refuses("k-1\na b c\n", ":2: want KEY or NAME KEY, without more words");
    refuses("\n\nk-\x7f\n", ":3: a key must have 1 to 512 visible ASCII characters, and no space");
    refuses("k-\xc3\xa9\n", ":1: a key must have 1 to 512 visible ASCII characters, and no space");
    refuses("s3cret\nme s3cret\n", ":2: the key is there twice");
    refuses("# nothing\n\n", " has no key: want one per line, with or without a name in front of it");
    refuses("", " has no key: want one per line, with or without a name in front of it");
    char text[700];
    memset(text, 'n', sizeof text);
    strcpy(text + 64, " k\n");
    refuses(text, ":1: the name of a key has 64 bytes, want at most 63");
    memset(text, 'k', sizeof text);
    strcpy(text + 513, "\n");
    refuses(text, ":1: a key must have 1 to 512 visible ASCII characters, and no space");
    strcpy(text + 512, "\n");
    http_keys_free(reads(text));
    file_has("a\0b", 3);
    refuses_file(" has a NUL in it");
    buf many = {0};
    for (uint32_t i = 0; i < HTTP_KEYS_MAX; i++) buf_addf(&many, "k%u\n", i);
    http_keys_free(reads(many.data));
    buf_adds(&many, "one-more\n");
    refuses(many.data, ":4097: more than 4096 keys");
    buf_done(&many);
}

static void a_file_that_others_may_read_is_none(void **state) {
    (void)state;
    file_has("k\n", 2);
    static const struct {
        mode_t mode;
        bool good;
    } modes[] = {{0600, true}, {0400, true}, {0640, true}, {0440, true}, {0644, false}, {0660, false}};
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        assert_int_equal(chmod(path, modes[i].mode), 0);
        http_keys *k = http_keys_new();
        errbuf eb = {0};
        status st = http_keys_read(k, path, &eb);
        assert_int_equal(st, modes[i].good ? ST_OK : ST_INVALID);
        if (!modes[i].good) assert_non_null(strstr(eb.text, "chmod 640"));
        http_keys_free(k);
    }
    unlink(path);
    refuses_file(": No such file or directory");
    assert_int_equal(mkfifo(path, 0600), 0);
    refuses_file(" is no plain file"); /* and nobody waits for a writer */
    unlink(path);
    buf large = {0};
    (void)memset(buf_grow(&large, SECRET_FILE_MAX + 1), '#', SECRET_FILE_MAX + 1);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(chmod(path, 0600), 0);
    file_has(large.data, SECRET_FILE_MAX + 1);
    refuses_file(" has more than 1048576 bytes");
    buf_done(&large);
}

static void a_request_is_its_keys_holders(void **state) {
    (void)state;
    http_keys *k = reads("me k-1\n");
    http_access open = {.origins = ""}, locked = {.origins = "", .keys = k};
    struct evkeyvalq in;
    TAILQ_INIT(&in);
    assert_int_equal(http_access_client(&locked, &in), 0);
    evhttp_add_header(&in, "authorization", "bearer   k-1");
    assert_int_equal(http_access_client(&locked, &in), http_keys_client(k, "k-1"));
    assert_int_equal(http_access_client(&open, &in), 0);
    evhttp_clear_headers(&in);
    static const char *const paths[] = {"/v1/completions", "/v1", "/tokenize", "/detokenize"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        assert_true(http_access_denied(&locked, paths[i], 0));
        assert_false(http_access_denied(&locked, paths[i], 1));
        assert_false(http_access_denied(&open, paths[i], 0));
    }
    assert_false(http_access_denied(&locked, "/health", 0));
    http_keys_free(k);
}

#define WITH_FILE(test) cmocka_unit_test_setup_teardown(test, make_file, remove_file)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_FILE(a_file_has_a_key_per_line_with_or_without_a_name),
        WITH_FILE(a_file_that_is_wrong_is_told_by_line_and_without_the_key),
        WITH_FILE(a_file_that_others_may_read_is_none),
        WITH_FILE(a_request_is_its_keys_holders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
