/* plan - the sizes of one worker, fixed at start from the config, the model and the device's memory, and
 * what it tells about its numbers.
 *
 * Pure: it opens nothing. On a device with memory of its own the pool may take what is left (kv_memory_mb:
 * 0):
 *
 *   pool = memory_fraction * total (or what is free) - weights - activations - tables - rings - reserve
 *
 * The parts are upper bounds of what the engine and the backend will ask for. */
#ifndef BATON_WORKER_PLAN_H
#define BATON_WORKER_PLAN_H

#include "config/config.h"
#include "ctl/ctl.h"
#include "kernels/backend.h"
#include "model/model.h"

#define PLAN_NUMERICS 8u

/* The backend that the config names, and what it told of its device. */
typedef struct plan_device {
    const backend_ops *ops;
    device_memory memory; /* backend->memory */
} plan_device;

/* Bytes of the device's memory; all 0 on backends that use the host's. */
typedef struct plan_memory {
    uint64_t budget;      /* what this worker may take */
    uint64_t weights;     /* in the type of the activations */
    uint64_t activations; /* of the largest step */
    uint64_t tables;      /* rotations of all positions, the sampler's counts */
    uint64_t rings;       /* of hand-offs between GPUs, one for each worker of the other role */
    uint64_t reserve;     /* context, workspace of the matrix library, partial sums, staging; NCCL's own */
    uint64_t kv;          /* the pool, and the spare page */
} plan_memory;

typedef struct plan {
    worker_role role;
    const config_role *settings; /* borrowed from the config */
    const backend_ops *backend;
    kv_layout layout;
    dtype act_type;          /* of device_options; means nothing on the host backends */
    bool own_memory;         /* the device has memory of its own */
    bool deterministic;      /* no result depends on batch or chunking */
    bool outputs_as_prompts; /* the KV of a generated token has the bytes that it has in a prompt */
    plan_memory memory;
    uint32_t page_count;
    uint32_t max_context; /* tokens of one sequence */
    uint32_t max_rows;    /* of one step */
    uint32_t max_seqs;
    uint32_t chunk_tokens;
    uint32_t peers; /* workers of the other role, by the config */
} plan;

/* ST_INVALID names the config key, its value and the remedy; ST_NOMEM, when the device has no room for a
 * pool, the parts. */
status plan_make(plan *out, const config *c, worker_role role, const model *m, const plan_device *dev,
                 errbuf *eb);

/* The numerics id (protocol rule 24) as named values. path: engine_path(). Names are static; free each value
 * with plan_numerics_done. */
void plan_numerics(const plan *p, const model *m, const char *path, ctl_numeric out[PLAN_NUMERICS]);
void plan_numerics_done(ctl_numeric numerics[PLAN_NUMERICS]);

#endif
