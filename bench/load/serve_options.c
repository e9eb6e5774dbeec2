#include "bench/load/serve_options.h"

#include "base/arg_value.h"
#include "bench/load/serve_flags.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TAIL_REQUESTS_MAX 500000.0

static void take_backend(struct argp_state *state, serve_options *o, const char *arg) {
    static const struct {
        const char *name;
        serve_backend backend;
    } names[] = {{"openai", SERVE_OPENAI},    {"vllm", SERVE_OPENAI},    {"sglang-oai", SERVE_OPENAI},
                 {"openai-chat", SERVE_CHAT}, {"vllm-chat", SERVE_CHAT}, {"native", SERVE_NATIVE},
                 {"baton", SERVE_NATIVE}};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(names[i].name, arg) != 0) continue;
        o->backend = names[i].backend;
        return;
    }
    argp_error(state, "--backend: '%s' is none of openai, openai-chat, native", arg);
}

static void take_seeds(struct argp_state *state, serve_options *o, const char *arg) {
    const char *at = arg;
    do {
        char *end = NULL;
        errno = 0;
        unsigned long long v = strtoull(at, &end, 10);
        bool good = end != at && *at >= '0' && *at <= '9' && !errno && v < (uint64_t)1 << 63 &&
                    (*end == ',' || !*end) && o->seed_count < SCHEDULE_SEEDS_MAX;
        if (!good)
            argp_error(state, "--seeds: '%s' is no list of up to %u seeds like 1,2,3", arg,
                       SCHEDULE_SEEDS_MAX);
        o->seeds = xrealloc(o->seeds, o->seed_count + 1, sizeof *o->seeds);
        o->seeds[o->seed_count++] = v;
        at = *end ? end + 1 : NULL;
    } while (at);
}

static void take_ids(struct argp_state *state, serve_options *o, const char *arg) {
    char *end = NULL;
    long min = strtol(arg, &end, 10), max = -1;
    if (end != arg && *end == ':') max = strtol(end + 1, &end, 10);
    if (*end || min < 0 || max <= min || max > INT32_MAX)
        argp_error(state, "--prompt-ids: '%s' is no range like 1000:8000", arg);
    o->id_min = (int32_t)min;
    o->id_max = (int32_t)max;
}

static void take_goodput(struct argp_state *state, serve_options *o, const char *arg) {
    errbuf eb = {0};
    o->goodput = true;
    if (workload_args_limits(&o->limits, arg, &eb) != ST_OK) argp_error(state, "--goodput: %s", eb.text);
}

static void take_word(struct argp_state *state, const char *name, const char **words, uint32_t *count,
                      const char *arg) {
    if (!strchr(arg, '=')) argp_error(state, "--%s: '%s' is not KEY=VALUE", name, arg);
    if (*count == SERVE_WORDS_MAX) argp_error(state, "--%s: more than %d", name, SERVE_WORDS_MAX);
    words[(*count)++] = arg;
}

/* ---- options ---- */

static bool parse_when(int key, char *arg, struct argp_state *state, serve_options *o) {
    switch (key) {
    case OPT_NUM_PROMPTS:
        o->num_prompts = (uint32_t)arg_whole(state, "num-prompts", arg, 1, SCHEDULE_COUNT_MAX);
        o->given.prompts = true;
        return true;
    case OPT_NUM_WARMUPS:
        o->warmups = (uint32_t)arg_whole(state, "num-warmups", arg, 0, SCHEDULE_COUNT_MAX);
        return true;
    case OPT_RATE:
        o->rate = strcmp(arg, "inf") == 0 ? INFINITY : arg_number(state, "request-rate", arg, 1e-6, 1e6);
        o->rate_given = true;
        return true;
    case OPT_RAMP:
        if (strcmp(arg, "linear") != 0 && strcmp(arg, "exponential") != 0)
            argp_error(state, "--ramp-up-strategy: '%s' is neither linear nor exponential", arg);
        o->ramp_strategy = arg;
        CHECK(workload_args_arrivals(&o->ask, arg, NULL) == ST_OK);
        return true;
    case OPT_RAMP_START:
        o->given.ramp_from = arg_number(state, "ramp-up-start-rps", arg, 1e-6, 1e6);
        return true;
    case OPT_RAMP_END:
        o->given.ramp_to = arg_number(state, "ramp-up-end-rps", arg, 1e-6, 1e6);
        return true;
    case OPT_CONCURRENCY:
        o->max_concurrency = (uint32_t)arg_whole(state, "max-concurrency", arg, 1, SCHEDULE_COUNT_MAX);
        return true;
    case OPT_REQUEST_TIMEOUT:
        o->request_timeout_s = arg_number(state, "request-timeout", arg, 0.01, 86400);
        return true;
    case OPT_SEEDS:
        take_seeds(state, o, arg);
        return true;
    case OPT_WINDOW:
        o->window_s = arg_number(state, "window", arg, 0.1, SCHEDULE_SECONDS_MAX);
        return true;
    case OPT_WARMUP:
        o->warmup_s = arg_number(state, "warmup", arg, 0, SCHEDULE_SECONDS_MAX);
        return true;
    default:
        return false;
    }
}

