#include "planner/distserve/distserve_main.h"

#include "base/arg_value.h"
#include "base/mem.h"
#include "bench/workload/workload_args.h"
#include "planner/distserve/dist_fleet.h"
#include "planner/distserve/dist_table.h"
#include "planner/judge/judge.h"
#include "planner/judge/pool.h"
#include "planner/profile/profile_file.h"

#include <argp.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_REFUSED = 2, EXIT_INFEASIBLE = 3 };

enum {
    OPT_ALGORITHM = 3000,
    OPT_NODES,
    OPT_PER_NODE,
    OPT_MODEL,
    OPT_PROFILE,
    OPT_SLO,
    OPT_TARGET,
    OPT_REQUESTS,
    OPT_MAX_RATE,
    OPT_RATE_STEP,
    OPT_LINK,
    OPT_OWN_ONLY,
    OPT_PLACEMENT,
    OPT_RATE,
    OPT_THREADS,
    OPT_FORMAT
};

static const struct argp_option flags[] = {
    {"algorithm", OPT_ALGORITHM, "1|2|vllm", 0,
     "1: fast links between nodes (default); 2: KV moves within a node; vllm: workers that do both", 1},
    {"nodes", OPT_NODES, "N", 0, "Default 1", 1},
    {"gpus-per-node", OPT_PER_NODE, "N", 0, "Default 8", 1},
    {"model", OPT_MODEL, "NAME", 0, "facebook/opt-13b (default), facebook/opt-66b or facebook/opt-175b", 1},
    {"profile", OPT_PROFILE, "FILE", 0, "DistServe's profile: its engine's, or vLLM's. Required", 1},
    {"slo", OPT_SLO, "ttft:MS,tpot:MS", 0, "Limits, or a preset like chatbot-opt-13b. Required", 1},
    {"target", OPT_TARGET, "PERCENT", 0, "Of all requests, within the limits; default 90", 1},
    {"requests", OPT_REQUESTS, "N", 0, "Of DistServe's answer; default 300", 1},
    {"max-rate", OPT_MAX_RATE, "R", 0, "It searches up to so many requests/s/GPU; default 5", 1},
    {"rate-step", OPT_RATE_STEP, "R", 0, "And down to so few between two; default 0.25", 1},
    {"link", OPT_LINK, "GB/S", 0,
     "Of a hand-off under our policies; default: KV moves in no time, as DistServe has it", 1},
    {"distserve-only", OPT_OWN_ONLY, NULL, 0, "Its answer alone, nothing at steady state", 1},
    {"threads", OPT_THREADS, "N", 0, "Default: as many as cores. The answer is the same", 1},
    {"format", OPT_FORMAT, "KIND", 0, "text (default), json or csv", 1},
    {NULL, 0, NULL, 0, "One run of its simulator, with the latencies of its requests:", 3},
    {"placement", OPT_PLACEMENT, "TP,PP,TP,PP", 0, "Of prefill and of decode; TP,PP: both in one", 3},
    {"rate", OPT_RATE, "R", 0, "Requests per second", 3},
    {0}};

typedef enum format { FORMAT_TEXT, FORMAT_JSON, FORMAT_CSV } format;

typedef struct app {
    workload_args ask;
    dist_algorithm algorithm;
    uint32_t nodes, per_node, threads;
    const char *model, *profile_path;
    double link_bytes_per_s, rate;
    bool own_only, one_run;
    dist_config one;
    format format;
    dist_case asked;
    profile_distserve data;
    profile *profile;
    workload *load;
} app;

/* ---- options ---- */

/* Index of arg among the names. */
static size_t one_of(struct argp_state *state, const char *name, const char *arg, const char *const *names,
                     size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(arg, names[i]) == 0) return i;
    argp_error(state, "--%s: '%s' is none of %s, %s, %s", name, arg, names[0], names[1], names[2]);
    return 0;
}

static void take_placement(struct argp_state *state, app *a, const char *arg) {
    dist_config *c = &a->one;
    char rest;
    *c = (dist_config){.cross = 1};
    int n =
        sscanf(arg, "%4u,%4u,%4u,%4u%c", &c->prefill_tp, &c->prefill_pp, &c->decode_tp, &c->decode_pp, &rest);
    c->colocated = n == 2 && sscanf(arg, "%4u,%4u%c", &c->prefill_tp, &c->prefill_pp, &rest) == 2;
    bool good = (n == 4 && c->decode_tp && c->decode_pp) || c->colocated;
    if (!good || !c->prefill_tp || !c->prefill_pp)
        argp_error(state, "--placement: '%s': want four numbers from 1, such as 1,1,2,1, or two", arg);
    a->one_run = true;
}

