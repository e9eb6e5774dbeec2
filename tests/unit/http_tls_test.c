/* What is particular to TLS; http_test, http_wire_test and http_limits_test run over it as well. */
#include "http_world.h"

#define PING "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"

static tls_files files;

static void say(world *w, int i, const char *text) {
    send_all(w, i, text, strlen(text));
}

/* Without a handshake. */
static void dial_plain(world *w, int i) {
    http_tls *kept = world_tls;
    world_tls = NULL;
    dial(w, i, 0);
    world_tls = kept;
}

static void plain_http_is_told_to_speak_tls(void **state) {
    world *w = *state;
    static const char *const requests[] = {
        PING, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n{\"prompt\":\"a\"}"};
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        dial_plain(w, 0);
        say(w, 0, requests[i]);
        PUMP_UNTIL(w, w->closed[0]);
        assert_true(has(w, 0, "HTTP/1.1 400 Bad Request\r\n") && has(w, 0, "Connection: close\r\n"));
        assert_true(has(w, 0, "{\"error\":{\"message\":\"this port speaks TLS: write https:// in place of"));
        hang_up(w, 0);
    }
}

static void what_is_neither_is_closed(void **state) {
    world *w = *state;
    static const char *const bytes[] = {"\x16\x03\x01\x00\x05hello", "SSH-2.0-x\r\n", "\x80\x01"};
    for (size_t i = 0; i < ARRAY_LEN(bytes); i++) {
        dial_plain(w, 0);
        send_all(w, 0, bytes[i], i == 0 ? 10 : strlen(bytes[i]));
        for (int k = 0; k < 5; k++) pump(w);
        if (i == 2)
            hang_up(w, 0); /* half of a record */
        else {
            PUMP_UNTIL(w, w->closed[0]);
            assert_false(has(w, 0, "HTTP"));
            hang_up(w, 0);
        }
    }
    dial(w, 1, 0);
    say(w, 1, PING);
    PUMP_UNTIL(w, has(w, 1, "HTTP/1.1 200 OK"));
}

static void a_handshake_has_an_end(void **state) {
    world *w = *state;
    dial_plain(w, 0); /* says nothing */
    dial_plain(w, 1);
    send_all(w, 1, "\x16\x03\x01", 3);
    dial(w, 2, 0); /* has shaken hands: may be idle for longer */
    for (int i = 0; i < 20; i++) pump(w);
    w->skip_ns = 10 * NS_PER_S;
    for (int i = 0; i < 3; i++) pump(w);
    for (int i = 0; i < 3; i++) read_client(w, i);
    assert_false(w->closed[0] || w->closed[1] || w->closed[2]);
    w->skip_ns = 60 * NS_PER_S;
    PUMP_UNTIL(w, w->closed[0] && w->closed[1]);
    assert_false(w->closed[2]);
    w->skip_ns = 200 * NS_PER_S;
    PUMP_UNTIL(w, w->closed[2]);
}

static void an_old_protocol_is_refused(void **state) {
    world *w = *state;
    SSL_CTX *kept = world_tls_client;
    world_tls_client = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(world_tls_client, 0);
    assert_int_equal(SSL_CTX_set_max_proto_version(world_tls_client, TLS1_1_VERSION), 1);
    dial(w, 0, 0);
    assert_true(w->closed[0]);
    SSL_CTX_set_max_proto_version(world_tls_client, TLS1_2_VERSION);
    dial(w, 1, 0);
    say(w, 1, PING);
    PUMP_UNTIL(w, has(w, 1, "HTTP/1.1 200 OK"));
    SSL_CTX_free(world_tls_client);
    world_tls_client = kept;
}

static void the_end_of_an_answer_is_told(void **state) {
    world *w = *state;
    dial(w, 0, 0);
    say(w, 0, "GET /ping HTTP/1.0\r\n\r\n");
    PUMP_UNTIL(w, w->closed[0]);
    assert_true(has(w, 0, "HTTP/1.1 200 OK"));
    assert_true(SSL_get_shutdown(w->ssl[0]) & SSL_RECEIVED_SHUTDOWN);
}

