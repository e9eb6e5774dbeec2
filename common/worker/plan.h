/* plan - the sizes of one worker, fixed at start from the config and the model, and what it tells about its numbers.
 *
 * Pure: it opens nothing. */
#ifndef BATON_WORKER_PLAN_H
#define BATON_WORKER_PLAN_H

#include "config/config.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "net/ctl.h"

#define PLAN_NUMERICS 8u

typedef struct plan {
    worker_role role;
    const config_role *settings; /* borrowed from the config */
    const backend_ops *backend;
    kv_layout layout;
    uint32_t page_count;
    uint32_t max_context; /* tokens of one sequence */
    uint32_t max_rows;    /* of one step */
    uint32_t max_seqs;
    uint32_t chunk_tokens;
} plan;

const config_role *plan_settings(const config *c, worker_role role);

/* ST_INVALID names the config key, its value and the remedy. */
status plan_make(plan *out, const config *c, worker_role role, const model *m, errbuf *eb);

/* The numerics id (protocol rule 24) as named values. path: engine_path(). Names are static; free each value with
 * plan_numerics_done. */
void plan_numerics(const plan *p, const model *m, const char *path, ctl_numeric out[PLAN_NUMERICS]);
void plan_numerics_done(ctl_numeric numerics[PLAN_NUMERICS]);

#endif
