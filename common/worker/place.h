/* place - where a worker process is: its name, cores and GPU by the rank map, and the address where others
 * reach it. */
#ifndef BATON_WORKER_PLACE_H
#define BATON_WORKER_PLACE_H

#include "config/config.h"
#include "ctl/ctl.h"

#define PLACE_CPUS_MAX 64u

typedef struct place {
    char name[96];                 /* "prefill-0"; started by hand: "prefill-HOST-PID" */
    uint32_t index;                /* among its role; started by hand: 0 */
    uint32_t worker_count;         /* workers that the process hosts; this is the place of the first */
    char host[64];                 /* this machine's name */
    uint32_t cpus[PLACE_CPUS_MAX]; /* [cpu_count] CPU numbers for the compute threads */
    uint32_t cpu_count;            /* 0 = not pinned */
    char rank[16];                 /* launch rank; "": started by hand */
    bool alone;   /* by the map no other worker is on this host; started by hand or by Slurm: false */
    uint32_t gpu; /* number of this worker among those of its host; started by hand: 0. The backend takes it
                     modulo the GPUs it sees */
} place;

/* The launch rank that the environment gives: mpirun's, or that of a step of srun --mpi=pmix, which numbers
 * the components of a heterogeneous job through. NULL for a process started by hand, also in a batch
 * script. */
const char *place_launch_rank(void);

/* rank: the launch rank as text, or NULL for a process started by hand. ST_INVALID when the map has no such
 * rank or gives it another role. Not pinned: when started by hand, when more cores are asked of this host
 * than it has, when they are not ours to use, when srun started us: Slurm binds its tasks itself. Its local
 * task number is then the GPU's: the map need not know where Slurm put whom; with a GPU of its own for each
 * task (--gpus-per-task) there is one to see, and the number does not matter. */
status place_find(place *out, const config *c, worker_role role, const char *rank, errbuf *eb);

/* Once it is known how many GPUs this process sees (under mpirun all of a host see the same): ST_INVALID when
 * the workers that go to this one's GPU ask for more than all of its memory. Not judged where the map does
 * not tell who goes where: by hand, or by Slurm. */
status place_check_gpu(const place *p, const config *c, uint32_t gpus, errbuf *eb);

/* Worker `i` of a process that hosts several: where the first one is, under a name of its own, "prefill-5" or
 * "prefill-HOST-PID-5". */
place place_member(const place *first, worker_role role, uint32_t i);

/* The local address that packets to the endpoint ("tcp://host:port") leave from; "127.0.0.1" for a loopback
 * address. */
status place_address_towards(const char *endpoint, char out[64], errbuf *eb);

#endif
