#include "planner/search/search_main.h"

#include "base/arg_value.h"
#include "base/mem.h"
#include "bench/workload/workload_args.h"
#include "config/latency_file.h"
#include "planner/judge/pool.h"
#include "planner/replay/cluster_args.h"
#include "planner/search/plan_figures.h"
#include "planner/search/plan_text.h"
#include "planner/search/winner_config.h"

#include <argp.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    OPT_DEVICES = 2000,
    OPT_SLO,
    OPT_TARGET,
    OPT_RATE,
    OPT_THREADS,
    OPT_FORMAT,
    OPT_OUT,
    OPT_CONFIG,
    OPT_KV_PAGES,
    OPT_MAX_SEQS,
    OPT_HEADS,
    OPT_PER_INSTANCE,
    OPT_ONE_HOST,
    OPT_QUICK,
    OPT_NO_SENSITIVITY,
    OPT_QUIET
};

static const struct argp_option flags[] = {
    {"devices", OPT_DEVICES, "N", 0, "Placements on up to so many: 1 to 10000", 1},
    {"slo", OPT_SLO, "K:MS,...", 0,
     "Limits: ttft, tpot, itl_p99, itl_max, e2e in ms, or a preset like chatbot-opt-13b; may be repeated", 1},
    {"target", OPT_TARGET, "PERCENT", 0, "Of all requests, within all limits; default 90", 1},
    {"rate", OPT_RATE, "R", 0, "Also tell the fewest devices that serve so many requests per second", 1},
    {"kv-pages", OPT_KV_PAGES, "N", 0, "KV pages (of 16 tokens) of a worker; default: what was measured", 1},
    {"max-seqs", OPT_MAX_SEQS, "N", 0, "Largest batch; default: the profile's, else 256", 1},
    {"heads", OPT_HEADS, "N", 0, "KV heads of the model: tp must divide them", 1},
    {"max-devices-per-instance", OPT_PER_INSTANCE, "N", 0, "No larger tp x pp", 1},
    {"one-host", OPT_ONE_HOST, NULL, 0, "All workers share one host: the profile's slowdowns apply", 1},
    {"quick", OPT_QUICK, NULL, 0, "Fewer budgets and chunks, wider intervals", 1},
    {"threads", OPT_THREADS, "N", 0, "Default: as many as cores. The answer is the same", 1},

    {NULL, 0, NULL, 0, "What comes out:", 3},
    {"format", OPT_FORMAT, "KIND", 0, "text (default), json or csv", 3},
    {"output", 'o', "DIR", 0, "Write result.json, table.csv, figures and winner.yaml for deploy/up.sh", 3},
    {"config", OPT_CONFIG, "FILE", 0,
     "The config that winner.yaml starts from; default: mock workers that take about as long as the profile "
     "says (three coefficients)",
     3},
    {"no-sensitivity", OPT_NO_SENSITIVITY, NULL, 0,
     "Do not ask what the answer hangs on, nor pair the two best by seeds", 3},
    {"quiet", OPT_QUIET, NULL, 0, "No progress lines", 3},
    {0}};

typedef enum format { FORMAT_TEXT, FORMAT_JSON, FORMAT_CSV } format;

typedef struct app {
    workload_args ask;
    plan_input in;
    cluster_args from;
    const char *out, *config;
    format format;
    bool limited, quiet, no_sensitivity;
    profile *profile;
    workload *work;
} app;

/* ---- options ---- */

static void take_format(struct argp_state *state, app *a, const char *arg) {
    static const char *const names[] = {[FORMAT_TEXT] = "text", [FORMAT_JSON] = "json", [FORMAT_CSV] = "csv"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(arg, names[i]) != 0) continue;
        a->format = (format)i;
        return;
    }
    argp_error(state, "--format: '%s' is none of text, json, csv", arg);
}

static bool take_number(int key, char *arg, struct argp_state *state, plan_input *in) {
    static const struct {
        int key;
        const char *name;
        uint32_t max;
    } names[] = {{OPT_DEVICES, "devices", CANDIDATES_DEVICES_MAX},
                 {OPT_THREADS, "threads", JUDGE_POOL_THREADS_MAX},
                 {OPT_KV_PAGES, "kv-pages", 1u << 24},
                 {OPT_MAX_SEQS, "max-seqs", 4096},
                 {OPT_HEADS, "heads", 65536},
                 {OPT_PER_INSTANCE, "max-devices-per-instance", CANDIDATES_DEVICES_MAX}};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (names[i].key != key) continue;
        uint32_t v = (uint32_t)arg_whole(state, names[i].name, arg, 1, names[i].max);
        if (key == OPT_DEVICES) in->devices = v;
        if (key == OPT_THREADS) in->threads = v;
        if (key == OPT_KV_PAGES) in->kv_pages = v;
        if (key == OPT_MAX_SEQS) in->max_seqs = v;
        if (key == OPT_HEADS) in->heads = v;
        if (key == OPT_PER_INSTANCE) in->devices_per_instance_max = v;
        return true;
    }
    return false;
}

