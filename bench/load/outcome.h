/* outcome - what came of a run: run.json, the table, the lines below it. */
#ifndef BATON_LOAD_OUTCOME_H
#define BATON_LOAD_OUTCOME_H

#include "bench/load/measurement.h"
#include "bench/load/serve_options.h"
#include "bench/load/validity.h"

#define OUTCOME_NO_DATE INT64_MIN /* of what never happened, and is the same whenever it is asked for */

/* What is known of a run besides its rows. Borrowed */
typedef struct outcome_input {
    const char *program; /* whose command argv is; NULL: baton-bench */
    const serve_options *options;
    int argc;
    char **argv; /* of its main: [0] is "serve" */
    const target *target;
    const workload *work;
    const schedule *plan;
    const measurement *run;
    const validity *validity;
    double largest_rate, added_latency_ms; /* of the client against its own server; NAN */
    int64_t date_s;                        /* of the start, since 1970 */
} outcome_input;

/* Fills info (initialised). End with run_info_done. */
void outcome_info(run_info *info, const outcome_input *in);
/* Appends the table and our lines. */
void outcome_text(buf *out, const outcome_input *in, const run_info *info);
/* The file that `vllm bench serve --save-result` writes, and in it what run.json has as "validity", "slo" and
 * "compat". *path: where; caller frees. ST_IO names the path. */
status outcome_save(const outcome_input *in, const run_info *info, char **path, errbuf *eb);

#endif
