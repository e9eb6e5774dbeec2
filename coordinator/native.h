/* native - the front without HTTP: proto/client.proto over a ZeroMQ ROUTER, for programs that want tokens as
 * they come.
 *
 * The same text jobs and streams as behind HTTP; only the wire differs. A connection may have many requests
 * alive; their order is kept also when a large one is at the text thread. A connection that was silent for
 * NATIVE_SILENCE, that took nothing of what waits for it for slow_client_ns, or is lost, loses its requests.
 * What one turn has to say to a connection goes out together at the end of that turn, in as few messages as
 * their bounds allow. It also serves those who look after the cluster: who is here, how it is, drain, and
 * the end of any request. Whoever reaches the socket may do all of this. Thread: the loop's. */
#ifndef BATON_COORDINATOR_NATIVE_H
#define BATON_COORDINATOR_NATIVE_H

#include "coordinator/health.h"
#include "coordinator/stream.h"
#include "coordinator/text.h"
#include "net/bus_limits.h"
#include "net/curve.h"

#define NATIVE_REQUESTS_MAX 1024u /* alive per connection */
/* Of one message: so many events, and no further one once it has so many bytes. */
#define NATIVE_EVENTS_MAX   256u
#define NATIVE_BYTES_ENOUGH ((size_t)64 << 10)

typedef struct native native;

typedef struct native_options {
    loop *loop;
    core *core;
    streams *streams;
    text_thread *text;
    const text_env *env;
    const health_facts *facts; /* for who asks how the service is */
    struct event_log *events;  /* NULL: none is kept */
    size_t body_max;           /* bytes of one message */
    /* Of connections. Their message_max lies above body_max: who sends a little too much is told. */
    bus_limits limits;
    uint64_t slow_client_ns; /* nothing left a connection's queue for so long: it is hung up on */
    const curve_keys *keys;  /* who is let in; only for native_open; NULL: whoever reaches the socket */
} native_options;

/* Everything in opt is borrowed. Caller frees with native_free, before the streams. */
status native_open(native **out, const char *endpoint, const native_options *opt, errbuf *eb);
void native_free(native *n);
/* With its real port. Borrowed */
const char *native_endpoint(const native *n);
/* After core_turn, in every turn: sends what is new, keep-alives, and forgets those who are silent or do not
 * read. */
void native_turn(native *n, uint64_t now_ns);
/* Requests that have not ended. */
uint32_t native_asked(const native *n);
/* New requests are refused; those that run go on. */
void native_drain(native *n, const char *why);
/* Ends all requests with an error; later ones are refused. */
void native_stop(native *n, const char *why);

#endif
