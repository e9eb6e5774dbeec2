#include "bench/workload/workload_args.h"

#include "bench/workload/named.h"

#include "base/arg_value.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPT_WORKLOAD = 1000,
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
    OPT_BURSTINESS,
    OPT_ARRIVALS,
    OPT_SEED
};

static const struct argp_option flags[] = {
    {"workload", OPT_WORKLOAD, "NAME|FILE", 0,
     "chatbot, code, summary (DistServe's three), random, or a trace: Azure CSV, Mooncake or Bailian JSONL, "
     "BurstGPT CSV, ShareGPT JSON, our JSONL",
     0},
    {"dataset-name", OPT_DATASET_NAME, "NAME", 0, "As vLLM: random, or a kind of file with --dataset-path",
     0},
    {"dataset-path", OPT_DATASET_PATH, "FILE", 0, "A trace, as for --workload", 0},
    {"random-input-len", OPT_INPUT_LEN, "TOKENS", 0, "Mean prompt; default 1024", 0},
    {"input-len", OPT_INPUT_LEN, "TOKENS", OPTION_ALIAS, NULL, 0},
    {"random-output-len", OPT_OUTPUT_LEN, "TOKENS", 0, "Mean answer; default 128", 0},
    {"output-len", OPT_OUTPUT_LEN, "TOKENS", OPTION_ALIAS, NULL, 0},
    {"random-range-ratio", OPT_RANGE_RATIO, "R", 0, "Uniform: mean * (1 - R) .. mean * (1 + R)", 0},
    {"input-cv", OPT_INPUT_CV, "CV", 0, "Lognormal prompts with this coefficient of variation", 0},
    {"output-cv", OPT_OUTPUT_CV, "CV", 0, "Likewise answers", 0},
    {"input-scale", OPT_INPUT_SCALE, "F", 0, "Prompt lengths are multiplied by it, then clipped", 0},
    {"output-scale", OPT_OUTPUT_SCALE, "F", 0, "Likewise answers", 0},
    {"input-min", OPT_INPUT_MIN, "TOKENS", 0, "Prompts have at least", 0},
    {"input-max", OPT_INPUT_MAX, "TOKENS", 0, "At most", 0},
    {"output-min", OPT_OUTPUT_MIN, "TOKENS", 0, "Answers have at least", 0},
    {"output-max", OPT_OUTPUT_MAX, "TOKENS", 0, "At most", 0},
    {"spread", OPT_SPREAD, "SECONDS", 0, "Times of a trace that are rounded to this are spread over it", 0},
    {"burstiness", OPT_BURSTINESS, "B", 0, "Shape of the gamma gaps; 1 = Poisson (default), inf = constant",
     0},
    {"arrivals", OPT_ARRIVALS, "KIND", 0,
     "gamma, constant, linear, exponential (ramps), trace, or vllm: gamma, scaled so that the last arrives "
     "at N/rate",
     0},
    {"seed", OPT_SEED, "SEED", 0, "Default 0", 0},
    {0}};

static void take_file(workload_args *a, const char *path) {
    a->name = path;
    a->options.kind = WORKLOAD_TRACE;
    a->options.path = path;
}

static void take_workload(struct argp_state *state, workload_args *a, const char *arg) {
    if (strchr(arg, '/') || strchr(arg, '.')) {
        take_file(a, arg);
        return;
    }
    workload_options w;
    errbuf eb = {0};
    if (workload_named(arg, &w, &eb) != ST_OK)
        argp_error(state, "--workload: %s; or the path of a trace", eb.text);
    a->name = arg;
    a->options.kind = w.kind;
    a->options.prompt_mean = w.prompt_mean;
    a->options.output_mean = w.output_mean;
    a->options.prompt_range = w.prompt_range;
    a->options.output_range = w.output_range;
    a->options.prompt_cv = w.prompt_cv;
    a->options.output_cv = w.output_cv;
}

static void take_dataset(struct argp_state *state, const char *arg) {
    static const char *const kinds[] = {"custom",   "timed_trace", "burstgpt", "sharegpt",
                                        "mooncake", "azure",       "bailian"};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(arg, kinds[i]) == 0) return; /* told from its contents */
    if (strcmp(arg, "random") != 0)
        argp_error(state, "--dataset-name: '%s' is not there: random, or a file by --dataset-path", arg);
}

static bool parse_tokens(int key, char *arg, struct argp_state *state, workload_options *w) {
    static const struct {
        int key;
        const char *name;
    } names[] = {{OPT_INPUT_LEN, "random-input-len"}, {OPT_OUTPUT_LEN, "random-output-len"},
                 {OPT_INPUT_MIN, "input-min"},        {OPT_INPUT_MAX, "input-max"},
                 {OPT_OUTPUT_MIN, "output-min"},      {OPT_OUTPUT_MAX, "output-max"}};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (names[i].key != key) continue;
        uint32_t v = (uint32_t)arg_whole(state, names[i].name, arg, 1, WORKLOAD_TOKENS_MAX);
        if (key == OPT_INPUT_LEN) w->prompt_mean = v;
        if (key == OPT_OUTPUT_LEN) w->output_mean = v;
        if (key == OPT_INPUT_MIN) w->prompt_min = v;
        if (key == OPT_INPUT_MAX) w->prompt_max = v;
        if (key == OPT_OUTPUT_MIN) w->output_min = v;
        if (key == OPT_OUTPUT_MAX) w->output_max = v;
        return true;
    }
    return false;
}

