/* cpu - the vectorised host backend: a thread team, and one set of op kernels per instruction set, chosen
 * when a device is opened.
 *
 *   backend_ops slot -> host.c -> host_kernels (portable, avx2 or avx512) -> team_run over rows and columns
 *
 * What is not worth vectorising (rope, the walk of hand-off copies) exists once, outside of the sets. This
 * header is for the folder and for the tests that open a device on a set of kernels of their own.
 */
#ifndef BATON_KERNELS_CPU_CPU_H
#define BATON_KERNELS_CPU_CPU_H

#include "kernels/host/host.h"
#include "kernels/host/team.h"

extern const backend_ops cpu_backend;

extern const host_kernels cpu_kernels_portable;
extern const host_kernels cpu_kernels_avx2;   /* x86-64 only */
extern const host_kernels cpu_kernels_avx512; /* x86-64 only */

struct device {
    host_device host;
    team *team;
    void *scratch[TEAM_THREADS_MAX + 2]; /* per thread, then two that all share; 64-byte aligned, contents do
                                            not outlive an op */
    size_t scratch_bytes[TEAM_THREADS_MAX + 2];
    struct {               /* of the running step (cpu_turns) */
        double *frequency; /* [rope_dim / 2] radians per position; NULL until the first step */
        float *values;     /* [capacity, rope_dim] */
        uint32_t *pos;     /* [capacity] the positions that they are of */
        uint32_t rows, capacity;
    } turns;
};

/* Opens a device on `k` whatever the CPU. Caller closes with cpu_backend.close. */
status cpu_open_kernels(device **out, const host_kernels *k, const device_options *opt, errbuf *eb);

/* Makes the scratch of every thread, or a shared one (for the plan of an op, and for results of its parts),
 * at least `bytes` long. It grows to the largest op and then stays: no allocation on the token path. False
 * when there is no memory. */
bool cpu_scratch_threads(device *d, size_t bytes);
void *cpu_scratch_shared(device *d, size_t bytes);
void *cpu_scratch_parts(device *d, size_t bytes);

status cpu_attend_setup(device *d, const attend_setup *s, errbuf *eb);
status cpu_attend(device *d, const op_attend *a);
/* The rotations of the running step's first `rows` rows (attend.h), made at its first layer and kept until
 * the positions change. NULL when there is no memory. */
const float *cpu_turns(device *d, uint32_t rows);
void cpu_turns_done(device *d);

/* The ops that are the same for all sets. The copies use nothing of the device that changes, hence any
 * thread may call them. */
status cpu_rope(device *d, const host_rope *a);
status cpu_kv_gather(device *d, const op_kv_copy *a);
status cpu_kv_scatter(device *d, const op_kv_copy *a);

#endif
