/* http_access - who may read answers: pages of other origins (CORS), and holders of a key. Pure. */
#ifndef BATON_COORDINATOR_HTTP_ACCESS_H
#define BATON_COORDINATOR_HTTP_ACCESS_H

#include "coordinator/api.h"
#include "coordinator/http_keys.h"

#include <event2/http.h>
#include <event2/keyvalq_struct.h>

/* From the config; borrowed. */
typedef struct http_access {
    const char *origins;   /* separated by commas or spaces; "*": any; "": no CORS */
    bool credentials;      /* browsers may send cookies and keys that they hold */
    const http_keys *keys; /* NULL: no key is asked for */
} http_access;

/* Adds what the answer to a request with these fields (in) needs, so that its page may read it. */
void http_access_cors(const http_access *a, const struct evkeyvalq *in, struct evkeyvalq *out);
/* The request asks what it may do (a preflight): adds the answer, methods is what the path takes. *e is set
 * when the origin is not allowed. False: it is no preflight. */
bool http_access_preflight(const http_access *a, const struct evkeyvalq *in, const char *methods,
                           struct evkeyvalq *out, api_error *e);
/* Whose request it is: the number of http_keys_client for the key that it has; 0: it has none of the keys, or
 * none is asked for. */
uint64_t http_access_client(const http_access *a, const struct evkeyvalq *in);
/* The path needs a key, and client, which is http_access_client's, has none. */
bool http_access_denied(const http_access *a, const char *path, uint64_t client);

#endif
