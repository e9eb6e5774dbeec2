/* weight_cache - where the file of a model's repacked weights is, and its name (device_options.weight_dir).
 */
#ifndef BATON_WORKER_WEIGHT_CACHE_H
#define BATON_WORKER_WEIGHT_CACHE_H

#include "config/config.h"
#include "model/model.h"

typedef struct weight_cache {
    char *dir; /* NULL: no file is wanted, or there is nowhere to keep one */
    char key[64];
} weight_cache;

/* By model.weight_cache and the environment. Weights that are made (random:NAME) have none. Caller ends with
 * weight_cache_done. */
weight_cache weight_cache_find(const config *c, const checkpoint *ckpt, const model *m);
void weight_cache_done(weight_cache *w);

#endif
