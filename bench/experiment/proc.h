/* proc - a child process in a group of its own, with a deadline on every wait. Its output goes to a file. It
 * gets SIGTERM should we die. */
#ifndef BATON_EXPERIMENT_PROC_H
#define BATON_EXPERIMENT_PROC_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct proc {
    pid_t pid;  /* of process and group; 0 = none */
    int pidfd;  /* readable when it has ended */
    bool ended; /* and was collected */
    int code;   /* then: its exit status, or 128 + signal */
} proc;

/* argv: NULL at the end. env: "NAME=VALUE"..., NULL at the end, added to ours; NULL = none. log: appended to.
 * ST_IO: it cannot be started, or the log cannot be opened. */
status proc_start(proc *out, char *const *argv, char *const *env, const char *log, errbuf *eb);
/* ST_OK: it has ended. ST_TIMEOUT. ST_CANCELED: a stop was asked for (stop.h) more than `stops` times. */
status proc_wait(proc *p, uint64_t deadline_ns, uint32_t stops);
/* Whether it has ended, without waiting. */
bool proc_ended(proc *p);
/* To the process, not to its group. */
void proc_signal(const proc *p, int signo);
/* Ends what is left of process and group at once, and lets go. Nothing to do for a zeroed one. */
void proc_done(proc *p);

/* Whether somebody's process with this word as an argument that begins with `prefix` runs: mpirun, up.sh or a
 * program of Baton. Waits for their end; those that are left at the deadline are killed. */
void proc_end_strays(const char *prefix, uint64_t deadline_ns);

#endif