static bool take_number(int key, char *arg, struct argp_state *state, app *a) {
    switch (key) {
    case OPT_NODES:
        a->nodes = (uint32_t)arg_whole(state, "nodes", arg, 1, DIST_GPUS_MAX);
        return true;
    case OPT_PER_NODE:
        a->per_node = (uint32_t)arg_whole(state, "gpus-per-node", arg, 1, DIST_GPUS_MAX);
        return true;
    case OPT_TARGET:
        a->asked.target = arg_number(state, "target", arg, 1, 99.9) / 100;
        return true;
    case OPT_REQUESTS:
        a->asked.requests = (uint32_t)arg_whole(state, "requests", arg, 1, 1000000);
        return true;
    case OPT_MAX_RATE:
        a->asked.rate_max = arg_number(state, "max-rate", arg, 1e-3, 1e6);
        return true;
    case OPT_RATE_STEP:
        a->asked.rate_step = arg_number(state, "rate-step", arg, 1e-6, 1e6);
        return true;
    case OPT_LINK:
        a->link_bytes_per_s = 1e9 * arg_number(state, "link", arg, 1e-6, 1e6);
        return true;
    case OPT_RATE:
        a->rate = arg_number(state, "rate", arg, 1e-6, 1e9);
        return true;
    case OPT_THREADS:
        a->threads = (uint32_t)arg_whole(state, "threads", arg, 1, JUDGE_POOL_THREADS_MAX);
        return true;
    default:
        return false;
    }
}

static void check(struct argp_state *state, const app *a) {
    if (!a->profile_path) argp_error(state, "--profile is missing: a profile of DistServe's simulator");
    if ((uint64_t)a->nodes * a->per_node > DIST_GPUS_MAX)
        argp_error(state, "%u nodes of %u GPUs: want at most %u GPUs", a->nodes, a->per_node, DIST_GPUS_MAX);
    if (a->ask.seed > UINT32_MAX)
        argp_error(state, "--seed: DistServe's generator takes 0 to %u", UINT32_MAX);
    if (a->ask.arrivals.kind != ARRIVALS_GAMMA || a->ask.arrivals.burstiness != 1 || a->ask.rescale)
        argp_error(state, "DistServe's arrivals are Poisson: leave --arrivals and --burstiness out");
    const slo *l = &a->asked.limits;
    if (a->one_run != (a->rate > 0)) argp_error(state, "--placement and --rate go together");
    if (a->one_run) return;
    if (isinf(l->ttft_ms) || isinf(l->tpot_ms))
        argp_error(state, "--slo is missing a limit: want both, such as --slo ttft:250,tpot:100");
    if (isfinite(l->itl_p99_ms) || isfinite(l->itl_max_ms) || isfinite(l->e2e_ms))
        argp_error(state, "--slo: DistServe knows ttft and tpot alone");
}

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    static const char *const algorithms[] = {"1", "2", "vllm"}, *const formats[] = {"text", "json", "csv"};
    app *a = state->input;
    errbuf eb = {0};
    if (take_number(key, arg, state, a)) return 0;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->ask;
        return 0;
    case OPT_ALGORITHM:
        a->algorithm = (dist_algorithm)(1 + one_of(state, "algorithm", arg, algorithms, 3));
        return 0;
    case OPT_FORMAT:
        a->format = (format)one_of(state, "format", arg, formats, 3);
        return 0;
    case OPT_MODEL:
        a->model = arg;
        return 0;
    case OPT_PROFILE:
        a->profile_path = arg;
        return 0;
    case OPT_OWN_ONLY:
        a->own_only = true;
        return 0;
    case OPT_PLACEMENT:
        take_placement(state, a, arg);
        return 0;
    case OPT_SLO:
        if (workload_args_limits(&a->asked.limits, arg, &eb) != ST_OK)
            argp_error(state, "--slo: %s", eb.text);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is too much: there are options alone", arg);
        return 0;
    case ARGP_KEY_END:
        check(state, a);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void parse(app *a, int argc, char **argv) {
    static const struct argp_child children[] = {{&workload_argp, 0, "What is asked:", 2}, {0}};
    static const struct argp argp = {
        flags,
        parse_option,
        "",
        "Answers as the simulator of DistServe (Zhong et al., OSDI 2024) does, on its own assumptions and "
        "its "
        "published profiles, and shows beside it what its simulator, and this cluster's policies, say at "
        "steady state."
        "\vExit status: 0 answered, 1 failed, 2 wrong usage or input, 3 no placement can serve the workload "
        "within the limits.",
        children,
        NULL,
        NULL};
    char name[] = "baton-plan distserve";
    char *first = argv[0];
    argv[0] = name; /* for usage and errors */
    argp_err_exit_status = EXIT_REFUSED;
    argp_parse(&argp, argc, argv, 0, NULL, a);
    argv[0] = first;
}

