/* http_access - who may read answers: pages of other origins (CORS), and holders of a key. Pure. */
#ifndef BATON_COORDINATOR_HTTP_ACCESS_H
#define BATON_COORDINATOR_HTTP_ACCESS_H

#include "coordinator/api.h"

#include <event2/http.h>
#include <event2/keyvalq_struct.h>

/* From the config; borrowed. */
typedef struct http_access {
    const char *origins;     /* separated by commas or spaces; "*": any; "": no CORS */
    bool credentials;        /* browsers may send cookies and keys that they hold */
    const char *const *keys; /* [key_count]; none: no key is asked for */
    uint32_t key_count;
} http_access;

/* Adds what the answer to a request with these fields (in) needs, so that its page may read it. */
void http_access_cors(const http_access *a, const struct evkeyvalq *in, struct evkeyvalq *out);
/* The request asks what it may do (a preflight): adds the answer, methods is what the path takes. *e is set
 * when the origin is not allowed. False: it is no preflight. */
bool http_access_preflight(const http_access *a, const struct evkeyvalq *in, const char *methods,
                           struct evkeyvalq *out, api_error *e);
/* Whom a request that has not been denied is from: a number of its key. 0: nobody in particular, since there
 * are not several keys to tell by. */
uint64_t http_access_client(const http_access *a, const struct evkeyvalq *in);
/* The path needs a key, and the request has none of them. Takes as long for any wrong key. */
bool http_access_denied(const http_access *a, const char *path, const struct evkeyvalq *in);

#endif
