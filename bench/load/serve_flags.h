/* serve_flags - the flags of `baton-bench serve`, as argp wants them: names, and what --help says. */
#ifndef BATON_LOAD_SERVE_FLAGS_H
#define BATON_LOAD_SERVE_FLAGS_H

#include <argp.h>

enum {
    OPT_BACKEND = 1000,
    OPT_BASE_URL,
    OPT_HOST,
    OPT_PORT,
    OPT_ENDPOINT,
    OPT_MODEL,
    OPT_SERVED_MODEL,
    OPT_METRICS_URL,
    OPT_HEADER,
    OPT_TEMPERATURE,
    OPT_IGNORE_EOS,
    OPT_NO_IGNORE_EOS,
    OPT_WORKLOAD,
    OPT_DATASET_NAME,
    OPT_DATASET_PATH,
    OPT_INPUT_LEN,
    OPT_OUTPUT_LEN,
    OPT_RANGE_RATIO,
    OPT_INPUT_CV,
    OPT_OUTPUT_CV,
    OPT_INPUT_SCALE,
    OPT_OUTPUT_SCALE,
    OPT_INPUT_MIN,
    OPT_INPUT_MAX,
    OPT_OUTPUT_MIN,
    OPT_OUTPUT_MAX,
    OPT_SPREAD,
    OPT_PROMPT_IDS,
    OPT_NUM_PROMPTS,
    OPT_NUM_WARMUPS,
    OPT_RATE,
    OPT_BURSTINESS,
    OPT_ARRIVALS,
    OPT_RAMP,
    OPT_RAMP_START,
    OPT_RAMP_END,
    OPT_CONCURRENCY,
    OPT_SEED,
    OPT_SEEDS,
    OPT_WINDOW,
    OPT_WARMUP,
    OPT_GOODPUT,
    OPT_METRICS,
    OPT_PERCENTILES,
    OPT_SAVE,
    OPT_DETAILED,
    OPT_RESULT_DIR,
    OPT_RESULT_FILE,
    OPT_LABEL,
    OPT_METADATA,
    OPT_NAME,
    OPT_OUT,
    OPT_TRACE,
    OPT_READY,
    OPT_REQUEST_TIMEOUT,
    OPT_STALL,
    OPT_PRIORITY,
    OPT_SELF_TEST,
    OPT_NO_SELF_TEST,
    OPT_QUIET,
    OPT_IGNORED
};

/* Ends with an empty one */
extern const struct argp_option serve_flags[];

#endif
