/* serve_flags - the flags of `baton-bench serve`, as argp wants them: names, and what --help says. Those of
 * the run are taken by `baton-plan simulate`, too. Those of the workload are
 * bench/workload/workload_args.h's.
 */
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
    OPT_KEY,
    OPT_CA,
    OPT_INSECURE,
    OPT_TEMPERATURE,
    OPT_IGNORE_EOS,
    OPT_NO_IGNORE_EOS,
    OPT_PROMPT_IDS,
    OPT_PROMPT_SALT,
    OPT_NUM_PROMPTS,
    OPT_NUM_WARMUPS,
    OPT_RATE,
    OPT_RAMP,
    OPT_RAMP_START,
    OPT_RAMP_END,
    OPT_CONCURRENCY,
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

/* Each ends with an empty one. */
extern const struct argp_option serve_server_flags[]; /* the server, and how long it is waited for */
extern const struct argp_option serve_run_flags[];    /* when, and what comes out */

#endif
