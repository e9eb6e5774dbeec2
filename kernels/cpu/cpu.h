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
    void *scratch[TEAM_THREADS_MAX + 1]; /* per thread, then one that all share; 64-byte aligned, contents do
                                            not outlive an op */
    size_t scratch_bytes[TEAM_THREADS_MAX + 1];
};

/* Opens a device on `k` whatever the CPU. Caller closes with cpu_backend.close. */
status cpu_open_kernels(device **out, const host_kernels *k, const device_options *opt, errbuf *eb);

/* Makes the scratch of every thread, or the shared one, at least `bytes` long. It grows to the largest op and
 * then stays: no allocation on the token path. False when there is no memory. */
bool cpu_scratch_threads(device *d, size_t bytes);
void *cpu_scratch_shared(device *d, size_t bytes);

/* The ops that are the same for all sets. The copies use nothing of the device that changes, hence any
 * thread may call them. */
status cpu_rope(device *d, const host_rope *a);
status cpu_kv_gather(device *d, const op_kv_copy *a);
status cpu_kv_scatter(device *d, const op_kv_copy *a);

#endif
