/* meter_workers - the series of /metrics that are about workers, their pools and their pairs. Not for users
 * of meter.h. Thread: the loop's. */
#ifndef BATON_COORDINATOR_METER_WORKERS_H
#define BATON_COORDINATOR_METER_WORKERS_H

#include "coordinator/core.h"
#include "obs/metrics.h"

typedef struct meter_workers meter_workers;

/* Both are borrowed; label: model_name="..." and what else the series of vLLM's names have. */
meter_workers *meter_workers_new(metrics *all, const char *label);
void meter_workers_free(meter_workers *m);
/* A session of it began */
void meter_workers_joined(meter_workers *m, const char *role, const char *worker);
/* The workers' last words and what the core counts of them */
void meter_workers_copy(meter_workers *m, const core *c, uint64_t now_ns);

#endif
