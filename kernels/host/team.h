/* team - a fixed set of threads that share the tasks of one call: parallel-for and nothing else.
 *
 *   caller:  write fn, ctx, count -> publish ticket {epoch, remaining} -> first task, more -> wait for
 * others' helper:  wait for a ticket of a new epoch -> take tasks while it has some
 *
 * Whoever waits looks for some microseconds, then yields between looks, then sleeps: a call costs about two
 * round trips of a cache line while ops follow each other, and threads that share a CPU with those of another
 * team, or with each other, let them work.
 *
 * A task is taken by decreasing `remaining` in the ticket with a compare-and-swap on the whole word, so a
 * helper that overslept a call cannot take a task of the next with what it read of the last. Tasks are
 * handed out one by one: on a machine that is busy with other things the caller does them all itself and
 * waits for nobody that has not begun. Which thread runs a task never changes its result; that is the duty
 * of the tasks (ops.h).
 *
 * OpenMP was not taken: its runtime spins as it likes, and thread sanitizers cannot see into it.
 *
 * Thread: team_run is called by the thread that made the team, which is thread 0. Nothing here is for other
 * threads. */
#ifndef BATON_KERNELS_HOST_TEAM_H
#define BATON_KERNELS_HOST_TEAM_H

#include "base/status.h"

#include <stdint.h>

#define TEAM_THREADS_MAX 64u

typedef struct team team;

/* thread: 0..threads-1, which scratch to use. */
typedef void (*team_fn)(void *ctx, uint32_t task, uint32_t thread);

/* cpus: [threads] to pin to, or NULL; copied. A CPU that cannot be pinned to is ST_INVALID. Caller frees with
 * team_free, and then the caller's own thread stays pinned. */
status team_new(team **out, uint32_t threads, const uint32_t *cpus, errbuf *eb);
void team_free(team *t);
uint32_t team_threads(const team *t);
/* Runs fn(ctx, 0..count-1, thread), each once, begun in ascending order, and returns when all are done. */
void team_run(team *t, uint32_t count, team_fn fn, void *ctx);

#endif
