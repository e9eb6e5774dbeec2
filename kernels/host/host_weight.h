/* host_weight - a weight of a host backend that reads it as the file has it: ref's as it is, the beginning of
 * cpu's. */
#ifndef BATON_KERNELS_HOST_HOST_WEIGHT_H
#define BATON_KERNELS_HOST_HOST_WEIGHT_H

#include "kernels/ops.h"

struct weight {
    weight_parts parts;
    void *owned[WEIGHT_PARTS_MAX]; /* the bf16 numbers of a random part; NULL: borrowed from the model */
};

/* Of a zeroed one. ST_NOMEM: for random numbers; host_weight_done is due all the same. */
status host_weight_init(weight *w, const weight_parts *parts, errbuf *eb);
void host_weight_done(weight *w);

#endif
