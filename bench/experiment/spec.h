/* spec - an experiment as its file says it: placements x workloads x rates, and the SLOs that the rows are
 * scored for. Plain data, read by spec_file.h; every key is documented in deploy/experiments/. */
#ifndef BATON_EXPERIMENT_SPEC_H
#define BATON_EXPERIMENT_SPEC_H

#include "base/role.h"
#include "bench/experiment/spec_texts.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct spec_numbers {
    double *items; /* [count]; owned */
    uint32_t count;
} spec_numbers;

typedef struct spec_role {
    uint32_t count;         /* workers; 0 where the placement does not name the role */
    uint32_t cores, tp, pp; /* 0 = as the base config says */
} spec_role;

/* One way to set a placement, of those that are tried before the grid. */
typedef struct spec_variant {
    char *name;
    spec_texts sets; /* "section.key=value", after those of the placement */
} spec_variant;

typedef struct spec_placement {
    char *name;
    bool baseline; /* ratios are to the best of these */
    spec_role prefill, decode, colocated;
    spec_texts sets;
    spec_variant *variants; /* [variant_count]; none: nothing is tuned */
    uint32_t variant_count;
} spec_placement;

/* What `baton-bench serve` is asked for; NULL and an empty list = not given. Numbers stay texts: they are
 * handed on. */
typedef struct spec_workload {
    char *name;
    char *kind; /* --workload: a name it knows, or a file */
    char *input_len, *output_len, *range_ratio;
    char *input_cv, *output_cv, *input_scale, *output_scale;
    char *input_min, *input_max, *output_min, *output_max;
    char *spread, *arrivals, *burstiness;
    spec_texts args;               /* further flags of serve, word by word */
    spec_numbers rates;            /* requests per second; or */
    spec_numbers rates_per_device; /* times the placement's devices */
    double tune_rate; /* requests per second at which variants are compared; 0 = the middle rate */
} spec_workload;

typedef struct spec_slo {
    char *name;
    double ttft, tpot, itl_p99, itl_max, e2e; /* ms; 0 = no limit */
} spec_slo;

typedef struct spec_tune {
    double warmup_s, window_s;
    spec_numbers seeds; /* own ones: the grid's requests are not what was tuned on */
    char *by;           /* "median" of the attainments over all SLOs, or the name of an SLO */
} spec_tune;

/* Replaces what it gives when --quick is asked for; the rest stays. */
typedef struct spec_quick {
    spec_texts sets;          /* after all others */
    bool given;               /* the file has a quick: section */
    spec_texts placements;    /* only these */
    spec_workload *workloads; /* [workload_count]; only these: each overrides the keys that it gives */
    uint32_t workload_count;
    spec_numbers seeds;
    double warmup_s, window_s; /* 0 = as they are */
    bool tune;                 /* false: the first variant is taken, untried */
    bool aa;
} spec_quick;

typedef struct spec {
    char *name, *title;
    char *base;      /* the cluster's config, from the directory in which baton-bench is started */
    char *backend;   /* of serve: baton, openai, openai-chat */
    spec_texts sets; /* of every placement, before its own */
    spec_placement *placements;
    uint32_t placement_count;
    spec_workload *workloads;
    uint32_t workload_count;
    spec_slo *slos;
    uint32_t slo_count;
    double target;      /* attainment that is asked for, percent */
    spec_numbers seeds; /* whole numbers */
    double warmup_s, window_s;
    double request_timeout_s;
    double start_timeout_s, stop_timeout_s;
    double overhead_s; /* per cell: start, tail, stop; for the estimate until cells have told it */
    bool trace;        /* keep the server's trace of each cell */
    char *order;       /* interleaved | by_placement */
    char *aa;          /* the placement that is run twice; "" = none */
    spec_tune tune;
    spec_quick quick;
} spec;

#endif
