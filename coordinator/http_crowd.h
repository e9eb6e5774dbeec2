/* http_crowd - how many connections there are, from where, and what all of them hold: counts only. Not for
 * users of http_server.h.
 *
 * Every bound has a rule of who gives way, so that clients which hold much and do little do not keep others
 * out:
 *   connections      the one on which nothing has been asked for longest is closed for a new one; when all
 * are in use, the new one is told so (503) of one address   the new one is told so (429) bytes            of
 * requests that are being read: the slowest upload is told so (503) Connections that are only told so are
 * few, and not counted; more of them are closed without a word.
 *
 * Thread: the loop's. */
#ifndef BATON_COORDINATOR_HTTP_CROWD_H
#define BATON_COORDINATOR_HTTP_CROWD_H

#include "base/u64_map.h"
#include "coordinator/http_request.h"

#include <sys/socket.h>

/* Connections that are told that they may not come, at once. */
#define HTTP_TURNED_AWAY_MAX 64u

/* Why a connection may not come, as an answer. */
typedef struct http_turn_away {
    uint32_t code;
    const char *why;
} http_turn_away;
extern const http_turn_away http_crowd_full;   /* no room for any */
extern const http_turn_away http_crowd_greedy; /* none for one more from there */

/* A connection's part. */
typedef struct http_crowd_member {
    uint64_t address;                  /* whose: an IPv4 address, or the first half of an IPv6 one */
    size_t held;                       /* bytes, as they were counted */
    const http_turn_away *turned_away; /* NULL: it is one of the crowd */
} http_crowd_member;

typedef struct http_crowd {
    const http_limits *limits;
    uint32_t count;       /* connections, without those that are turned away */
    uint32_t turned_away; /* those */
    size_t held;          /* bytes, of all */
    u64_map of_address;   /* connections, as number in the pointer; only when they are bounded */
} http_crowd;

/* limits: borrowed. */
void http_crowd_init(http_crowd *w, const http_limits *limits);
void http_crowd_done(http_crowd *w);
/* Why a connection from there may not come; NULL: it may. */
const http_turn_away *http_crowd_refuses(const http_crowd *w, const struct sockaddr *from);
void http_crowd_add(http_crowd *w, http_crowd_member *m, const struct sockaddr *from,
                    const http_turn_away *why);
void http_crowd_remove(http_crowd *w, http_crowd_member *m);
/* Counts what the connection holds now. */
void http_crowd_count(http_crowd *w, http_crowd_member *m, size_t held);

/* Until when a body must have come: silence is bounded, and so is slowness, as what has come pays for more
 * time. begin_ns: the end of its head. */
uint64_t http_crowd_body_deadline(const http_limits *l, uint64_t begin_ns, uint64_t now_ns, size_t received);

#endif
