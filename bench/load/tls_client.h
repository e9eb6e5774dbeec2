/* tls_client - TLS towards one server: whom to trust, and a connection's bytes over a socket that does not
 * wait. */
#ifndef BATON_LOAD_TLS_CLIENT_H
#define BATON_LOAD_TLS_CLIENT_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct tls_client tls_client;
typedef struct ssl_st tls_socket; /* OpenSSL's SSL */

/* ca: a PEM file of certificates to trust; NULL: the system's (or SSL_CERT_FILE's). insecure: whoever answers
 * is trusted. ST_INVALID names the file. The process ignores SIGPIPE from here on: OpenSSL cannot ask send(2)
 * to. */
status tls_client_new(tls_client **out, const char *ca, bool insecure, errbuf *eb);
void tls_client_free(tls_client *t);

/* Over a socket that is connected, or about to be. host: whom the certificate must be for. The handshake
 * happens in the first calls below. */
tls_socket *tls_client_open(const tls_client *t, int fd, const char *host);
void tls_socket_free(tls_socket *s);
/* As read(2) and send(2) on a socket that does not wait: EAGAIN. EPROTO: eb says why. */
ssize_t tls_socket_read(tls_socket *s, void *bytes, size_t count, errbuf *eb);
ssize_t tls_socket_write(tls_socket *s, const void *bytes, size_t count, errbuf *eb);
/* After EAGAIN: it is the socket's being readable that is waited for. */
bool tls_socket_wants_read(const tls_socket *s);
/* Bytes are there that the socket will not tell of again. */
bool tls_socket_pending(const tls_socket *s);

#endif
