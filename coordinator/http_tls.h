/* http_tls - the certificate and key of the HTTP port, and connections that speak TLS 1.2 or 1.3 with them.
 *
 * A connection keeps what it began with: whoever made it may free the http_tls while connections last.
 *
 * Thread: the loop's. */
#ifndef BATON_COORDINATOR_HTTP_TLS_H
#define BATON_COORDINATOR_HTTP_TLS_H

#include "base/status.h"

#include <event2/bufferevent.h>
#include <stdbool.h>

typedef struct http_tls http_tls;

/* Reads PEM files: the certificate, followed by those that signed it, and its private key, which others may
 * not read and which has no passphrase. The error names file and remedy. Caller frees with http_tls_free. */
status http_tls_new(http_tls **out, const char *cert_path, const char *key_path, errbuf *eb);
void http_tls_free(http_tls *t);
/* When the certificate ends, in words. Borrowed. */
const char *http_tls_expires(const http_tls *t);

/* A server's end on fd, closed with it; BEV_EVENT_CONNECTED after the handshake. NULL: no memory. */
struct bufferevent *http_tls_accept(const http_tls *t, struct event_base *base, evutil_socket_t fd);
/* All that was given has left: tells the client that nothing follows. Nothing for a plain bufferevent. */
void http_tls_finish(struct bufferevent *bev);
/* The handshake failed because the client spoke plain HTTP. */
bool http_tls_got_plain(struct bufferevent *bev);

#endif