/* ---- one run ---- */

static void add_percentiles(json_t *j, const char *name, double *x, uint32_t n) {
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += x[i];
    stats_sort(x, n);
    json_object_set_new(j, name,
                        json_pack("{s:f, s:f, s:f, s:f, s:f}", "mean", sum / n, "p50",
                                  stats_percentile(x, n, 50), "p90", stats_percentile(x, n, 90), "p99",
                                  stats_percentile(x, n, 99), "max", x[n - 1]));
}

static void print_json(json_t *j) {
    char *text = json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    puts(text);
    free(text);
    json_decref(j);
}

static status one_run(const app *a, errbuf *eb) {
    const dist_case *c = &a->asked;
    char why[160];
    dist_options opt;
    if (!dist_case_options(&opt, c, &a->one, why, sizeof why)) return errf(eb, ST_INVALID, "%s", why);
    uint32_t n = c->requests;
    dist_request *requests = xcalloc(n, sizeof *requests);
    dist_latency *latencies = xcalloc(n, sizeof *latencies);
    dist_case_requests(requests, n, c, a->rate);
    status st = dist_sim_run(latencies, requests, n, &opt, eb);
    if (st == ST_OK) {
        char name[64];
        double *x = xcalloc(n, sizeof *x);
        json_t *j =
            json_pack("{s:s, s:s, s:I, s:s, s:s, s:f, s:i}", "version", BATON_VERSION, "profile_hash",
                      a->profile->hash, "seed", (json_int_t)c->seed, "model", c->model->name, "placement",
                      dist_config_text(&a->one, name, sizeof name), "rate", a->rate, "requests", (int)n);
        for (uint32_t i = 0; i < n; i++) x[i] = latencies[i].ttft_ms;
        add_percentiles(j, "ttft_ms", x, n);
        for (uint32_t i = 0; i < n; i++) x[i] = latencies[i].tpot_ms;
        add_percentiles(j, "tpot_ms", x, n);
        print_json(j);
        free(x);
    }
    free(requests);
    free(latencies);
    return st;
}

/* ---- the search ---- */

typedef struct job {
    const app *app;
    dist_row *rows;
} job;

static status judge_fleet(const app *a, dist_row *r, errbuf *eb) {
    const arrivals_options poisson = {.kind = ARRIVALS_GAMMA, .burstiness = 1};
    fleet_placement placement = dist_fleet_placement(&r->config, a->asked.model);
    judge_case c = {.profile = a->profile,
                    .placement = &placement,
                    .load = a->load,
                    .arrivals = &poisson,
                    .limits = a->asked.limits,
                    .extrapolate = true}; /* as DistServe does */
    judge_rules rules = judge_rules_default();
    rules.target = a->asked.target;
    rules.resolution = a->asked.resolution;
    rules.first_seed = a->asked.seed + 1ull;
    judge_goodput *g = xcalloc(1, sizeof *g);
    status st = judge_search(g, &c, &rules, eb);
    if (st == ST_OK) {
        r->fleet = g->result;
        r->fleet_infeasible = g->infeasible;
        snprintf(r->limit, sizeof r->limit, "%s", g->why);
    }
    free(g);
    return st;
}

