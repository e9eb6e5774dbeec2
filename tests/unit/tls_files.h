/* tls_files - certificates and keys as PEM files, for the tests of TLS. */
#ifndef BATON_TESTS_TLS_FILES_H
#define BATON_TESTS_TLS_FILES_H

#include "base/status.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct tls_files {
    char cert[64], key[64];
} tls_files;

/* Writes over what was there. ends_s: seconds from now, at which the certificate ends. passphrase: of the
 * key; NULL: none. */
static inline void tls_files_write(const tls_files *f, const char *name, long ends_s,
                                   const char *passphrase) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    CHECK(key);
    CHECK(cert);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -86400);
    X509_gmtime_adj(X509_getm_notAfter(cert), ends_s);
    X509_set_version(cert, 2);
    X509_set_pubkey(cert, key);
    X509_NAME *subject = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(cert, subject);
    CHECK(X509_sign(cert, key, EVP_sha256()) > 0);
    FILE *out = fopen(f->cert, "w");
    CHECK(out);
    CHECK(PEM_write_X509(out, cert) == 1);
    fclose(out);
    out = fopen(f->key, "w");
    CHECK(out);
    CHECK(chmod(f->key, 0600) == 0);
    int good = PEM_write_PrivateKey(out, key, passphrase ? EVP_aes_128_cbc() : NULL, NULL, 0, NULL,
                                    (void *)passphrase);
    CHECK(good == 1);
    fclose(out);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static inline void tls_files_name(tls_files *f) {
    snprintf(f->cert, sizeof f->cert, "/tmp/baton-cert-%ld.pem", (long)getpid());
    snprintf(f->key, sizeof f->key, "/tmp/baton-key-%ld.pem", (long)getpid());
}

static inline void tls_files_remove(const tls_files *f) {
    unlink(f->cert);
    unlink(f->key);
}

#endif
