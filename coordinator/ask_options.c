/* ask_options - the command line of baton-ask. */
#include "coordinator/ask_options.h"

#include "base/status.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *argp_program_version = "baton-ask " BATON_VERSION;
error_t argp_err_exit_status = 2;

#define SECONDS_MAX 86400.0
enum {
    OPT_TEMPERATURE = 1000,
    OPT_TOP_P,
    OPT_TOP_K,
    OPT_MIN_P,
    OPT_SEED,
    OPT_MAX_TOKENS,
    OPT_STOP,
    OPT_IGNORE_EOS,
    OPT_IDS,
    OPT_LOGPROBS,
    OPT_STATS,
    OPT_TIMEOUT,
    OPT_DEADLINE,
    OPT_MODEL,
    OPT_RAW,
    OPT_JSON,
    OPT_SHOW_IDS
};

static double number(struct argp_state *state, const char *name, const char *arg) {
    char *end = NULL;
    double v = strtod(arg, &end);
    if (end == arg || *end || !isfinite(v)) argp_error(state, "--%s: '%s' is no number", name, arg);
    return v;
}

static double seconds(struct argp_state *state, const char *name, const char *arg) {
    double v = number(state, name, arg);
    if (!(v > 0 && v <= SECONDS_MAX))
        argp_error(state, "--%s: want more than 0 and at most %.0f s", name, SECONDS_MAX);
    return v;
}

static int64_t whole(struct argp_state *state, const char *name, const char *arg, int64_t min, int64_t max) {
    char *end = NULL;
    errno = 0;
    long long v = strtoll(arg, &end, 10);
    if (end == arg || *end || errno || v < min || v > max)
        argp_error(state, "--%s: '%s' is no whole number of %" PRId64 " to %" PRId64, name, arg, min, max);
    return v;
}

static void parse_ids(ask_options *o, struct argp_state *state, const char *arg) {
    while (*arg) {
        char *end = NULL;
        long id = strtol(arg, &end, 10);
        if (end == arg || id < 0 || id > INT32_MAX || (*end && *end != ','))
            argp_error(state, "--ids: '%s' is no list of token ids like 1,2,3", arg);
        o->ids = xrealloc(o->ids, o->id_count + 1, sizeof *o->ids);
        o->ids[o->id_count++] = (int32_t)id;
        arg = *end ? end + 1 : end;
    }
}

static void add_word(ask_options *o, const char *word) {
    if (o->question.len) buf_adds(&o->question, " ");
    buf_adds(&o->question, word);
}

