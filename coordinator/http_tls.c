#include "coordinator/http_tls.h"

#include "base/mem.h"
#include "base/secret_file.h"

#include <errno.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct http_tls {
    SSL_CTX *ctx;
    char expires[64];
};

/* The oldest of OpenSSL's reasons, and forgets them. Borrowed: static. */
static const char *reason(void) {
    unsigned long code = ERR_get_error();
    ERR_clear_error();
    const char *text = code ? ERR_reason_error_string(code) : NULL;
    return text ? text : "unknown reason";
}

/* OpenSSL would ask the terminal for it. */
static int no_passphrase(char *text, int size, int for_writing, void *ctx) {
    (void)text, (void)size, (void)for_writing;
    if (ctx) *(bool *)ctx = true;
    return -1;
}

static status use_key(SSL_CTX *ctx, const char *path, errbuf *eb) {
    buf text = {0};
    status st = secret_file_read(&text, path, eb);
    if (st != ST_OK) return st;
    bool asked = false;
    BIO *bio = BIO_new_mem_buf(text.len ? text.data : "", (int)text.len);
    CHECK(bio);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &asked);
    BIO_free(bio);
    secret_file_forget(&text);
    if (asked)
        st = errf(eb, ST_INVALID, "%s has a passphrase: want a key without (openssl pkey -in OLD -out NEW)",
                  path);
    else if (!key)
        st = errf(eb, ST_INVALID, "%s has no private key in PEM form: %s", path, reason());
    else if (SSL_CTX_use_PrivateKey(ctx, key) != 1)
        st = errf(eb, ST_INVALID, "%s is not the key of the certificate: %s", path, reason());
    EVP_PKEY_free(key);
    ERR_clear_error();
    return st;
}

static void note_end(http_tls *t) {
    const X509 *cert = SSL_CTX_get0_certificate(t->ctx);
    BIO *bio = BIO_new(BIO_s_mem());
    CHECK(cert && bio);
    if (ASN1_TIME_print(bio, X509_get0_notAfter(cert)) == 1)
        (void)BIO_gets(bio, t->expires, sizeof t->expires);
    BIO_free(bio);
}

static status check_end(const http_tls *t, const char *path, errbuf *eb) {
    const X509 *cert = SSL_CTX_get0_certificate(t->ctx);
    if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
        return errf(eb, ST_INVALID, "%s has ended (%s): want one that is valid", path, t->expires);
    return ST_OK;
}

status http_tls_new(http_tls **out, const char *cert_path, const char *key_path, errbuf *eb) {
    PRE(out);
    PRE(cert_path);
    PRE(key_path);
    http_tls *t = xcalloc(1, sizeof *t);
    ERR_clear_error();
    t->ctx = SSL_CTX_new(TLS_server_method());
    CHECK(t->ctx);
    CHECK(SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION) == 1);
    /* A client may leave without the alert: what is said in HTTP has a length of its own. */
    (void)SSL_CTX_set_options(t->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                          SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
    /* An idle connection then has no buffers of OpenSSL's. */
    (void)SSL_CTX_set_mode(t->ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_default_passwd_cb(t->ctx, no_passphrase);
    status st = ST_OK;
    if (access(cert_path, R_OK) != 0)
        st = errf(eb, ST_IO, "http.tls_cert: %s: %s", cert_path, strerror(errno));
    else if (SSL_CTX_use_certificate_chain_file(t->ctx, cert_path) != 1)
        st =
            errf(eb, ST_INVALID, "http.tls_cert: %s has no certificate in PEM form: %s", cert_path, reason());
    if (st == ST_OK) {
        note_end(t);
        st = check_end(t, cert_path, eb);
        if (st != ST_OK) err_prefix(eb, st, "http.tls_cert");
    }
    if (st == ST_OK) {
        st = use_key(t->ctx, key_path, eb);
        if (st != ST_OK) err_prefix(eb, st, "http.tls_key");
    }
    if (st != ST_OK) {
        http_tls_free(t);
        return st;
    }
    *out = t;
    return ST_OK;
}

void http_tls_free(http_tls *t) {
    if (!t) return;
    SSL_CTX_free(t->ctx);
    free(t);
}

const char *http_tls_expires(const http_tls *t) {
    PRE(t);
    return t->expires;
}

struct bufferevent *http_tls_accept(const http_tls *t, struct event_base *base, evutil_socket_t fd) {
    PRE(t);
    PRE(base);
    SSL *ssl = SSL_new(t->ctx);
    if (!ssl) return NULL;
    struct bufferevent *bev =
        bufferevent_openssl_socket_new(base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
    if (!bev) {
        SSL_free(ssl);
        return NULL;
    }
    bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
    return bev;
}

void http_tls_finish(struct bufferevent *bev) {
    PRE(bev);
    SSL *ssl = bufferevent_openssl_get_ssl(bev);
    if (!ssl || !SSL_is_init_finished(ssl)) return;
    ERR_clear_error();
    (void)SSL_shutdown(ssl); /* once: the client's own is not waited for */
    ERR_clear_error();
}

bool http_tls_got_plain(struct bufferevent *bev) {
    PRE(bev);
    unsigned long code = bufferevent_get_openssl_error(bev);
    return ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_HTTP_REQUEST;
}