static bool is_of(const world *w, int i, const char *name) {
    char cn[64] = "";
    X509 *cert = SSL_get1_peer_certificate(w->ssl[i]);
    assert_non_null(cert);
    X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, cn, sizeof cn);
    X509_free(cert);
    return strcmp(cn, name) == 0;
}

static void a_new_certificate_is_for_new_connections(void **state) {
    world *w = *state;
    errbuf eb = {0};
    http_tls *new = NULL;
    dial(w, 0, 0);
    post(w, 0, "/v1/completions", "", "{\"prompt\":\"a\",\"stream\":true}");
    PUMP_UNTIL(w, w->core.last == 1);
    tls_files_write(&files, "new", 86400, NULL);
    assert_int_equal(http_tls_new(&new, files.cert, files.key, &eb), ST_OK);
    http_set_tls(w->http, new);
    http_tls_free(world_tls); /* connections keep what they need of it */
    world_tls = new;
    dial(w, 1, 0);
    assert_true(is_of(w, 0, "localhost") && is_of(w, 1, "new"));
    say(w, 1, PING);
    fake_token(&w->core, 1, (token_out){.id = 'x', .fin = FINISH_LENGTH});
    PUMP_UNTIL(w, has(w, 0, "[DONE]") && has(w, 1, "HTTP/1.1 200 OK"));
}

/* The error has all three words. */
static void refuses(const char *a, const char *b, const char *c) {
    http_tls *t = NULL;
    errbuf eb = {0};
    assert_int_not_equal(http_tls_new(&t, files.cert, files.key, &eb), ST_OK);
    if (!strstr(eb.text, a) || !strstr(eb.text, b) || !strstr(eb.text, c)) fail_msg("%s", eb.text);
    assert_null(t);
}

static void write_file(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void files_that_do_not_fit_are_told(void **state) {
    (void)state;
    tls_files other;
    tls_files_remove(&files);
    refuses("http.tls_cert: ", files.cert, "No such file");
    tls_files_write(&files, "a", 86400, NULL);
    unlink(files.key);
    refuses("http.tls_key: ", files.key, "No such file");
    tls_files_write(&files, "a", 86400, NULL);
    assert_int_equal(chmod(files.key, 0644), 0);
    refuses("http.tls_key: ", files.key, "chmod 640");
    tls_files_write(&files, "a", 86400, "secret");
    refuses("http.tls_key: ", files.key, "has a passphrase");
    tls_files_write(&files, "a", -10, NULL);
    refuses("http.tls_cert: ", files.cert, "has ended");
    tls_files_write(&files, "a", 86400, NULL);
    other = files;
    snprintf(other.cert, sizeof other.cert, "/tmp/baton-other-%ld.pem", (long)getpid());
    tls_files_write(&other, "b", 86400, NULL); /* the key is another's now */
    unlink(other.cert);
    refuses("http.tls_key: ", files.key, "is not the key of the certificate");
    write_file(files.cert, "hello\n");
    refuses("http.tls_cert: ", files.cert, "no certificate in PEM form");
    tls_files_write(&files, "a", 86400, NULL);
    write_file(files.key, "hello\n");
    refuses("http.tls_key: ", files.key, "no private key in PEM form");
}

int main(void) {
    char program[] = "http_tls_test", tls[] = "tls", *args[] = {program, tls};
    world_main(2, args);
    tls_files_name(&files);
    const struct CMUnitTest tests[] = {
        WITH_WORLD(plain_http_is_told_to_speak_tls),
        WITH_WORLD(what_is_neither_is_closed),
        WITH_WORLD(a_handshake_has_an_end),
        WITH_WORLD(an_old_protocol_is_refused),
        WITH_WORLD(the_end_of_an_answer_is_told),
        WITH_WORLD(a_new_certificate_is_for_new_connections),
        cmocka_unit_test(files_that_do_not_fit_are_told),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tls_files_remove(&files);
    return world_end(failed);
}
