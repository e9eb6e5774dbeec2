/* native - the front without HTTP: proto/client.proto over a ZeroMQ ROUTER, for programs that want tokens as
 * they come.
 *
 * The same text jobs and streams as behind HTTP; only the wire differs. A connection may have many requests
 * alive; their order is kept also when a large one is at the text thread. A connection that was silent for
 * NATIVE_SILENCE, or is lost, loses its requests. It also serves those who look after the cluster: who is
 * here, and drain. Whoever reaches the socket may do both. Thread: the loop's. */
#ifndef BATON_COORDINATOR_NATIVE_H
#define BATON_COORDINATOR_NATIVE_H

#include "coordinator/stream.h"
#include "coordinator/text.h"

#define NATIVE_REQUESTS_MAX 1024u /* alive per connection */

typedef struct native native;

typedef struct native_options {
    loop *loop;
    core *core;
    streams *streams;
    text_thread *text;
    const text_env *env;
    size_t body_max; /* bytes of one message */
} native_options;

/* Everything in opt is borrowed. Caller frees with native_free, before the streams. */
status native_open(native **out, const char *endpoint, const native_options *opt, errbuf *eb);
void native_free(native *n);
/* With its real port. Borrowed */
const char *native_endpoint(const native *n);
/* After core_turn: sends what is new, keep-alives, and forgets the silent. */
void native_turn(native *n, uint64_t now_ns);
/* Ends all requests with an error; later ones are refused. */
void native_stop(native *n, const char *why);

#endif
