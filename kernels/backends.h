/* backends - the list of the backends that are built in: the one place that knows which there are. */
#ifndef BATON_KERNELS_BACKENDS_H
#define BATON_KERNELS_BACKENDS_H

#include "kernels/backend.h"

/* NULL when there is none of that name. Borrowed: static. */
const backend_ops *backend_find(const char *name);
/* Names of all backends built in, comma-separated, for error texts. Borrowed: static. */
const char *backend_names(void);
/* True when every slot is filled. */
bool backend_complete(const backend_ops *b);

#endif
