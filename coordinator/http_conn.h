/* http_conn - one connection: requests are read, handed over and answered, one at a time. Not for users of
 * http_server.h, whose head has the states.
 *
 * What a connection holds of requests that were not handed over yet is counted (http_crowd.h). */
#ifndef BATON_COORDINATOR_HTTP_CONN_H
#define BATON_COORDINATOR_HTTP_CONN_H

#include "coordinator/http_crowd.h"
#include "coordinator/http_reader.h"
#include "net/hangups.h"

#include <event2/bufferevent.h>
#include <sys/socket.h>

/* Requests that were sent ahead wait while so much of earlier answers is unsent. */
#define HTTP_OUTPUT_MAX ((size_t)256 * 1024)

typedef struct http_server http_server;

typedef enum conn_state {
    CONN_HEAD,
    CONN_BODY,
    CONN_PENDING, /* the request is with who answers it */
    CONN_FLUSH,   /* the last answer leaves */
    CONN_LINGER   /* it has left; what comes is thrown away */
} conn_state;

struct http_conn {
    http_server *server;
    struct bufferevent *bev;
    bool watched; /* by hangups, while pending */
    conn_state state;
    http_request request;
    http_chunks chunks;
    size_t seen;            /* bytes of the input that hold no end of the head */
    bool shaking;           /* the TLS handshake is not done */
    bool refused;           /* linger after the answer */
    bool ended;             /* the client sends no more */
    bool busy, dead;        /* in advance(); to be freed when it is left */
    bool waits;             /* on the server's list of those to go on with */
    uint64_t deadline_ns;   /* of HEAD, BODY, LINGER */
    uint64_t begin_ns;      /* of HEAD and BODY: the request's first byte */
    uint64_t body_begin_ns; /* the end of its head */
    http_reader reader;     /* of answers */
    http_crowd_member member;
    bool idle; /* on the list of those on which nothing is asked */
    http_conn *prev, *next, *wait_prev, *wait_next, *idle_prev, *idle_next;
};

struct http_server {
    http_server_options opt;
    const http_tls *tls;             /* of connections to come; NULL: plain HTTP */
    struct evconnlistener *listener; /* NULL after http_server_stop */
    uint16_t port;
    http_crowd crowd;
    hangups *hangups;
    http_conn *conns, *waiting;
    http_conn *idle;        /* the longest first */
    uint64_t complained_ns; /* that it cannot accept */
    struct event *resume;   /* goes on with those that wait */
};

/* Takes fd over. turned_away: why it is to be answered with an error and closed; NULL: it is not. */
void http_conn_open(http_server *s, evutil_socket_t fd, const struct sockaddr *from,
                    const http_turn_away *turned_away);
/* Nothing is asked on it now, or something is. */
void http_conn_idle(http_conn *c, bool idle);
/* Closes the connection on which nothing has been asked for longest. False: there is none. */
bool http_conn_close_idle(http_server *s);
/* The connection is over; who answers hears of it first. */
void http_conn_end(http_conn *c);
/* Goes on as far as what is there allows. c may be freed. */
void http_conn_advance(http_conn *c);
/* The request is over: whether the client leaves will be seen by reading. */
void http_conn_unwatch(http_conn *c);
/* For hangups. who: an http_conn */
void http_conn_gone(void *who);
/* Ends what waits for too long. c may be freed. */
void http_conn_check(http_conn *c, uint64_t now_ns);
/* The answer is made: forgets the request. */
void http_conn_reset(http_conn *c);
struct evbuffer *http_conn_output(const http_conn *c);

#endif
