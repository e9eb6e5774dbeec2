/* echo - a server that answers every completion at once, in a process of its own: what this client is
 * measured against. Each token is an event and a packet of its own. It ends with its parent at the latest. */
#ifndef BATON_LOAD_ECHO_H
#define BATON_LOAD_ECHO_H

#include "base/status.h"

#include <sys/types.h>

typedef struct echo {
    pid_t pid;
    char port[6]; /* on 127.0.0.1 */
} echo;

/* Before other threads are started. ST_IO: no port, or no process, can be had. */
status echo_start(echo *e, errbuf *eb);
void echo_stop(echo *e);

#endif
