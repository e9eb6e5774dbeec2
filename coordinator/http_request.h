/* http_request - a request as http_server hands it over, and how it is answered.
 *
 * Thread: the loop's. */
#ifndef BATON_COORDINATOR_HTTP_REQUEST_H
#define BATON_COORDINATOR_HTTP_REQUEST_H

#include "coordinator/http_head.h"
#include "coordinator/http_tls.h"
#include "net/loop.h"

typedef struct http_conn http_conn;

/* A request, from its last byte to the end of its answer. Freed by the server. */
typedef struct http_request {
    http_head head;
    struct evbuffer *body;
    struct evkeyvalq out; /* the answer's fields, for evhttp_add_header; the framing's are the server's */
    /* Of who answers later; all may be NULL. gone: the connection ended; the request is over with that. */
    void *owner;
    void (*gone)(void *owner);
    void (*drained)(void *owner); /* all that was given has left */
    uint64_t client;              /* whose it is (http_access_client); for who answers */
    http_conn *conn;
    uint64_t whole_ns;    /* when its last byte had come */
    bool started, pieces; /* the answer; in chunks */
    bool slow;            /* why it is gone: its client did not keep up (http_reader.h) */
} http_request;

/* How much, how long. */
typedef struct http_limits {
    size_t head_max, body_max;                /* bytes of one request's */
    size_t held_max;                          /* bytes of all requests that are being read */
    uint32_t conns_max, conns_per_client_max; /* the latter 0: no bound */
    uint64_t idle_ns;                         /* a connection on which nothing is asked */
    uint64_t head_ns;                         /* from a head's first byte to its last; a TLS handshake */
    uint64_t body_ns;                         /* a body of which nothing comes */
    uint64_t body_rate; /* bytes per second that a body must come with, after body_ns; 0: no bound */
    uint64_t
        slow_client_ns;   /* a client that takes nothing of what waits for it, for so long, is hung up on */
    uint64_t reader_rate; /* bytes per second that it must take (http_reader.h); 0: no bound */
} http_limits;

typedef struct http_server_options {
    loop *loop;
    http_limits limits;
    const http_tls *tls; /* borrowed; NULL: plain HTTP */
    void *ctx;
    /* Bytes of requests that were handed over and are not read yet: they count as held. NULL: none */
    size_t (*held_elsewhere)(void *ctx);
    /* Asked at the end of a head that announces a body. False: `request` gets it at once, without the body,
     * and the connection ends with the answer. */
    bool (*wants_body)(void *ctx, const http_request *r);
    /* Ends with http_send, http_send_end or http_drop, now or later */
    void (*request)(void *ctx, http_request *r);
    /* A request that could not be read, as far as it was: to be answered at once with http_send */
    void (*refused)(void *ctx, http_request *r, const api_error *e);
} http_server_options;

/* A whole answer. r is over. */
void http_send(http_request *r, uint32_t code, const void *body, size_t len);
/* An answer in pieces; to HEAD: without them. */
void http_send_start(http_request *r, uint32_t code);
void http_send_piece(http_request *r, const void *bytes, size_t len);
/* r is over. */
void http_send_end(http_request *r);
/* Ends the connection at once, without `gone`. r is over. */
void http_drop(http_request *r);
/* Bytes that the kernel has not taken yet */
size_t http_unsent(const http_request *r);

#endif