static bool parse_spread(int key, char *arg, struct argp_state *state, workload_options *w) {
    switch (key) {
    case OPT_RANGE_RATIO:
        w->prompt_range = w->output_range = arg_number(state, "random-range-ratio", arg, 0, 1);
        w->kind = w->prompt_range > 0 ? WORKLOAD_UNIFORM : WORKLOAD_FIXED;
        return true;
    case OPT_INPUT_CV:
        w->prompt_cv = arg_number(state, "input-cv", arg, 0, 100);
        w->kind = WORKLOAD_LOGNORMAL;
        return true;
    case OPT_OUTPUT_CV:
        w->output_cv = arg_number(state, "output-cv", arg, 0, 100);
        w->kind = WORKLOAD_LOGNORMAL;
        return true;
    case OPT_INPUT_SCALE:
        w->prompt_scale = arg_number(state, "input-scale", arg, 1e-6, 1e6);
        return true;
    case OPT_OUTPUT_SCALE:
        w->output_scale = arg_number(state, "output-scale", arg, 1e-6, 1e6);
        return true;
    case OPT_SPREAD:
        w->spread_s = arg_number(state, "spread", arg, 0, 86400);
        return true;
    default:
        return false;
    }
}

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    workload_args *a = state->input;
    errbuf eb = {0};
    switch (key) {
    case OPT_WORKLOAD:
        take_workload(state, a, arg);
        return 0;
    case OPT_DATASET_NAME:
        take_dataset(state, arg);
        return 0;
    case OPT_DATASET_PATH:
        take_file(a, arg);
        return 0;
    case OPT_BURSTINESS:
        a->arrivals.burstiness = strcmp(arg, "inf") == 0
                                     ? INFINITY
                                     : arg_number(state, "burstiness", arg, ARRIVALS_BURSTINESS_MIN, 1e9);
        return 0;
    case OPT_ARRIVALS:
        if (workload_args_arrivals(a, arg, &eb) != ST_OK) argp_error(state, "--arrivals: %s", eb.text);
        return 0;
    case OPT_SEED:
        a->seed = arg_whole(state, "seed", arg, 0, INT64_MAX);
        a->seed_given = true;
        return 0;
    default:
        break;
    }
    bool known = parse_tokens(key, arg, state, &a->options) || parse_spread(key, arg, state, &a->options);
    return known ? 0 : ARGP_ERR_UNKNOWN;
}

const struct argp workload_argp = {.options = flags, .parser = parse_option};

workload_args workload_args_default(void) {
    return (workload_args){.name = "random",
                           .options = {.kind = WORKLOAD_FIXED, .prompt_mean = 1024, .output_mean = 128},
                           .arrivals = {.kind = ARRIVALS_GAMMA, .burstiness = 1},
                           .arrivals_name = "gamma"};
}

status workload_args_arrivals(workload_args *a, const char *kind, errbuf *eb) {
    PRE(a);
    PRE(kind);
    static const struct {
        const char *name;
        arrivals_kind kind;
        bool rescale;
    } names[] = {{"gamma", ARRIVALS_GAMMA, false},        {"constant", ARRIVALS_CONSTANT, false},
                 {"linear", ARRIVALS_RAMP_LINEAR, false}, {"exponential", ARRIVALS_RAMP_EXPONENTIAL, false},
                 {"trace", ARRIVALS_TRACE, false},        {"vllm", ARRIVALS_GAMMA, true}};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(names[i].name, kind) != 0) continue;
        a->arrivals.kind = names[i].kind;
        a->rescale = names[i].rescale;
        a->arrivals_name = names[i].name;
        return ST_OK;
    }
    return errf(eb, ST_INVALID, "'%s' is none of gamma, constant, linear, exponential, trace, vllm", kind);
}

status workload_args_endless(const workload_args *a, errbuf *eb) {
    PRE(a);
    if (a->arrivals.kind == ARRIVALS_RAMP_LINEAR || a->arrivals.kind == ARRIVALS_RAMP_EXPONENTIAL ||
        a->rescale)
        return errf(eb, ST_INVALID, "--arrivals %s has an end: want gamma, constant or trace",
                    a->arrivals_name);
    if (a->arrivals.kind == ARRIVALS_TRACE && a->options.kind != WORKLOAD_TRACE)
        return errf(eb, ST_INVALID, "--arrivals trace needs a --workload that is a file");
    return ST_OK;
}

status workload_args_limits(slo *limits, const char *text, errbuf *eb) {
    PRE(limits);
    PRE(text);
    const workload_slo *preset = workload_slo_named(text);
    if (!preset) return slo_parse(limits, text, eb);
    snprintf(limits->name, sizeof limits->name, "%s", preset->name);
    limits->ttft_ms = preset->ttft_s * 1000;
    limits->tpot_ms = preset->tpot_s * 1000;
    return ST_OK;
}