static bool parse_server(int key, char *arg, struct argp_state *state, serve_options *o) {
    switch (key) {
    case OPT_BACKEND:
        take_backend(state, o, arg);
        return true;
    case OPT_BASE_URL:
        o->base_url = arg;
        return true;
    case OPT_HOST:
        o->host = arg;
        return true;
    case OPT_PORT:
        (void)arg_whole(state, "port", arg, 1, 65535);
        o->port = arg;
        return true;
    case OPT_ENDPOINT:
        if (*arg != '/') argp_error(state, "--endpoint: '%s' does not begin with a slash", arg);
        o->endpoint = arg;
        return true;
    case OPT_CA:
        o->ca = arg;
        return true;
    case OPT_INSECURE:
        o->insecure = true;
        return true;
    case OPT_KEY:
        o->key_file = arg;
        return true;
    case OPT_MODEL:
        o->model = arg;
        return true;
    case OPT_SERVED_MODEL:
        o->given.model = arg;
        return true;
    case OPT_METRICS_URL:
        o->metrics_url = arg;
        return true;
    case OPT_HEADER:
        take_word(state, "header", o->headers, &o->header_count, arg);
        return true;
    case OPT_PROMPT_IDS:
        take_ids(state, o, arg);
        return true;
    case OPT_PROMPT_SALT:
        o->ask.options.prompt_salt = arg_whole(state, "prompt-salt", arg, 0, UINT64_MAX);
        return true;
    case OPT_TEMPERATURE:
        o->temperature = strcmp(arg, "none") == 0 ? NAN : arg_number(state, "temperature", arg, 0, 100);
        return true;
    case OPT_IGNORE_EOS:
    case OPT_NO_IGNORE_EOS:
        o->ignore_eos = key == OPT_IGNORE_EOS;
        return true;
    case OPT_READY:
        o->ready_timeout_s = arg_number(state, "ready-check-timeout-sec", arg, 0, 86400);
        return true;
    case OPT_STALL:
        o->stall_s = arg_number(state, "stall-timeout", arg, 0.1, 86400);
        return true;
    case OPT_PRIORITY:
        o->priority = true;
        return true;
    case OPT_SELF_TEST:
        o->self_test_only = true;
        return true;
    case OPT_NO_SELF_TEST:
        o->no_self_test = true;
        return true;
    default:
        return false;
    }
}

static bool parse_output(int key, char *arg, struct argp_state *state, serve_options *o) {
    errbuf eb = {0};
    switch (key) {
    case OPT_METRICS:
        if (summary_parse_metrics(&o->summary, arg, &eb) != ST_OK)
            argp_error(state, "--percentile-metrics: %s", eb.text);
        return true;
    case OPT_PERCENTILES:
        if (summary_parse_percentiles(&o->summary, arg, &eb) != ST_OK)
            argp_error(state, "--metric-percentiles: %s", eb.text);
        return true;
    case OPT_SAVE:
        o->save_result = true;
        return true;
    case OPT_DETAILED:
        o->save_detailed = o->save_result = true;
        return true;
    case OPT_RESULT_DIR:
        o->result_dir = arg;
        return true;
    case OPT_RESULT_FILE:
        o->result_filename = arg;
        return true;
    case OPT_LABEL:
        o->label = arg;
        return true;
    case OPT_NAME:
        o->name = arg;
        return true;
    case OPT_OUT:
        o->out_dir = arg;
        return true;
    case OPT_TRACE:
        o->trace_path = arg;
        return true;
    case OPT_QUIET:
        o->quiet = true;
        return true;
    default:
        return false;
    }
}

static void check(struct argp_state *state, serve_options *o);

static error_t parse_run(int key, char *arg, struct argp_state *state) {
    serve_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->ask;
        return 0;
    case OPT_GOODPUT:
        take_goodput(state, o, arg);
        return 0;
    case OPT_METADATA:
        take_word(state, "metadata", o->metadata, &o->metadata_count, arg);
        return 0;
    case OPT_IGNORED:
        return 0;
    case ARGP_KEY_ARG: /* the further words of --goodput and --metadata */
        if (o->metadata_count > 0 && strchr(arg, '='))
            take_word(state, "metadata", o->metadata, &o->metadata_count, arg);
        else if (o->goodput)
            take_goodput(state, o, arg);
        else
            argp_error(state, "'%s' is no option", arg);
        return 0;
    case ARGP_KEY_END:
        check(state, o);
        return 0;
    default:
        return parse_when(key, arg, state, o) || parse_output(key, arg, state, o) ? 0 : ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    serve_options *o = state->input;
    if (key == ARGP_KEY_INIT) state->child_inputs[0] = o;
    if (key == ARGP_KEY_END && o->given.model) o->model = o->given.model;
    return parse_server(key, arg, state, o) ? 0 : ARGP_ERR_UNKNOWN;
}

static const struct argp_child run_children[] = {{&workload_argp, 0, "What is asked:", 2}, {0}};
const struct argp serve_run_argp = {serve_run_flags, parse_run, NULL, NULL, run_children, NULL, NULL};

