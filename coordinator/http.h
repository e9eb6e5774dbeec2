/* http - the OpenAI front: routes, and streams as the clients behind them.
 *
 * A request is: body -> text job (inline or on the text thread) -> stream -> one reply, or headers with the
 * first token and then one SSE event per step. Events of a loop turn go out in one write per client
 * (http_turn). Connections are http_server's, which tells when a client leaves; a client that does not read
 * is rendered to only below HTTP_OUT_MAX bytes of unsent output, and hung up on when it takes too little of
 * them (http_reader.h).
 *
 * Thread: the loop's. */
#ifndef BATON_COORDINATOR_HTTP_H
#define BATON_COORDINATOR_HTTP_H

#include "coordinator/http_options.h"

/* Everything in opt is borrowed. address: "127.0.0.1:8000", "[::1]:8000", port 0 = any. ST_IO names the
 * address and the remedy. Caller frees with http_free, before the streams. */
status http_open(http **out, const char *address, const http_options *opt, errbuf *eb);
void http_free(http *h);
uint16_t http_port(const http *h);
/* From now on these are asked for; NULL: none. Borrowed. Requests that run go on. */
void http_set_keys(http *h, const http_keys *keys);
/* Connections from now on speak with this certificate; the front was opened with one. Borrowed. */
void http_set_tls(http *h, const http_tls *tls);
/* After core_turn: renders what is new to every client that has room, and cancels the slow ones. */
void http_turn(http *h, uint64_t now_ns);
/* Clients whose request has no whole answer yet; pages and their readers do not count. */
uint32_t http_asked(const http *h);
/* Bytes of answers that are made and have not left yet. */
size_t http_owed(const http *h);
/* New requests are refused with 503; those that run go on, and pages are answered. */
void http_drain(http *h);
/* Stops accepting and ends all clients with an error. */
void http_stop(http *h, const char *why);
uint32_t http_client_count(const http *h);
/* The path of number i ("/v1/models/" stands for all below it) and its methods, "GET, HEAD, OPTIONS"; NULL:
 * there are no more. Borrowed: static. */
const char *http_route(size_t i, const char **methods);

#endif