/* What the simulation refuses is a reason to reject the placement, not an error. */
static status search_one(void *ctx, uint32_t index, errbuf *eb) {
    job *j = ctx;
    dist_row *r = &j->rows[index];
    const dist_case *c = &j->app->asked;
    dist_options opt;
    errbuf own = {0};
    if (!dist_case_options(&opt, c, &r->config, r->why, sizeof r->why)) return ST_OK;
    status st = dist_search_own(&r->own, c, &r->config, &opt, &own);
    if (st == ST_OK && !j->app->own_only) st = dist_search_steady(&r->steady, c, &r->config, &opt, &own);
    if (st == ST_OK && !j->app->own_only) st = judge_fleet(j->app, r, &own);
    if (st == ST_INVALID) {
        snprintf(r->why, sizeof r->why, "%.199s", own.text);
        return ST_OK;
    }
    return st == ST_OK ? ST_OK : errf(eb, st, "%s", own.text);
}

static void print(const app *a, const dist_table *t) {
    buf b = {0};
    if (a->format == FORMAT_JSON) {
        print_json(dist_table_json(t));
        return;
    }
    if (a->format == FORMAT_CSV)
        dist_table_csv(t, &b);
    else
        dist_table_text(t, &b);
    fputs(b.data, stdout);
    buf_done(&b);
}

static status search(const app *a, bool *found, errbuf *eb) {
    static const char *const titles[] = {NULL, "Algorithm 1", "Algorithm 2", "vLLM"};
    dist_config *configs;
    dist_table t = {.title = titles[a->algorithm],
                    .workload = a->ask.name,
                    .profile_hash = a->profile->hash,
                    .asked = &a->asked,
                    .link_bytes_per_s = a->link_bytes_per_s,
                    .gpus = a->nodes * a->per_node,
                    .ways = {true, !a->own_only, !a->own_only}};
    dist_configs_list(&configs, &t.count, a->asked.model, a->algorithm, a->nodes, a->per_node);
    t.rows = xcalloc(t.count + 1u, sizeof *t.rows);
    for (uint32_t i = 0; i < t.count; i++) t.rows[i].config = configs[i];
    free(configs);
    job j = {a, t.rows};
    status st = judge_pool(a->threads, t.count, search_one, &j, eb);
    if (st == ST_OK) {
        for (size_t w = 0; w < DIST_WAYS; w++)
            if (t.ways[w] && dist_table_best(&t, (dist_way)w) != DIST_NOBODY) *found = true;
        print(a, &t);
    }
    free(t.rows);
    return st;
}

/* ---- the whole ---- */

static status load(app *a, errbuf *eb) {
    dist_case *c = &a->asked;
    const profile_read_options read = {0};
    profile_read_options of_model = read;
    status st = dist_model_find(&c->model, a->model, eb);
    if (st != ST_OK) return st;
    of_model.model = c->model->name;
    st = profile_distserve_read(&a->data, a->profile_path, eb);
    if (st == ST_OK) st = profile_read(&a->profile, a->profile_path, &of_model, eb);
    if (st == ST_IO) st = ST_INVALID; /* no such file: an answer for who named it, as in the other commands */
    if (st == ST_OK) st = workload_new(&a->load, &a->ask.options, eb);
    if (st != ST_OK) return st;
    dist_fleet_profile(a->profile, c->model, a->link_bytes_per_s);
    c->data = &a->data;
    c->load = a->load;
    c->seed = (uint32_t)a->ask.seed;
    return ST_OK;
}

int distserve_main(int argc, char **argv) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    app a = {.ask = workload_args_default(),
             .algorithm = DIST_HIGH_AFFINITY,
             .nodes = 1,
             .per_node = 8,
             .threads = (uint32_t)MIN(MAX(cores, 1), (long)JUDGE_POOL_THREADS_MAX),
             .model = "facebook/opt-13b",
             .link_bytes_per_s = INFINITY,
             .asked = {.limits = slo_none(),
                       .target = 0.9,
                       .requests = 300,
                       .rate_max = 5,
                       .rate_step = 0.25,
                       .window_requests = 3000,
                       .resolution = 0.05}};
    errbuf eb = {0};
    bool found = false;
    parse(&a, argc, argv);
    status st = load(&a, &eb);
    if (st == ST_OK) st = a.one_run ? one_run(&a, &eb) : search(&a, &found, &eb);
    if (st != ST_OK) fprintf(stderr, "baton-plan distserve: %s\n", eb.text);
    workload_free(a.load);
    profile_free(a.profile);
    profile_distserve_done(&a.data);
    if (st != ST_OK) return st == ST_INVALID ? EXIT_REFUSED : EXIT_FAILED;
    return a.one_run || found ? EXIT_DONE : EXIT_INFEASIBLE;
}
