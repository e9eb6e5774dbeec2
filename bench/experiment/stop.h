/* stop - Ctrl-C and SIGTERM as something that waits can see. The signals are held back except in stop_poll,
 * so that nothing is interrupted halfway. One thread. */
#ifndef BATON_EXPERIMENT_STOP_H
#define BATON_EXPERIMENT_STOP_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

/* From now on SIGINT, SIGTERM and SIGHUP are counted. */
void stop_watch(void);
/* How often it was asked for. */
uint32_t stop_asked(void);
/* As poll, until a monotonic deadline; returns early (0) when a signal comes. */
int stop_poll(struct pollfd *fds, uint32_t count, uint64_t deadline_ns);
/* In a child before exec: signals as they were. */
void stop_unwatch(void);

#endif
