/* http_server - HTTP/1.1 connections: requests come out whole and one at a time, answers go in whole or in
 * pieces. Not for users of http.h.
 *
 *   head -> body -> request (pending) -> answer -> head ...
 *
 * Requests that are sent ahead (pipelining) wait in the connection's input until the answer before them is
 * made. While a request is pending nothing is read, and its descriptor is watched (net/hangups.h): a client
 * that leaves, or shuts down its writing side, is gone; with TLS, too. Every wait has an end: for a
 * handshake, a head, a body, a client that does not read its answer, and a connection on which nothing is
 * asked. What cannot be read as HTTP, or goes beyond a limit, is answered through `refused` and the
 * connection closed, after what the client still sends has been thrown away for a moment, so that the answer
 * is not lost.
 *
 * Thread: the loop's. */
#ifndef BATON_COORDINATOR_HTTP_SERVER_H
#define BATON_COORDINATOR_HTTP_SERVER_H

#include "coordinator/http_request.h"

typedef struct http_server http_server;

/* address: as for http_open. ST_IO names it and the remedy. Caller frees with http_server_free. */
status http_server_open(http_server **out, const char *address, const http_server_options *opt, errbuf *eb);
/* Pending requests hear gone. */
void http_server_free(http_server *s);
uint16_t http_server_port(const http_server *s);
/* Connections, without those that are turned away, and bytes of requests that are being read. */
void http_server_crowd(const http_server *s, uint32_t *connections, size_t *held);
/* Of all answers: bytes that have not left for the kernel yet. */
size_t http_server_unsent(const http_server *s);
/* Accepts no more. */
void http_server_stop(http_server *s);
/* For connections to come; of a server that has a certificate. Borrowed. */
void http_server_set_tls(http_server *s, const http_tls *tls);
/* Now and then: ends what waits for too long, and accepts again after having run out of descriptors. */
void http_server_check(http_server *s, uint64_t now_ns);

#endif