static void check(struct argp_state *state, app *a) {
    errbuf eb = {0};
    if (!a->in.devices) argp_error(state, "--devices is missing: how many are there?");
    if (!a->limited) argp_error(state, "--slo is missing, such as --slo ttft:200,tpot:50");
    if (workload_args_endless(&a->ask, &eb) != ST_OK) argp_error(state, "%s", eb.text);
}

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    app *a = state->input;
    errbuf eb = {0};
    if (take_number(key, arg, state, &a->in)) return 0;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->from;
        state->child_inputs[1] = &a->ask;
        return 0;
    case OPT_SLO:
        a->limited = true;
        if (workload_args_limits(&a->in.limits, arg, &eb) != ST_OK) argp_error(state, "--slo: %s", eb.text);
        return 0;
    case OPT_TARGET:
        a->in.target = arg_number(state, "target", arg, 1, 99.9) / 100;
        return 0;
    case OPT_RATE:
        a->in.rate = arg_number(state, "rate", arg, 1e-6, 1e9);
        return 0;
    case OPT_ONE_HOST:
        a->in.one_host = true;
        return 0;
    case OPT_QUICK:
        a->in.quick = true;
        return 0;
    case OPT_NO_SENSITIVITY:
        a->no_sensitivity = true;
        return 0;
    case OPT_QUIET:
        a->quiet = true;
        return 0;
    case OPT_FORMAT:
        take_format(state, a, arg);
        return 0;
    case OPT_CONFIG:
        a->config = arg;
        return 0;
    case 'o':
        a->out = arg;
        return 0;
    case ARGP_KEY_END:
        check(state, a);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void parse(app *a, int argc, char **argv) {
    static const struct argp_child children[] = {
        {&cluster_argp, 0, "The engine:", 1}, {&workload_argp, 0, "What is asked:", 2}, {0}};
    static const struct argp argp = {
        flags,
        parse_option,
        "",
        "Simulates placements of prefill and decode workers, and of workers that do both, and tells which "
        "has "
        "the highest goodput per device: the highest rate at which the target's share of all requests keeps "
        "all limits."
        "\vExit status: 0 answered, 1 failed, 2 wrong usage or input, 3 no placement can serve the workload "
        "within the limits, 4 the profile's error is above --profile-error.",
        children,
        NULL,
        NULL};
    char name[] = "baton-plan search";
    char *first = argv[0];
    argv[0] = name; /* for usage and errors */
    argp_err_exit_status = PLAN_REFUSED;
    argp_parse(&argp, argc, argv, 0, NULL, a);
    argv[0] = first;
}

/* ---- what comes out ---- */

static void progress(const char *text) {
    fprintf(stderr, "%s\n", text);
}