/* How the answer is drawn: fields of the request. */
static error_t parse_sampling(int key, char *arg, struct argp_state *state) {
    ask_options *o = state->input;
    Baton__ClientRequest *r = &o->request;
    switch (key) {
    case 'n':
        r->has_n = true;
        r->n = (uint32_t)whole(state, "n", arg, 1, ASK_CHOICES_MAX);
        return 0;
    case OPT_MODEL:
        r->model = arg;
        return 0;
    case OPT_TEMPERATURE:
        r->has_temperature = true;
        r->temperature = (float)number(state, "temperature", arg);
        return 0;
    case OPT_TOP_P:
        r->has_top_p = true;
        r->top_p = (float)number(state, "top-p", arg);
        return 0;
    case OPT_TOP_K:
        r->has_top_k = true;
        r->top_k = (int32_t)whole(state, "top-k", arg, -1, INT32_MAX);
        return 0;
    case OPT_MIN_P:
        r->has_min_p = true;
        r->min_p = (float)number(state, "min-p", arg);
        return 0;
    case OPT_SEED:
        r->has_seed = true;
        r->seed = (uint64_t)whole(state, "seed", arg, INT64_MIN, INT64_MAX);
        return 0;
    case OPT_MAX_TOKENS:
        r->has_max_tokens = true;
        r->max_tokens = (uint32_t)whole(state, "max-tokens", arg, 1, UINT32_MAX);
        return 0;
    case OPT_LOGPROBS:
        r->has_logprobs = true;
        r->logprobs = (int32_t)whole(state, "logprobs", arg, 0, INT32_MAX);
        return 0;
    case OPT_IGNORE_EOS:
        r->has_ignore_eos = true;
        r->ignore_eos = true;
        return 0;
    case OPT_STOP:
        if (r->n_stop == ASK_STOPS_MAX) argp_error(state, "more than %d --stop", ASK_STOPS_MAX);
        o->stops[r->n_stop++] = (ProtobufCBinaryData){.len = strlen(arg), .data = (uint8_t *)arg};
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    ask_options *o = state->input;
    switch (key) {
    case 'e':
        o->endpoint = arg;
        return 0;
    case 'k':
        o->key_file = arg;
        return 0;
    case 'c':
        o->chat = true;
        return 0;
    case 's':
        o->system = arg;
        return 0;
    case OPT_RAW:
        o->raw = true;
        return 0;
    case OPT_JSON:
        o->json = true;
        return 0;
    case OPT_IDS:
        parse_ids(o, state, arg);
        return 0;
    case OPT_SHOW_IDS:
        o->show_ids = true;
        return 0;
    case OPT_STATS:
        o->stats = true;
        return 0;
    case OPT_TIMEOUT:
        o->timeout_s = seconds(state, "timeout", arg);
        return 0;
    case OPT_DEADLINE:
        o->deadline_s = seconds(state, "deadline", arg);
        return 0;
    case ARGP_KEY_ARG:
        add_word(o, arg);
        return 0;
    case ARGP_KEY_END:
        if (o->chat && (o->raw || o->id_count))
            argp_error(state, "a --chat has a template: it goes without --raw and --ids");
        if (o->system && (o->raw || o->id_count))
            argp_error(state, "--raw and --ids have no --system message");
        if (o->chat && o->request.n > 1) argp_error(state, "a --chat goes on with one answer: leave out -n");
        if (o->id_count && o->question.len) argp_error(state, "want a question or --ids, not both");
        return 0;
    default:
        return parse_sampling(key, arg, state);
    }
}

static const struct argp_option options[] = {
    {"endpoint", 'e', "ENDPOINT", 0, "cluster.client of the config (default tcp://127.0.0.1:8002)", 0},
    {"key", 'k', "FILE", 0, "client.key of the cluster, where its native socket wants one", 0},
    {"chat", 'c', NULL, 0, "A conversation: every line is a question; /help tells the rest", 0},
    {"system", 's', "TEXT", 0, "A system message before the question", 0},
    {"raw", OPT_RAW, NULL, 0, "Go on with QUESTION as it is, without the model's chat template", 0},
    {"n", 'n', "N", 0, "Answers to generate", 0},
    {"choices", 0, NULL, OPTION_ALIAS | OPTION_HIDDEN, NULL, 0},
    {"model", OPT_MODEL, "NAME", 0, "Fail unless this model is served", 0},
    {"temperature", OPT_TEMPERATURE, "T", 0, "0 = always the most likely token", 0},
    {"top-p", OPT_TOP_P, "P", 0, NULL, 0},
    {"top-k", OPT_TOP_K, "K", 0, NULL, 0},
    {"min-p", OPT_MIN_P, "P", 0, NULL, 0},
    {"seed", OPT_SEED, "SEED", 0, "The same seed gives the same answer", 0},
    {"max-tokens", OPT_MAX_TOKENS, "N", 0, "Default: what the context has room for; with --raw 16", 0},
    {"stop", OPT_STOP, "TEXT", 0, "End before this text; may be repeated", 0},
    {"ignore-eos", OPT_IGNORE_EOS, NULL, 0, "Go on to max-tokens", 0},
    {"ids", OPT_IDS, "1,2,3", 0, "Token ids instead of QUESTION", 0},
    {"logprobs", OPT_LOGPROBS, "N", 0,
     "Each token's log-probability and the N best: to stderr, or in the JSON", 0},
    {"show-ids", OPT_SHOW_IDS, NULL, 0, "Write token ids to stdout instead of text", 0},
    {"stats", OPT_STATS, NULL, 0, "Write tokens, times and stages to stderr after the answer", 0},
    {"timings", 0, NULL, OPTION_ALIAS | OPTION_HIDDEN, NULL, 0},
    {"json", OPT_JSON, NULL, 0, "Each answer as one line of JSON, with its stats", 0},
    {"timeout", OPT_TIMEOUT, "SECONDS", 0,
     "Give up after so long without a sign of the coordinator (default 10)", 0},
    {"deadline", OPT_DEADLINE, "SECONDS", 0, "Stop an answer that takes longer", 0},
    {0}};

static bool is_dash(const buf *b) {
    return b->len == 1 && b->data[0] == '-';
}

static void read_input(ask_options *o) {
    buf_reset(&o->question);
    char bytes[65536];
    size_t n;
    while ((n = fread(bytes, 1, sizeof bytes, stdin)) > 0 && o->question.len <= ASK_INPUT_MAX)
        buf_add(&o->question, bytes, n);
    const char *wrong = NULL;
    if (ferror(stdin)) wrong = strerror(errno);
    if (o->question.len > ASK_INPUT_MAX) wrong = "more than 16 MiB";
    if (o->question.len == 0) wrong = "no question: give it as arguments, on standard input, or as --ids";
    if (!wrong) return;
    fprintf(stderr, "baton-ask: standard input: %s\n", wrong);
    exit(argp_err_exit_status);
}

void ask_options_read(ask_options *o, int argc, char **argv) {
    PRE(o);
    PRE(argv);
    static const struct argp argp = {
        options,
        parse_option,
        "[QUESTION... | -]",
        "Asks a Baton cluster over its native socket and writes the answer as it comes. The question is read "
        "from standard input when there is none or -.",
        0,
        0,
        0};
    *o = (ask_options){.endpoint = "tcp://127.0.0.1:8002", .timeout_s = 10};
    baton__client_request__init(&o->request);
    argp_parse(&argp, argc, argv, 0, NULL, o);
    o->request.stop = o->stops;
    bool given = o->id_count || (o->question.len && !is_dash(&o->question));
    if (!given && !o->chat) read_input(o);
    if (!given && o->chat) buf_reset(&o->question);
}

void ask_options_done(ask_options *o) {
    PRE(o);
    buf_done(&o->question);
    free(o->ids);
    *o = (ask_options){0};
}
