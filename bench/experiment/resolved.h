/* resolved - experiment.json: what an experiment runs after defaults and --quick, for those who read its
 * directory without reading its YAML. */
#ifndef BATON_EXPERIMENT_RESOLVED_H
#define BATON_EXPERIMENT_RESOLVED_H

#include "bench/experiment/plan.h"

#include <jansson.h>

/* {"schema":"baton-experiment/1","name","title","quick","target","seeds","warmup_s","window_s","order","aa",
 *  "placements":[{"name","baseline","devices","workers","words","set":[..],"again_of":null|"X"}],
 *  "workloads":[{"name","rates":[..],"per_device":bool,"parameters":{"input_len":"200",..}}],
 *  "slos":[{"name","ttft_ms":null|x,"tpot_ms","itl_p99_ms","itl_max_ms","e2e_ms"}],
 *  "cells":["PLACEMENT@WORKLOAD@RATE",..]} in the order in which they run. */
json_t *resolved_json(const spec *s, const spec_facts *facts, const plan *p, bool quick);

#endif
