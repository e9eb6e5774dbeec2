/* run_file - run.json of a run directory: what was run, against what, and what came of it.
 *
 * Written whole or not at all (a temporary file that is renamed). Numbers that nobody knows are NAN here and
 * null there. Read back, a missing key is as in run_info_init, an unknown one is left out. */
#ifndef BATON_ROWS_RUN_FILE_H
#define BATON_ROWS_RUN_FILE_H

#include "bench/rows/score.h"

#include <jansson.h>

#define RUN_SCHEMA "baton-bench/1"

/* A window by scheduled time since the run's start; its members come from the stream of `seed`. */
typedef struct run_segment {
    uint64_t seed;
    double begin_s, end_s;
} run_segment;

typedef struct run_worker {
    char *name, *role;                               /* owned */
    double prefill_share, decode_share, mixed_share; /* of the windows' time, 0..1 */
    double pages_used_max, pages_total;
} run_worker;

typedef struct run_slo {
    slo limits;
    double attainment, low, high, good_per_s;
} run_slo;

typedef struct run_target {
    char *kind; /* "openai", "openai-chat", "native" */
    char *url, *model;
    json_t *server; /* what GET /version said; owned; NULL = unknown */
} run_target;

typedef struct run_workload {
    char *name, *kind, *path;
    double prompt_mean, output_mean, prompt_range, output_range, prompt_cv, output_cv;
    double prompt_scale, output_scale, prompt_min, prompt_max, output_min, output_max;
} run_workload;

typedef struct run_client {
    double cpu_share;
    double lateness_p50_ms, lateness_p99_ms, lateness_max_ms;
    double achieved_rate, largest_rate, added_latency_ms;
} run_client;

typedef struct run_steady {
    bool reached, unstable, drift;
    double warmup_needed_s, g, g_limit, drift_ttft_p, drift_tpot_p;
} run_steady;

/* Strings and arrays are owned (malloc); NULL strings are null in the file. */
typedef struct run_info {
    char **command; /* [command_count] */
    size_t command_count;
    char *date, *version, *name;
    run_target target;
    run_workload workload;
    char *arrivals_kind;
    double burstiness;
    double rate;            /* INFINITY (null) = as fast as it goes */
    double max_concurrency; /* NAN = none */
    double warmup_s, window_s;
    run_segment *segments;
    size_t segment_count;
    run_client client;
    bool valid;
    char **reasons; /* [reason_count] why it is void */
    size_t reason_count;
    run_steady steady;
    run_worker *workers;
    size_t worker_count;
    double preemptions, replays, coordinator_cpu_share;
    bool interrupted;
    double duration_s;
    json_t *result, *compat; /* owned; NULL = {} */
    run_slo *slos;
    size_t slo_count;
} run_info;

/* Everything unknown: NULL, NAN, false; rate INFINITY, valid true. */
void run_info_init(run_info *r);
/* Frees what it owns, not r. */
void run_info_done(run_info *r);

/* What the file holds. A new reference. */
json_t *run_json(const run_info *r);
/* DIR/run.json. ST_IO names the path. */
status run_file_write(const run_info *r, const char *dir, errbuf *eb);
/* ST_IO: no such file; ST_INVALID: no JSON, another schema, or a key that is not what it should be; the text
 * names file and key. */
status run_file_read(run_info *r, const char *dir, errbuf *eb);

/* Seconds of the windows together: what good_per_s is divided by. */
double run_window_s(const run_info *r);

#endif
