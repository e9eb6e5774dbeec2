/* machine - what the figures were measured on: machine.json. Each measurement takes less than two seconds. */
#ifndef BATON_EXPERIMENT_MACHINE_H
#define BATON_EXPERIMENT_MACHINE_H

#include "base/status.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* Half of a ping-pong of two threads, pinned to the cores, over one cache line: ns, median of several bursts.
 * NAN when a thread cannot be started, or not pinned there. */
double machine_core_latency_ns(uint32_t core_a, uint32_t core_b);
/* GB/s that threads on the first `cores` cores read together, each its own memory, far larger than caches.
 * NAN when so many threads cannot be started. */
double machine_read_gb_s(uint32_t cores);

/* `git describe` of the sources in `root`; "" = there is none, or root is NULL. */
void machine_git(char *out, size_t size, const char *root);

/* The model of its CPU; "" = unknown. */
void machine_cpu(char *out, size_t size);

/* CPU model, cores, instruction sets, memory, kernel, load, git commit of `root` (NULL = not asked), latency
 * and bandwidth measured. */
json_t *machine_json(const char *root);

#endif
