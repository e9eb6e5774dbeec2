/* Keys of a cluster in their files, and who is let in by a bus that has them. */
#include "tests/test.h"

#include "base/clock.h"
#include "base/mem.h"
#include "net/bus.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEADLINE_NS (60 * NS_PER_S)

typedef struct world {
    char dir[32], cluster[64], client[64], other[64]; /* folder and files; other: another cluster's folder */
    loop *loop;
    bus *server, *caller;
    uint32_t heard; /* messages at the server */
    uint32_t lost;  /* sessions of the caller */
    char why[128];
    uint64_t deadline_ns;
} world;

static uint64_t turn(void *ctx, uint64_t now_ns) {
    world *w = ctx;
    if (w->heard || w->lost || now_ns > w->deadline_ns) loop_stop(w->loop);
    return w->deadline_ns;
}

static void on_server_message(void *ctx, uint64_t conn, const void *bytes, size_t count) {
    world *w = ctx;
    (void)conn, (void)bytes;
    assert_int_equal(count, 5);
    w->heard++;
}

static void on_caller_message(void *ctx, uint64_t conn, const void *bytes, size_t count) {
    (void)ctx, (void)conn, (void)bytes, (void)count;
    fail();
}

static void on_server_lost(void *ctx, uint64_t conn, const char *why) {
    (void)ctx, (void)conn, (void)why;
}

static void on_caller_lost(void *ctx, uint64_t conn, const char *why) {
    world *w = ctx;
    (void)conn;
    snprintf(w->why, sizeof w->why, "%s", why);
    w->lost++;
}

static int setup(void **state) {
    world *w = xcalloc(1, sizeof *w);
    errbuf eb = {0};
    strcpy(w->dir, "/tmp/baton-keys-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    if (curve_keygen(w->dir, &eb) != ST_OK) fail_msg("%s", eb.text);
    snprintf(w->cluster, sizeof w->cluster, "%s/cluster.key", w->dir);
    snprintf(w->client, sizeof w->client, "%s/client.key", w->dir);
    snprintf(w->other, sizeof w->other, "%s/other", w->dir);
    if (curve_keygen(w->other, &eb) != ST_OK) fail_msg("%s", eb.text);
    assert_int_equal(loop_new(&w->loop, turn, w, NULL), ST_OK);
    *state = w;
    return 0;
}

static int teardown(void **state) {
    world *w = *state;
    static const char *const names[] = {"other/cluster.key", "other/client.key", "other", "cluster.key",
                                        "client.key",        "bad.key",          ""};
    char path[64];
    bus_free(w->caller);
    bus_free(w->server);
    loop_free(w->loop);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "%s/%s", w->dir, names[i]);
        remove(path);
    }
    free(w);
    return 0;
}

static curve_keys cluster_keys(const char *path) {
    errbuf eb = {0};
    curve_keys k;
    if (curve_read_cluster(&k, path, &eb) != ST_OK) fail_msg("%s", eb.text);
    return k;
}

static curve_keys client_keys(const char *path) {
    errbuf eb = {0};
    curve_keys k;
    if (curve_read_client(&k, path, &eb) != ST_OK) fail_msg("%s", eb.text);
    return k;
}

/* What becomes of a caller with these keys (NULL: none) at a server with those. */
static refusal calls(world *w, const curve_keys *server, const curve_keys *caller) {
    bus_handler at_server = {.ctx = w, .message = on_server_message, .lost = on_server_lost};
    bus_handler at_caller = {.ctx = w, .message = on_caller_message, .lost = on_caller_lost};
    w->heard = w->lost = 0;
    assert_int_equal(bus_listen(&w->server, w->loop, "tcp://127.0.0.1:*", server, NULL, &at_server, NULL),
                     ST_OK);
    assert_int_equal(bus_connect(&w->caller, w->loop, bus_endpoint(w->server), caller, &at_caller, NULL),
                     ST_OK);
    assert_int_equal(bus_send(w->caller, 1, "hello", 5), ST_OK);
    w->deadline_ns = clock_now_ns() + DEADLINE_NS;
    loop_run(w->loop);
    assert_int_equal(w->heard + w->lost, 1);
    refusal why = bus_refused(w->caller);
    assert_int_equal(w->lost, why != NOT_REFUSED);
    if (w->lost) assert_string_equal(w->why, refusal_text(why));
    bus_free(w->caller);
    bus_free(w->server);
    w->caller = w->server = NULL;
    return why;
}

/* Of two ends that differ in whether there is a key one is the first to hang up. */
static void one_without_a_key(refusal why, refusal known) {
    if (why != REFUSED_SILENTLY) assert_int_equal(why, known);
}

static void who_holds_the_clusters_key_is_let_in_and_nobody_else(void **state) {
    world *w = *state;
    char path[96];
    curve_keys own = cluster_keys(w->cluster), client = client_keys(w->client);
    snprintf(path, sizeof path, "%s/cluster.key", w->other);
    curve_keys other = cluster_keys(path);
    curve_keys guessed = other; /* it knows whom it calls: the public key is no secret */
    memcpy(guessed.peer, own.own, sizeof guessed.peer);

    assert_int_equal(calls(w, &own, &own), NOT_REFUSED);
    one_without_a_key(calls(w, &own, NULL), REFUSED_KEY_WANTED);
    assert_int_equal(calls(w, &own, &guessed), REFUSED_KEY);
    assert_int_equal(calls(w, &own, &client), REFUSED_KEY); /* a client is no worker */
    assert_int_equal(calls(w, &own, &other), REFUSED_SILENTLY);
    one_without_a_key(calls(w, NULL, &own), REFUSED_KEY_UNKNOWN);
    assert_int_equal(calls(w, NULL, NULL), NOT_REFUSED);
}

