/* group - several workers of one role in one process, each a complete runtime (runtime.h) on threads of its
 * own: for workers that only sleep (backend mock), of which a machine runs more than it could run processes.
 *
 *   calling thread   SIGTERM, SIGINT: passed on to every worker
 *   worker i         runtime_run: its loop; beside it its device thread and its transfer thread
 *
 * Nothing is shared but the config, which is not written, the log, and the signals. What one of them meets
 * ends that one; the process ends with the last. */
#ifndef BATON_WORKER_GROUP_H
#define BATON_WORKER_GROUP_H

#include "worker/runtime.h"

/* Serves as first->worker_count workers until all have ended. ST_OK when all ended in order; else what the
 * first that failed says, its name in front. *stuck as runtime_run, for any of them. */
status group_run(const config *c, const wcore_ops *role, const place *first, bool *stuck, errbuf *eb);

#endif
