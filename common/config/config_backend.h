/* config_backend - what checks of the config must know of a backend before any program has opened it.
 *
 * The config is below the kernels, and the coordinator, which checks it too, is built without them: so the
 * facts stand here, and a test holds them against the backends. */
#ifndef BATON_CONFIG_CONFIG_BACKEND_H
#define BATON_CONFIG_CONFIG_BACKEND_H

#include <stdbool.h>

typedef struct config_backend {
    const char *name;
    const char *built_with; /* what a program must have been built with to have it */
    bool own_memory;        /* its device has memory of its own, of which a worker takes a share */
    bool act_types;         /* computes in model.act_dtype, which is the KV cache's type too; else in f32 */
    bool modelled;          /* takes the time of mock.latency; a process may host several such workers */
} config_backend;

/* One of the values of model.backend. NULL for another name. Borrowed: static. */
const config_backend *config_backend_find(const char *name);

#endif
