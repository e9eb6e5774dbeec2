/* named - workloads and limits by name.
 *
 * DistServe's three applications (Zhong et al.: DistServe: Disaggregating Prefill and Decoding for
 * Goodput-optimized Large Language Model Serving, OSDI 2024, section 6.1): the mean lengths are the paper's
 * (figure 7), its latency limits are presets (table 1). */
#ifndef BATON_WORKLOAD_NAMED_H
#define BATON_WORKLOAD_NAMED_H

#include <stdint.h>

typedef struct workload_slo {
    const char *name;      /* "chatbot-opt-13b" */
    const char *workload;  /* for workload_named */
    double ttft_s, tpot_s; /* limits */
} workload_slo;

/* The presets; *count is their number. Borrowed: static. */
const workload_slo *workload_slos(uint32_t *count);
/* NULL: no such preset. Borrowed: static. */
const workload_slo *workload_slo_named(const char *name);

#endif