static void the_native_socket_lets_in_its_clients_only(void **state) {
    world *w = *state;
    char path[96];
    curve_keys native, own = cluster_keys(w->cluster), client = client_keys(w->client);
    assert_int_equal(curve_read_native(&native, w->cluster, w->client, NULL), ST_OK);
    snprintf(path, sizeof path, "%s/client.key", w->other);
    curve_keys stranger = client_keys(path);
    assert_int_equal(calls(w, &native, &client), NOT_REFUSED);
    one_without_a_key(calls(w, &native, NULL), REFUSED_KEY_WANTED);
    assert_int_equal(calls(w, &native, &own), REFUSED_KEY);
    assert_int_equal(calls(w, &native, &stranger), REFUSED_SILENTLY);
}

static void keygen_makes_private_files_and_writes_over_none(void **state) {
    world *w = *state;
    errbuf eb = {0};
    struct stat is;
    char want[256];
    assert_int_equal(stat(w->cluster, &is), 0);
    assert_int_equal(is.st_mode & 0777, 0600);
    assert_int_equal(stat(w->client, &is), 0);
    assert_int_equal(is.st_mode & 0777, 0600);
    curve_keys before = cluster_keys(w->cluster);
    for (int i = 0; i < 2; i++) {
        const char *left = i ? w->cluster : w->client;
        if (i == 0) assert_int_equal(curve_keygen(w->dir, &eb), ST_INVALID);
        if (i == 1) assert_int_equal(unlink(w->client), 0);
        if (i == 1) assert_int_equal(curve_keygen(w->dir, &eb), ST_INVALID);
        snprintf(want, sizeof want,
                 "%s is there already, and may be in use: remove it first, or name another DIR", left);
        assert_string_equal(eb.text, want);
    }
    curve_keys after = cluster_keys(w->cluster);
    assert_memory_equal(&before, &after, sizeof before);
    assert_int_equal(access(w->client, F_OK), -1);
    assert_int_equal(curve_keygen("/proc/no/such", &eb), ST_IO);
}

static void reads_with(world *w, const char *path, const char *text) {
    errbuf eb = {0};
    curve_keys k;
    char want[256];
    assert_int_equal(curve_read_cluster(&k, path, &eb), ST_INVALID);
    snprintf(want, sizeof want, text, path, path);
    assert_string_equal(eb.text, want);
    (void)w;
}

static void files_that_are_no_keys_or_not_private_are_refused_by_name(void **state) {
    world *w = *state;
    char path[64];
    snprintf(path, sizeof path, "%s/bad.key", w->dir);
    reads_with(w, path,
               "%s: No such file or directory: make keys with baton-ctl keygen, or copy its file here");
    reads_with(w, w->dir, "%s is no file: want one of baton-ctl keygen");
    static const char *const texts[] = {"", "baton-cluster-key", "baton-cluster-key short\n", "x y z\n",
                                        "baton-cluster-key 0123456789012345678901234567890123456789 more\n"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
        assert_int_equal(write(fd, texts[i], strlen(texts[i])), strlen(texts[i]));
        close(fd);
        reads_with(w, path, "%s is no baton-cluster-key: want a file that baton-ctl keygen made, unchanged");
    }
    reads_with(
        w, w->client,
        "%s is a baton-client-key: want the file of the baton-cluster-key (baton-ctl keygen makes both)");
    assert_int_equal(chmod(w->cluster, 0644), 0);
    reads_with(w, w->cluster, "%s: others can read or change this key (mode 644): chmod 600 %s");
    assert_int_equal(chmod(w->cluster, 0640), 0); /* a group that an administrator chose */
    (void)cluster_keys(w->cluster);
}

static void files_of_two_clusters_are_not_mixed(void **state) {
    world *w = *state;
    errbuf eb = {0};
    curve_keys k;
    char path[96], want[256];
    snprintf(path, sizeof path, "%s/client.key", w->other);
    assert_int_equal(curve_read_native(&k, w->cluster, path, &eb), ST_INVALID);
    snprintf(want, sizeof want, "%s belongs to another cluster than %s: take both from one baton-ctl keygen",
             path, w->cluster);
    assert_string_equal(eb.text, want);
}

static void bytes_are_compared_whole(void **state) {
    (void)state;
    assert_true(curve_same("abcd", "abcd", 4));
    assert_false(curve_same("abcd", "abce", 4));
    assert_false(curve_same("abcd", "Abcd", 4));
    assert_true(curve_same("abcd", "abce", 3));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_holds_the_clusters_key_is_let_in_and_nobody_else, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_native_socket_lets_in_its_clients_only, setup, teardown),
        cmocka_unit_test_setup_teardown(keygen_makes_private_files_and_writes_over_none, setup, teardown),
        cmocka_unit_test_setup_teardown(files_that_are_no_keys_or_not_private_are_refused_by_name, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(files_of_two_clusters_are_not_mixed, setup, teardown),
        cmocka_unit_test(bytes_are_compared_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
