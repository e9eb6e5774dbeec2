/* native_client - the client of a Baton cluster's native socket (proto/client.proto): token ids in, token ids
 * out, no text. */
#ifndef BATON_LOAD_NATIVE_CLIENT_H
#define BATON_LOAD_NATIVE_CLIENT_H

#include "bench/load/client.h"
#include "net/loop.h"

typedef struct native_options {
    const char *endpoint; /* "tcp://127.0.0.1:8002" */
    const char *key_file; /* the cluster's client.key; NULL = none */
    bool ignore_eos;
    double temperature; /* NAN: not sent */
} native_options;

/* Connects in the background. native_client_turn must be called in each turn of the loop. */
status native_client_new(client **out, loop *l, const native_options *opt, const client_handler *h,
                         errbuf *eb);
/* Pings; ends what was silent for too long. Returns when it must be called again at the latest, ns. */
uint64_t native_client_turn(client *c, uint64_t now_ns);
/* The coordinator has answered. */
bool native_client_heard(const client *c);

#endif