static status write_file(const char *dir, const char *name, const char *text, errbuf *eb) {
    char *path = xasprintf("%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    status st = f && fputs(text, f) >= 0 ? ST_OK : errf(eb, ST_IO, "%s: %m", path);
    if (f && fclose(f) != 0 && st == ST_OK) st = errf(eb, ST_IO, "%s: %m", path);
    free(path);
    return st;
}

static char *json_text(const plan_report *r) {
    json_t *j = plan_json(r);
    char *text = json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    json_decref(j);
    return text;
}

/* The one that was asked for: of the fewest devices for a rate, or of the highest goodput per device. */
static fleet_placement winner_of(const plan_report *r) {
    const plan_outcome *o = r->found;
    uint32_t devices = r->in->devices, at = o->best;
    if (r->in->rate > 0) {
        uint32_t least, fewest = plan_fewest(o, r->in->rate, &least);
        if (fewest != PLAN_NOBODY && least <= devices) {
            at = fewest;
            devices = least;
        }
    }
    const fleet_placement *p = &o->list.items[at].placement;
    bool repeated = o->ratios && (at != o->best || at >= o->full_from);
    return repeated ? candidates_scale(p, MAX(devices, fleet_placement_devices(p))) : *p;
}

/* Mock workers that take as long as the profile says, where no config is given to start from. */
static status write_latency(const app *a, const fleet_placement *p, char **path, errbuf *eb) {
    latency_model unused;
    *path = NULL;
    if (latency_file_find(a->from.path, &unused, NULL) == ST_OK) {
        *path = xstrdup(a->from.path);
        return ST_OK;
    }
    char *text = winner_latency(a->profile, p);
    status st = write_file(a->out, "latency.yaml", text, eb);
    free(text);
    if (st == ST_OK) *path = xasprintf("%s/latency.yaml", a->out);
    return st;
}

/* That a rate was asked for which no placement serves. */
static bool is_short(const plan_report *r) {
    uint32_t least;
    return r->in->rate > 0 &&
           (plan_fewest(r->found, r->in->rate, &least) == PLAN_NOBODY || least > r->in->devices);
}

static status write_winner(const app *a, const plan_report *r, errbuf *eb) {
    if (r->found->best == PLAN_NOBODY || is_short(r)) return ST_OK;
    fleet_placement p = winner_of(r);
    char *text = NULL, *latency = NULL, note[160];
    status st = a->config ? ST_OK : write_latency(a, &p, &latency, eb);
    if (st == ST_OK)
        st = winner_config(
            &text, &p,
            &(winner_base){
                .path = a->config, .latency = latency, .sets = a->from.sets, .set_count = a->from.set_count},
            note, sizeof note, eb);
    if (st == ST_OK) st = write_file(a->out, "winner.yaml", text, eb);
    if (st == ST_OK && note[0]) fprintf(stderr, "%s/winner.yaml: %s\n", a->out, note);
    free(latency);
    free(text);
    return st;
}

static status write_all(const app *a, const plan_report *r, errbuf *eb) {
    if (mkdir(a->out, 0777) != 0 && errno != EEXIST) return errf(eb, ST_IO, "%s: %m", a->out);
    char *json = json_text(r);
    status st = write_file(a->out, "result.json", json, eb);
    free(json);
    buf csv = {0};
    plan_table_csv(r, &csv);
    if (st == ST_OK) st = write_file(a->out, "table.csv", csv.data, eb);
    buf_done(&csv);
    if (st == ST_OK) st = write_winner(a, r, eb);
    if (st == ST_OK) st = plan_figures(r, a->out, eb);
    return st;
}

static void print_answer(const app *a, const plan_report *r) {
    if (a->format == FORMAT_JSON) {
        char *json = json_text(r);
        puts(json);
        free(json);
        return;
    }
    buf text = {0};
    if (a->format == FORMAT_CSV)
        plan_table_csv(r, &text);
    else
        plan_table_text(r, &text);
    fputs(text.data, stdout);
    buf_done(&text);
}

static int refusal(status st) {
    return st == ST_INVALID ? PLAN_REFUSED : PLAN_FAILED;
}

static int run(app *a, errbuf *eb) {
    int code = cluster_args_read(&a->profile, &a->from, eb);
    if (code != PLAN_DONE) return code;
    status st = workload_new(&a->work, &a->ask.options, eb);
    if (st != ST_OK) return refusal(st);
    a->in.extrapolate = a->from.extrapolate;
    a->in.profile = a->profile;
    a->in.load = a->work;
    a->in.ask = &a->ask.options;
    a->in.arrivals = &a->ask.arrivals;
    a->in.seed = a->ask.seed;
    a->in.max_context = a->profile->max_context;
    a->in.progress = a->quiet ? NULL : progress;
    plan_outcome found;
    st = plan_search(&found, &a->in, eb);
    if (st != ST_OK) return refusal(st);
    sensitivity *hangs_on = NULL;
    const ratio none = {.mean = NAN, .low = NAN, .high = NAN};
    if (!a->no_sensitivity) st = sensitivity_of(&hangs_on, &a->in, &found, eb);
    if (st != ST_OK) {
        plan_done(&found);
        return PLAN_FAILED;
    }
    plan_verdict said =
        plan_verdict_of(&found, &a->in, hangs_on ? hangs_on->paired : none, hangs_on ? hangs_on->flips : "");
    plan_report report = {.in = &a->in,
                          .found = &found,
                          .verdict = &said,
                          .sensitivity = hangs_on,
                          .workload = a->ask.name,
                          .arrivals = a->ask.arrivals_name,
                          .profile_path = a->from.path};
    print_answer(a, &report);
    if (a->out) st = write_all(a, &report, eb);
    bool short_of = is_short(&report);
    plan_done(&found);
    free(hangs_on);
    if (st != ST_OK) return refusal(st);
    return said.answer == ANSWER_INFEASIBLE || short_of ? PLAN_INFEASIBLE : PLAN_DONE;
}

int search_main(int argc, char **argv) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    app a = {.ask = workload_args_default(),
             .from = cluster_args_default(),
             .in = {.limits = slo_none(),
                    .target = 0.9,
                    .threads = (uint32_t)(cores < 1                              ? 1
                                          : cores > (long)JUDGE_POOL_THREADS_MAX ? JUDGE_POOL_THREADS_MAX
                                                                                 : cores)}};
    parse(&a, argc, argv);
    errbuf eb = {0};
    int code = run(&a, &eb);
    if (eb.text[0]) fprintf(stderr, "baton-plan search: %s\n", eb.text);
    workload_free(a.work);
    profile_free(a.profile);
    return code;
}
