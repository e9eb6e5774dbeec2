/* client - the contract of what sends requests to a server and tells what comes back.
 *
 * A request is prepared (all its bytes, off the hot path) and later started. Then, never from inside start,
 * any number of `event`s and exactly one `end` come for its number, unless it is canceled. Times are those of
 * clock_now_ns, taken when the bytes were read. Thread: the loop's. */
#ifndef BATON_LOAD_CLIENT_H
#define BATON_LOAD_CLIENT_H

#include "base/mem.h"
#include "base/status.h"
#include "bench/rows/row.h"

#include <stdbool.h>

typedef struct client_request {
    uint64_t number;    /* the caller's; unique in the client's life; not 0 */
    const int32_t *ids; /* the prompt: [id_count], or text */
    uint32_t id_count;
    const char *text; /* of a chat's user; NULL: ids */
    uint32_t output_tokens;
} client_request;

typedef struct client_end {
    uint64_t at_ns;
    row_outcome outcome;
    int http;                                             /* status; 0 = none came, or the native socket */
    char error[384];                                      /* "" = none */
    char finish[16];                                      /* "" = none came */
    uint32_t prompt_tokens, output_tokens, cached_tokens; /* 0 = not told */
    row_stages stages;
} client_end;

typedef struct client_handler {
    void *ctx;
    /* tokens: of its content; 0: an event without content */
    void (*event)(void *ctx, uint64_t number, uint64_t at_ns, uint32_t tokens);
    void (*end)(void *ctx, uint64_t number, const client_end *e);
} client_handler;

typedef struct client client;

typedef struct client_ops {
    /* Writes what is sent into *wire (emptied before) */
    void (*prepare)(client *c, const client_request *r, buf *wire);
    /* wire: copied. Failures that are known at once too are told by `end`. */
    void (*start)(client *c, const buf *wire, uint64_t number);
    /* Nothing more comes for it; the server is told by closing, or in words. Unknown numbers are ignored. */
    void (*cancel)(client *c, uint64_t number);
    void (*free)(client *c);
} client_ops;

struct client {
    const client_ops *ops; /* the rest is the implementation's */
};

/* Nothing known: no stages, no times */
client_end client_end_empty(void);
/* One whose counts no answer can have (more than ROW_MOST_TOKENS) is a failed one, and its counts are
 * unknown: they cannot be believed, and what is made of them would not fit into memory. */
void client_end_check(client_end *e);

#endif
