#include "coordinator/http_access.h"

#include <string.h>
#include <strings.h>

#define MAX_AGE_S "600"

/* origins has this word. */
static bool lists(const char *origins, const char *word) {
    size_t want = strlen(word);
    for (const char *p = origins + strspn(origins, ", "); *p; p += strspn(p, ", ")) {
        size_t len = strcspn(p, ", ");
        if (len == want && memcmp(p, word, len) == 0) return true;
        p += len;
    }
    return false;
}

/* What an answer names as allowed: "*", the origin itself, or NULL. */
static const char *allowed(const http_access *a, const char *origin) {
    if (lists(a->origins, "*")) return a->credentials ? origin : "*";
    return lists(a->origins, origin) ? origin : NULL;
}

void http_access_cors(const http_access *a, const struct evkeyvalq *in, struct evkeyvalq *out) {
    PRE(a);
    PRE(in);
    PRE(out);
    if (!a->origins[0]) return;
    const char *origin = evhttp_find_header(in, "Origin");
    if (!lists(a->origins, "*") || a->credentials)
        evhttp_add_header(out, "Vary", "Origin"); /* also of answers to those who named none */
    const char *told = origin ? allowed(a, origin) : NULL;
    if (!told) return;
    evhttp_add_header(out, "Access-Control-Allow-Origin", told);
    evhttp_add_header(out, "Access-Control-Expose-Headers", "x-request-id, Retry-After");
    if (a->credentials) evhttp_add_header(out, "Access-Control-Allow-Credentials", "true");
}

bool http_access_preflight(const http_access *a, const struct evkeyvalq *in, const char *methods,
                           struct evkeyvalq *out, api_error *e) {
    PRE(a);
    PRE(in);
    PRE(methods);
    PRE(out);
    PRE(e);
    const char *origin = evhttp_find_header(in, "Origin");
    if (!origin || !evhttp_find_header(in, "Access-Control-Request-Method")) return false;
    if (!allowed(a, origin)) {
        (void)api_fail(e, 400, NULL, "origin %.100s is not allowed: see http.cors_origins", origin);
        return true;
    }
    const char *fields = evhttp_find_header(in, "Access-Control-Request-Headers");
    evhttp_add_header(out, "Access-Control-Allow-Methods", methods);
    if (fields) evhttp_add_header(out, "Access-Control-Allow-Headers", fields);
    evhttp_add_header(out, "Access-Control-Max-Age", MAX_AGE_S);
    evhttp_add_header(out, "Vary", "Access-Control-Request-Method, Access-Control-Request-Headers");
    return true;
}

uint64_t http_access_client(const http_access *a, const struct evkeyvalq *in) {
    PRE(a);
    PRE(in);
    if (!a->keys) return 0;
    const char *field = evhttp_find_header(in, "Authorization");
    if (!field || strncasecmp(field, "Bearer", 6) != 0 || field[6] != ' ') return 0;
    return http_keys_client(a->keys, field + 6 + strspn(field + 6, " "));
}

bool http_access_denied(const http_access *a, const char *path, uint64_t client) {
    PRE(a);
    PRE(path);
    return a->keys && !client &&
           (strcmp(path, "/v1") == 0 || strncmp(path, "/v1/", 4) == 0 || strcmp(path, "/tokenize") == 0 ||
            strcmp(path, "/detokenize") == 0);
}
