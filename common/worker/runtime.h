/* runtime - a worker process around its agent: three threads, their queues, and the coordinator's
 * connection.
 *
 *   loop     bus <-> agent (all control state: requests, pages, membership); one agent_turn per turn
 *   device   engine steps (device_thread.h)
 *   xfer     hand-offs (transfer/xfer.h); not in a colocated worker
 *
 * The loop thread never waits for the other two: jobs, commands and their answers travel through bounded
 * rings with an eventfd. */
#ifndef BATON_WORKER_RUNTIME_H
#define BATON_WORKER_RUNTIME_H

#include "config/config.h"
#include "worker/place.h"
#include "worker_core/wcore.h"

typedef struct runtime_options {
    const config *config; /* borrowed for the call */
    const wcore_ops *role;
    const place *place; /* borrowed for the call */
    /* A pipe from which signal numbers are read, a byte each, where somebody else takes the process's signals
     * (group.h); -1: they are this worker's. Closed by the caller after the call. */
    int signal_fd;
} runtime_options;

/* Serves until EXIT, SIGTERM or SIGINT (ST_OK), or until it cannot go on (text in eb). *stuck: the caller
 * leaves by _exit, since a step still runs on the device thread, so that memory could not be freed, or since
 * the device failed.
 */
status runtime_run(const runtime_options *opt, bool *stuck, errbuf *eb);

#endif
