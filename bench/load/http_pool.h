/* http_pool - HTTP/1.1 exchanges with one server, over connections that are kept and used again.
 *
 * An exchange has a connection for itself; as many are opened as there are exchanges at a time. When a kept
 * connection turns out to be closed by the server before a byte of the answer came, the exchange is sent
 * again, once, on a new one. Thread: the loop's. */
#ifndef BATON_LOAD_HTTP_POOL_H
#define BATON_LOAD_HTTP_POOL_H

#include "base/status.h"
#include "bench/load/http_response.h"
#include "bench/load/http_url.h"

struct event_base;
typedef struct http_pool http_pool;
typedef struct http_exchange http_exchange;

typedef struct http_exchange_handler {
    void *ctx;
    /* Some of the body. at_ns: when it was read */
    void (*body)(void *ctx, const http_response *r, const char *bytes, size_t count, uint64_t at_ns);
    /* Once, never from inside http_pool_send; the exchange is gone. error: NULL = the whole response came */
    void (*end)(void *ctx, const http_response *r, uint64_t at_ns, const char *error);
} http_exchange_handler;

/* Finds the address (this waits for the resolver). ST_IO names the host. url: for its host, port and trust.
 */
status http_pool_new(http_pool **out, struct event_base *base, const http_url *url, errbuf *eb);
/* Closes everything; no `end` is called. */
void http_pool_free(http_pool *p);

/* Sends a whole request. Copied */
http_exchange *http_pool_send(http_pool *p, const char *bytes, size_t count, const http_exchange_handler *h);
/* Closes its connection; no `end` follows. Not from inside its own `body`. */
void http_exchange_cancel(http_exchange *x);

#endif
