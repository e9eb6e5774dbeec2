/* summary - a run as `vllm bench serve` shows it: the numbers, the JSON object with its keys, the console
 * table.
 *
 * By our rules (times from the scheduled arrival, first content is the first token, ITL per token) or by
 * vLLM's own (from the send, any event is a token event). Only rows of phase ROW_WINDOW count. As there, a
 * mean or percentile of nothing is 0. */
#ifndef BATON_ROWS_SUMMARY_H
#define BATON_ROWS_SUMMARY_H

#include "base/mem.h"
#include "bench/rows/score.h"

#include <jansson.h>

#define SUMMARY_PERCENTILES 16u

typedef enum summary_metric {
    SUMMARY_TTFT,
    SUMMARY_TPOT,
    SUMMARY_ITL,
    SUMMARY_E2EL,
    SUMMARY_QUEUE,      /* of the client: scheduled to sent */
    SUMMARY_E2EL_QUEUE, /* E2EL that includes it */
    SUMMARY_METRICS
} summary_metric;

/* "ttft", as keys and options have it. Borrowed: static. */
const char *summary_metric_name(summary_metric m);

typedef struct summary_options {
    bool vllm;          /* by vLLM's own rules */
    double duration_s;  /* what throughputs are divided by */
    const slo *goodput; /* NULL: none was asked */
    double percentiles[SUMMARY_PERCENTILES];
    uint32_t percentile_count; /* 0: P99 alone */
    uint32_t shown;            /* bits 1 << summary_metric of the table; 0: TTFT, TPOT, ITL, E2EL */
    double request_rate;       /* INFINITY: none */
    uint32_t max_concurrency;  /* 0: none */
} summary_options;

/* "99" or "50,90,99.9", each in 0..100. ST_INVALID names the word. */
status summary_parse_percentiles(summary_options *o, const char *text, errbuf *eb);
/* "ttft,tpot,itl,e2el,client_queue_time,e2el_including_client_queue". ST_INVALID names the word. */
status summary_parse_metrics(summary_options *o, const char *text, errbuf *eb);

/* Did it end well? By vLLM one that had no event at all did not. */
bool summary_completed(const row *r, bool vllm);
/* ms, of a metric with one value per request; NAN = none. PRE: not SUMMARY_ITL. */
double summary_latency_ms(const row *r, summary_metric m, bool vllm);

typedef struct summary_values {
    uint32_t n;
    double mean, median, std; /* ms; std of all, not of a sample, as numpy has it */
    double percentiles[SUMMARY_PERCENTILES];
} summary_values;

typedef struct summary {
    uint32_t completed, failed;
    uint64_t input_tokens, output_tokens; /* of completed requests */
    double request_per_s, good_per_s, output_per_s, total_per_s;
    double peak_output_per_s; /* the busiest of the seconds since the first send */
    uint32_t peak_concurrent;
    summary_values values[SUMMARY_METRICS];
} summary;

summary summary_of(const row_list *l, const summary_options *o);

/* What the client was told, for the JSON. Strings borrowed; NULL = null. */
typedef struct summary_setup {
    const char *date; /* YYYYMMDD-HHMMSS */
    const char *backend, *label, *model, *tokenizer;
    uint32_t num_prompts;
    double burstiness;
    const char *const *metadata; /* "KEY=VALUE"; [metadata_count] */
    uint32_t metadata_count;
    const char *ramp_strategy; /* NULL: no ramp */
    double ramp_from, ramp_to;
    bool detailed; /* --save-detailed: the arrays */
} summary_setup;

/* A new reference. Metadata cannot replace a key of ours. */
json_t *summary_json(const row_list *l, const summary_options *o, const summary_setup *s);
/* Only what was measured: no setup; the block `compat` of run.json. A new reference. */
json_t *summary_numbers_json(const row_list *l, const summary_options *o);

/* vLLM's name of a result file: LABEL-RATEqps[-concurrencyN]-MODEL-DATE.json. Caller frees with free. */
char *summary_file_name(const summary_options *o, const summary_setup *s);

/* Lines of ours below vLLM's. */
typedef struct summary_limits {
    slo limits;
    score result;
    interval attainment;
} summary_limits;

/* Appends the table. limits: [count]. */
void summary_table(buf *out, const row_list *l, const summary_options *o, const summary_limits *limits,
                   uint32_t count);

#endif
