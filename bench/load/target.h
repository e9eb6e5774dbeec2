/* target - the server under test: where it is, what it is, and a client for it. */
#ifndef BATON_LOAD_TARGET_H
#define BATON_LOAD_TARGET_H

#include "bench/load/client.h"
#include "bench/load/http_url.h"
#include "bench/load/native_client.h"
#include "bench/load/openai_client.h"
#include "bench/load/serve_options.h"
#include "bench/load/tls_client.h"
#include "bench/workload/prompt_text.h"

#include <jansson.h>

typedef struct target {
    serve_backend backend;
    char *shown;       /* its URL, for people; owned */
    http_url http;     /* of the API; native: of metrics, if has_http */
    bool has_http;     /* /health, /metrics and /version may be asked */
    http_url metrics;  /* where */
    tls_client *trust; /* of both; owned; NULL: plain */
    char *path;        /* of the API, with the URL's prefix; owned */
    char *model;       /* owned */
    char *headers;     /* owned; or NULL */
    json_t *version;   /* of GET /version; owned; NULL: unknown */
    bool baton;
    int32_t id_min, id_max; /* ids that prompts may have */
    prompt_text *words;     /* chat: what its texts are made of; owned */
    uint32_t chat_overhead; /* tokens that its template adds to a chat's text */
    openai_options openai;
    native_options native;
} target;

/* Waits for the server, learns its model and kind, and makes requests of one token until one is answered.
 * ST_IO, ST_TIMEOUT: the text names the URL and what to do. End with target_done, on failure too. */
status target_find(target *t, const serve_options *o, errbuf *eb);
void target_done(target *t);

/* What it sends with; one client at a time in a loop. t: borrowed for the link's life. */
typedef struct target_link {
    client *client;
    http_pool *pool; /* NULL: native */
    bool native;
} target_link;
status target_connect(const target *t, loop *l, const client_handler *h, target_link *out, errbuf *eb);
/* In each turn; returns when it must be called again at the latest. */
uint64_t target_link_turn(target_link *k, uint64_t now_ns);
void target_link_done(target_link *k);

#endif
