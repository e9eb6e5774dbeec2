/* http_fetch - a whole answer of a small request, such as GET /health. */
#ifndef BATON_LOAD_HTTP_FETCH_H
#define BATON_LOAD_HTTP_FETCH_H

#include "base/mem.h"
#include "bench/load/http_pool.h"
#include "bench/load/http_url.h"

typedef struct http_fetch http_fetch;

/* code: HTTP status; body: borrowed for the call, NUL after it. error: NULL = it came whole */
typedef void (*http_fetch_fn)(void *ctx, int code, const buf *body, const char *error);

/* GET, or with a body (JSON, copied) POST; `path` follows the URL's prefix. `done` is called once, and the
 * fetch is gone. */
http_fetch *http_fetch_start(http_pool *p, const http_url *url, const char *path, const char *json,
                             size_t max_bytes, http_fetch_fn done, void *ctx);
/* `done` is not called. */
void http_fetch_cancel(http_fetch *f);

/* Connects, asks and waits, in a loop of its own. *code and *body only on success. ST_IO: nobody answers
 * there; ST_TIMEOUT; ST_CORRUPT. The text names the URL. */
status http_fetch_wait(const http_url *url, const char *path, const char *json, size_t max_bytes,
                       uint64_t timeout_ns, int *code, buf *body, errbuf *eb);

#endif