static bool is_ramp(const serve_options *o) {
    return o->ask.arrivals.kind == ARRIVALS_RAMP_LINEAR || o->ask.arrivals.kind == ARRIVALS_RAMP_EXPONENTIAL;
}

/* What options say together. */
static void check(struct argp_state *state, serve_options *o) {
    bool trace = o->ask.options.kind == WORKLOAD_TRACE, steady = !isnan(o->window_s);
    if (is_ramp(o)) {
        if (!(o->given.ramp_from > 0) || !(o->given.ramp_to > 0))
            argp_error(state, "a ramp needs --ramp-up-start-rps and --ramp-up-end-rps");
        if (o->rate_given) argp_error(state, "a ramp has rates of its own: leave out --request-rate");
        o->ask.arrivals.ramp_from = o->given.ramp_from;
        o->ask.arrivals.ramp_to = o->given.ramp_to;
        o->rate = 1;
    } else if (trace && !o->rate_given) {
        if (o->ask.arrivals.kind == ARRIVALS_GAMMA && !strcmp(o->ask.arrivals_name, "gamma")) {
            o->ask.arrivals.kind = ARRIVALS_TRACE;
            o->ask.arrivals_name = "trace";
        }
        if (o->ask.arrivals.kind == ARRIVALS_TRACE) o->rate = NAN;
    }
    if (o->ask.arrivals.kind == ARRIVALS_TRACE && !trace)
        argp_error(state, "--arrivals trace needs a --workload that is a file");
    if (steady && o->given.prompts) argp_error(state, "give --window or --num-prompts, not both");
    if (steady && (isinf(o->rate) || is_ramp(o))) argp_error(state, "--window needs a finite --request-rate");
    if (steady && o->warmups) argp_error(state, "--num-warmups does not go with --window: see --warmup");
    if (!steady && (o->seed_count || !isnan(o->warmup_s)))
        argp_error(state, "--seeds and --warmup need --window");
    if (o->ask.seed_given && o->seed_count) argp_error(state, "give --seed or --seeds, not both");
    if (steady && o->seed_count == 0) {
        o->seeds = xcalloc(1, sizeof *o->seeds);
        o->seeds[o->seed_count++] = o->ask.seed;
    }
    if (steady && isnan(o->warmup_s)) o->warmup_s = 30;
    if (trace && !o->given.prompts) o->num_prompts = 0; /* all */
    o->summary.goodput = o->goodput ? &o->limits : NULL;
    o->summary.request_rate = isnan(o->rate) || is_ramp(o) ? INFINITY : o->rate;
    o->summary.max_concurrency = o->max_concurrency;
}

serve_options serve_options_default(void) {
    return (serve_options){.temperature = 0,
                           .ignore_eos = true,
                           .host = "127.0.0.1",
                           .ask = workload_args_default(),
                           .rate = INFINITY,
                           .num_prompts = 1000,
                           .window_s = NAN,
                           .warmup_s = NAN,
                           .limits = slo_none(),
                           .label = NULL,
                           .ready_timeout_s = 30,
                           .request_timeout_s = 600,
                           .stall_s = 30};
}

void serve_options_parse(serve_options *o, int argc, char **argv) {
    PRE(o);
    PRE(argv);
    *o = serve_options_default();
    static const struct argp_child children[] = {{&serve_run_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        serve_server_flags,
        parse_option,
        "[K:MS...]",
        "Measures a server that streams: sends requests when they are due, and tells how many were served "
        "within "
        "the limits."
        "\vExit status: 0 valid, 1 failed, 2 usage, 3 the run is void (why is printed), 130 Ctrl-C (what was "
        "measured is kept).",
        children,
        0,
        0};
    char name[] = "baton-bench serve";
    char *first = argv[0];
    argv[0] = name; /* for usage and errors */
    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, 0, NULL, o);
    argv[0] = first;
}

status serve_options_schedule(schedule *out, const serve_options *o, const workload *w, errbuf *eb) {
    PRE(out);
    PRE(o);
    PRE(w);
    if (!isnan(o->window_s)) {
        double rate = isnan(o->rate) ? workload_trace_rate(w) : o->rate;
        schedule_steady_options so = {.seeds = o->seeds,
                                      .seed_count = o->seed_count,
                                      .rate = o->rate,
                                      .warmup_s = o->warmup_s,
                                      .window_s = o->window_s,
                                      .tail_s = fmin(o->request_timeout_s, TAIL_REQUESTS_MAX / rate)};
        return schedule_steady(out, w, &o->ask.arrivals, &so, eb);
    }
    schedule_counted_options co = {.requests = o->num_prompts ? o->num_prompts : workload_count(w),
                                   .warmups = o->warmups,
                                   .seed = o->ask.seed,
                                   .rate = o->rate,
                                   .rescale = o->ask.rescale};
    return schedule_counted(out, w, &o->ask.arrivals, &co, eb);
}

void serve_options_done(serve_options *o) {
    PRE(o);
    free(o->seeds);
}

const char *serve_backend_name(serve_backend b) {
    return b == SERVE_OPENAI ? "openai" : b == SERVE_CHAT ? "openai-chat" : "native";
}
