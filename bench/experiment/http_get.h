/* http_get - one GET of a small page of the cluster, with a deadline. */
#ifndef BATON_EXPERIMENT_HTTP_GET_H
#define BATON_EXPERIMENT_HTTP_GET_H

#include "base/status.h"

#include <stdint.h>

/* at: "HOST:PORT", an IPv4 or IPv6 address or a name. The body, of at most 64 MiB, whatever the status is.
 * ST_PEER: nobody listens there, or no HTTP came; ST_TIMEOUT. Caller frees *body with free. */
status http_get(char **body, int *code, const char *at, const char *path, uint64_t deadline_ns, errbuf *eb);

#endif
