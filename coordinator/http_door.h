/* http_door - what the HTTP front is locked with: API keys and the certificate, as the config and the
 * environment name them, and read again when an operator says so.
 *
 * Thread: the loop's. */
#ifndef BATON_COORDINATOR_HTTP_DOOR_H
#define BATON_COORDINATOR_HTTP_DOOR_H

#include "config/settings.h"
#include "coordinator/http.h"

typedef struct http_door {
    http_keys *keys; /* NULL: no key is asked for */
    http_tls *tls;   /* NULL: plain HTTP */
} http_door;

/* The bounds that the config sets. */
http_limits http_limits_of(const config *c);
/* An address beyond this machine needs a key, from wherever, or cluster.insecure. */
status http_door_check(const config *c, errbuf *eb);
/* Reads all of it. On failure the text names the file and the remedy, and *d is empty. Caller frees with
 * http_door_done, after the front. */
status http_door_open(http_door *d, const config *c, errbuf *eb);
void http_door_done(http_door *d);
/* Reads the files again, and gives h what is new. Each of keys and certificate is taken as a whole or left as
 * it is; the log says which and why. */
void http_door_reload(http_door *d, const config *c, http *h);

#endif
