/* http_server - HTTP/1.1 connections: requests come out whole and one at a time, answers go in whole or in
 * pieces. Not for users of http.h.
 *
 *   head -> body -> request (pending) -> answer -> head ...
 *
 * Requests that are sent ahead (pipelining) wait in the connection's input until the answer before them is
 * made. While a request is pending nothing is read, and its descriptor is watched for EV_CLOSED: a client
 * that leaves, or shuts down its writing side, is gone. Every wait has an end: for a head, a body, a client
 * that does not read its answer, and a connection on which nothing is asked. What cannot be read as HTTP is
 * answered through `refused` and the connection closed, after what the client still sends has been thrown
 * away for a moment, so that the answer is not lost.
 *
 * Thread: the loop's. */
#ifndef BATON_COORDINATOR_HTTP_SERVER_H
#define BATON_COORDINATOR_HTTP_SERVER_H

#include "coordinator/http_head.h"
#include "net/loop.h"

typedef struct http_server http_server;
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
    http_conn *conn;
    uint64_t whole_ns;    /* when its last byte had come */
    bool started, pieces; /* the answer; in chunks */
} http_request;

typedef struct http_server_options {
    loop *loop;
    size_t body_max;
    uint64_t slow_client_ns; /* a client that reads nothing of a whole answer for so long is hung up on */
    void *ctx;
    /* Ends with http_send, http_send_end or http_drop, now or later */
    void (*request)(void *ctx, http_request *r);
    /* A request that could not be read, as far as it was: to be answered at once with http_send */
    void (*refused)(void *ctx, http_request *r, const api_error *e);
} http_server_options;

/* address: as for http_open. ST_IO names it and the remedy. Caller frees with http_server_free. */
status http_server_open(http_server **out, const char *address, const http_server_options *opt, errbuf *eb);
/* Pending requests hear gone. */
void http_server_free(http_server *s);
uint16_t http_server_port(const http_server *s);
/* Accepts no more. */
void http_server_stop(http_server *s);
/* Now and then: ends what waits for too long, and accepts again after having run out of descriptors. */
void http_server_check(http_server *s, uint64_t now_ns);

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
