/* config_ranks - the rank map: which process runs which role, on which host and cores. Pure. */
#ifndef BATON_CONFIG_CONFIG_RANKS_H
#define BATON_CONFIG_CONFIG_RANKS_H

#include "base/status.h"
#include "config/settings.h"

/* The rank map: which process runs which role, where, on which cores; rank 0 is the coordinator. */
typedef struct config_rank {
    uint32_t rank;
    const char *role;                /* "coordinator", or worker_role_name */
    uint32_t index;                  /* among its role; of the first of its workers */
    uint32_t worker_count;           /* that the process hosts; 0 for the coordinator */
    char host[64];                   /* "localhost" for this machine */
    uint32_t core_begin, core_count; /* CPU numbers on its host; 0 count for the coordinator */
    uint32_t gpu; /* number among the workers of its host: it takes the GPU of this number, modulo how many
                     there are */
} config_rank;
/* What the workers of the GPU of `own` ask of its memory together, when its host has so many: 1 is all. */
double config_gpu_share(const config *c, const config_rank *ranks, uint32_t count, const config_rank *own,
                        uint32_t gpus);
/* ST_INVALID when the map cannot work, with what is asked for, what there is, and the remedy: fewer cores on
 * a host, GPUs that are shared beyond their memory (where cluster.gpus_per_host tells how many there are), a
 * transport through memory between hosts. local_cores: of this machine. *out: Caller frees with free. */
status config_ranks(const config *c, uint32_t local_cores, config_rank **out, uint32_t *count, errbuf *eb);

#endif
