/* http_reader - how a client takes what is sent to it: whether it is to be hung up on.
 *
 * While anything waits for it, a client is held to two rules. It takes something within slow_client_ns. And
 * of what waits at the begin of such a time it has taken all at the end, or else what reader_rate asks of so
 * much time: one byte now and then would satisfy the first rule for ever. Who takes all that there is is
 * never slow, however little that is. */
#ifndef BATON_COORDINATOR_HTTP_READER_H
#define BATON_COORDINATOR_HTTP_READER_H

#include "coordinator/http_request.h"

typedef struct http_reader {
    uint64_t taken;    /* bytes so far; counted by the owner */
    bool waits;        /* something was unsent at the last look */
    uint64_t moved;    /* taken at the last look */
    uint64_t moved_ns; /* when it had grown last, or nothing waited */
    uint64_t begin_ns; /* of the stretch in which ... */
    uint64_t due;      /* ... taken must grow to this */
} http_reader;

/* A look, now and then: unsent bytes wait for it now. False: it is slow. */
bool http_reader_keeps_up(http_reader *r, size_t unsent, const http_limits *l, uint64_t now_ns);

#endif
