/* named - workloads and limits by name.
 *
 * DistServe's three applications (Zhong et al.: DistServe: Disaggregating Prefill and Decoding for
 * Goodput-optimized Large Language Model Serving, OSDI 2024, section 6.1): the mean lengths are those of its
 * figure 7, the limits those of its table 1 (the first preprint has 0.2 s and 0.4 s of TTFT for the smaller
 * chatbots). The paper draws the lengths' distributions and gives no number for their spread; the
 * coefficients of variation are ours, chosen below what its models' context of 2,048 tokens admits for these
 * means (prompts: at most 1.31 for chatbot, 0.42 for summary) and free to be set otherwise. */
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
