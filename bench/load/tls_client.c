#include "bench/load/tls_client.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdlib.h>

struct tls_client {
    SSL_CTX *ctx;
};

/* The oldest of OpenSSL's reasons, and forgets them. Borrowed: static. */
static const char *reason(void) {
    unsigned long code = ERR_get_error();
    ERR_clear_error();
    const char *text = code ? ERR_reason_error_string(code) : NULL;
    return text ? text : "unknown reason";
}

status tls_client_new(tls_client **out, const char *ca, bool insecure, errbuf *eb) {
    PRE(out);
    tls_client *t = xcalloc(1, sizeof *t);
    ERR_clear_error();
    t->ctx = SSL_CTX_new(TLS_client_method());
    CHECK(t->ctx);
    CHECK(SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION) == 1);
    (void)SSL_CTX_set_mode(t->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    (void)SSL_CTX_set_options(t->ctx, SSL_OP_IGNORE_UNEXPECTED_EOF); /* HTTP says itself where it ends */
    SSL_CTX_set_verify(t->ctx, insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    if (ca && SSL_CTX_load_verify_locations(t->ctx, ca, NULL) != 1) {
        status st =
            errf(eb, ST_INVALID, "%s has no certificate in PEM form that can be read: %s", ca, reason());
        tls_client_free(t);
        return st;
    }
    if (!ca) (void)SSL_CTX_set_default_verify_paths(t->ctx);
    ERR_clear_error();
    signal(SIGPIPE, SIG_IGN);
    *out = t;
    return ST_OK;
}

void tls_client_free(tls_client *t) {
    if (!t) return;
    SSL_CTX_free(t->ctx);
    free(t);
}

tls_socket *tls_client_open(const tls_client *t, int fd, const char *host) {
    PRE(t);
    PRE(host);
    SSL *s = SSL_new(t->ctx);
    CHECK(s);
    CHECK(SSL_set_fd(s, fd) == 1);
    struct in6_addr any;
    bool numeric = inet_pton(AF_INET, host, &any) == 1 || inet_pton(AF_INET6, host, &any) == 1;
    if (numeric) {
        CHECK(X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(s), host) == 1);
    } else {
        CHECK(SSL_set1_host(s, host) == 1);
        CHECK(SSL_set_tlsext_host_name(s, host) == 1);
    }
    SSL_set_connect_state(s);
    return s;
}

void tls_socket_free(tls_socket *s) {
    SSL_free(s);
}

/* What a call came to that did not go well: 0 (the end) or -1 with errno. */
static ssize_t failed(SSL *s, int result, errbuf *eb) {
    int cause = errno;
    if (eb && eb->text[0]) { /* it failed before, and said why */
        errno = EPROTO;
        return -1;
    }
    switch (SSL_get_error(s, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        errno = cause;
        return cause ? -1 : 0;
    default: {
        long verdict = SSL_get_verify_result(s);
        if (verdict != X509_V_OK && SSL_get_verify_mode(s) != SSL_VERIFY_NONE)
            errf(eb, ST_IO, "its certificate is not trusted: %s: give --ca FILE, or --insecure",
                 X509_verify_cert_error_string(verdict));
        else
            errf(eb, ST_IO, "TLS: %s: does it speak https?", reason());
        ERR_clear_error();
        errno = EPROTO;
        return -1;
    }
    }
}

ssize_t tls_socket_read(tls_socket *s, void *bytes, size_t count, errbuf *eb) {
    PRE(s);
    PRE(bytes);
    ERR_clear_error();
    errno = 0;
    int n = SSL_read(s, bytes, (int)MIN(count, INT_MAX));
    return n > 0 ? n : failed(s, n, eb);
}

ssize_t tls_socket_write(tls_socket *s, const void *bytes, size_t count, errbuf *eb) {
    PRE(s);
    PRE(bytes);
    ERR_clear_error();
    errno = 0;
    int n = SSL_write(s, bytes, (int)MIN(count, INT_MAX));
    return n > 0 ? n : failed(s, n, eb);
}

bool tls_socket_wants_read(const tls_socket *s) {
    PRE(s);
    return SSL_want_read(s);
}

bool tls_socket_pending(const tls_socket *s) {
    PRE(s);
    return SSL_pending(s) > 0;
}
