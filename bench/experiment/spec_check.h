/* spec_check - whether an experiment can be run here: everything that is wrong, at once. */
#ifndef BATON_EXPERIMENT_SPEC_CHECK_H
#define BATON_EXPERIMENT_SPEC_CHECK_H

#include "bench/experiment/spec.h"

typedef struct spec_machine {
    uint32_t cores, gpus;
} spec_machine;

/* This machine's. */
spec_machine spec_machine_here(void);

/* What the checks found out of a placement (its first variant's, where it has some). */
typedef struct spec_facts {
    uint32_t devices, workers;
} spec_facts;

/* Adds a sentence per mistake: names that are not there or stand twice, workloads without lengths or rates,
 * SLOs without a limit, and every placement (with each variant) whose cluster cannot be: no workers, more
 * ranks or cores than slots, tp that does not divide the heads, what is not built, unknown keys in `set`.
 * facts: [placement_count]. */
void spec_check(const spec *s, bool quick, spec_machine machine, spec_facts *facts, spec_texts *problems);

#endif
