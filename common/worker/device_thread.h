/* device_thread - the thread that owns the engine: takes one job, runs it, reports, and waits for the next.
 *
 *   loop thread --dev_job *--> [ closes, opens, engine_step ] --status, duration--> loop thread
 *
 * At most one job is out (wcore.h), so results need no queue: they lie in one array that belongs to this
 * thread while a job runs and to the loop thread otherwise. The number of the running step and the time of
 * the last operation that it did (cuda: issued) are published, so that a heartbeat can tell of a step that
 * is stuck, and does not mistake a long one for it. A sequence that the
 * engine does not open has a broken result; an error of a step is fatal: device_thread_next returns it, and
 * the worker leaves. */
#ifndef BATON_WORKER_DEVICE_THREAD_H
#define BATON_WORKER_DEVICE_THREAD_H

#include "engine/engine.h"
#include "worker_core/agent.h"

typedef struct device_thread device_thread;

/* Starts the thread and returns after it has opened the engine: backends pin and use the thread that opened
 * them. Borrows m until device_thread_free; opt is copied, its strings and cpus are borrowed for the call. */
status device_thread_new(device_thread **out, const model *m, const engine_options *opt, errbuf *eb);
/* Waits for the running step, at most wait_ns; no job that is posted from then on is taken, and no hook is
 * called any more. The engine is still there, for the transfer thread may be using it. False: the step still
 * runs and nothing may be freed; the caller ends the process. */
bool device_thread_stop(device_thread *d, uint64_t wait_ns);
/* After device_thread_stop returned true, and when nobody uses the engine: the thread frees it and ends.
 * False: that did not end within wait_ns; nothing else may be freed, likewise. */
bool device_thread_free(device_thread *d, uint64_t wait_ns);

const engine *device_thread_engine(const device_thread *d);
/* Copied; before the first job */
void device_thread_hook(device_thread *d, const engine_hook *hook);

/* Loop thread. */
void device_thread_post(device_thread *d, const dev_job *j);
/* Readable when a step ended */
int device_thread_fd(const device_thread *d);
/* ST_AGAIN: none ended. ST_OK: *results [*count] are valid until the next post; *span: when it ran. Else
 * fatal. */
status device_thread_next(device_thread *d, const step_result **results, uint32_t *count, step_span *span,
                          errbuf *eb);
/* For the heartbeat: fills in what is known of steps. */
void device_thread_progress(const device_thread *d, uint64_t now_ns, agent_progress *out);

#endif
