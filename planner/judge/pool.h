/* pool - many independent tasks on a few threads. A task writes what it finds to its own place, so that the
 * results are the same for any number of threads. */
#ifndef BATON_PLANNER_POOL_H
#define BATON_PLANNER_POOL_H

#include "base/status.h"

#include <stdint.h>

#define JUDGE_POOL_THREADS_MAX 256u

/* Runs on one of the threads; index names the task. What it touches besides its own place is only read. */
typedef status (*judge_task)(void *ctx, uint32_t index, errbuf *eb);

/* Runs the tasks 0 .. count - 1, each once and begun in that order, and comes back when all have ended: also
 * when one fails, so that what is there afterwards does not depend on chance. The status and the text are
 * those of the failed task with the lowest index. The caller's thread is one of the threads; where the system
 * gives fewer, fewer do the work. PRE: 1 <= threads <= JUDGE_POOL_THREADS_MAX */
status judge_pool(uint32_t threads, uint32_t count, judge_task task, void *ctx, errbuf *eb);

#endif
