/* serve_options - what `baton-bench serve` was asked for: the flags of `vllm bench serve` where they exist,
 * and ours. */
#ifndef BATON_LOAD_SERVE_OPTIONS_H
#define BATON_LOAD_SERVE_OPTIONS_H

#include "bench/rows/summary.h"
#include "bench/workload/schedule.h"
#include "bench/workload/workload_args.h"

#define SERVE_WORDS_MAX 64 /* --metadata, --header */

typedef enum serve_backend { SERVE_OPENAI, SERVE_CHAT, SERVE_NATIVE } serve_backend;

/* Strings are borrowed: arguments, or static. */
typedef struct serve_options {
    serve_backend backend;
    const char *base_url, *host, *port, *endpoint, *model, *metrics_url;
    const char *key_file;                 /* of the native socket; NULL: none */
    const char *ca;                       /* of https; NULL: the system's */
    bool insecure;                        /* https: whoever answers is trusted */
    const char *headers[SERVE_WORDS_MAX]; /* "K=V" */
    uint32_t header_count;
    double temperature; /* NAN: not sent */
    bool ignore_eos;

    workload_args ask;
    double rate; /* INFINITY: all at once; NAN: a trace by its own clock */
    bool rate_given;
    const char *ramp_strategy; /* NULL: none */
    uint32_t num_prompts, warmups, max_concurrency;
    uint64_t *seeds; /* [seed_count]; owned */
    uint32_t seed_count;
    double window_s, warmup_s; /* NAN: a run of --num-prompts */
    int32_t id_min, id_max;    /* 0, 0: found out */

    bool goodput;
    slo limits;
    summary_options summary;
    bool save_result, save_detailed;
    const char *result_dir, *result_filename, *label, *name, *out_dir, *trace_path;
    const char *metadata[SERVE_WORDS_MAX];
    uint32_t metadata_count;

    double ready_timeout_s, request_timeout_s, stall_s;
    bool priority, self_test_only, no_self_test, quiet;

    struct {
        const char *model; /* --served-model-name */
        double ramp_from, ramp_to;
        bool prompts;
    } given; /* while they are read */
} serve_options;

/* What is asked, when, and what comes out, without a server: an argp to be a child of another program's. Its
 * input is a serve_options begun with serve_options_default; end with serve_options_done. */
extern const struct argp serve_run_argp;
serve_options serve_options_default(void);

/* Ends the program with status 2 and a text on wrong usage, with 0 on --help. */
void serve_options_parse(serve_options *o, int argc, char **argv);
/* The schedule that they ask for. w: made of ask.options. Errors as schedule_steady's. */
status serve_options_schedule(schedule *out, const serve_options *o, const workload *w, errbuf *eb);
void serve_options_done(serve_options *o);
const char *serve_backend_name(serve_backend b);

#endif
