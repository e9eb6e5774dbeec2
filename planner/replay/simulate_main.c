#include "planner/replay/simulate_main.h"

#include "bench/experiment/files.h"
#include "coordinator/trace_json.h"
#include "planner/replay/cluster_args.h"
#include "planner/replay/config_placement.h"
#include "planner/replay/simulated_run.h"

#include <argp.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct app {
    serve_options ask; /* as baton-bench serve takes it */
    cluster_args from;
    const char *config_path;

    int argc;
    char **argv; /* as it was written; owned */
    config *config;
    profile *profile;
    fleet_placement placement;
    fleet_options fleet;
    workload *work;
    schedule plan;
} app;

static bool is_limit(const char *arg) {
    slo s = slo_none();
    return slo_parse(&s, arg, NULL) == ST_OK;
}

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    app *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->from;
        state->child_inputs[1] = &a->ask;
        return 0;
    case ARGP_KEY_ARG:
        if (is_limit(arg) || strchr(arg, '=') || a->config_path) return ARGP_ERR_UNKNOWN; /* of --goodput */
        a->config_path = arg;
        return 0;
    case ARGP_KEY_END:
        if (!a->config_path) argp_error(state, "which cluster? give the path of its config");
        if (a->ask.max_concurrency) argp_error(state, "--max-concurrency: only open loops are simulated");
        if (a->ask.warmups)
            argp_error(state, "--num-warmups: a simulated cluster has nothing to warm up; see --warmup");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void parse(app *a, int argc, char **argv) {
    static const struct argp_child children[] = {
        {&cluster_argp, 0, "The cluster:", -1}, {&serve_run_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        NULL,
        parse_option,
        "CONFIG",
        "Sends a workload to the cluster of CONFIG as it is simulated: the same requests at the same times "
        "as "
        "`baton-bench serve` with the same options, and the same table, rows and JSON."
        "\vExit status: 0 simulated, 1 failed, 2 wrong usage, config or profile, 4 the profile's error is "
        "above --profile-error.",
        children,
        NULL,
        NULL};
    a->ask = serve_options_default();
    a->ask.backend = SERVE_NATIVE;
    a->from = cluster_args_default();
    char name[] = "baton-plan simulate";
    char *first = argv[0];
    argv[0] = name;
    argp_err_exit_status = PLAN_REFUSED;
    argp_parse(&argp, argc, argv, 0, NULL, a);
    argv[0] = first;
}

/* ---- before it ---- */

static int failed(const errbuf *eb, status st) {
    fprintf(stderr, "baton-plan simulate: %s\n", eb->text);
    return st == ST_INVALID ? PLAN_REFUSED : PLAN_FAILED;
}

static status make_plan(app *a, errbuf *eb) {
    status st = workload_new(&a->work, &a->ask.ask.options, eb);
    return st == ST_OK ? serve_options_schedule(&a->plan, &a->ask, a->work, eb) : st;
}

static int read_inputs(app *a, errbuf *eb) {
    status st = config_load(&a->config, a->config_path, a->from.sets, a->from.set_count, eb);
    if (st != ST_OK) return PLAN_REFUSED;
    int code = cluster_args_read(&a->profile, &a->from, eb);
    if (code != PLAN_DONE) return code;
    st = config_placement(&a->placement, &a->fleet, a->config, a->profile, eb);
    a->fleet.seed = a->from.noise_seed;
    a->fleet.extrapolate = a->from.extrapolate;
    return st == ST_OK ? PLAN_DONE : PLAN_REFUSED;
}

/* ---- after it ---- */

static status save(const outcome_input *in, const run_info *info, errbuf *eb) {
    if (!in->options->save_result) return ST_OK;
    const char *dir = in->options->result_dir;
    status st = dir ? files_make_dir(dir, eb) : ST_OK;
    if (st != ST_OK) return st;
    char *path = NULL;
    st = outcome_save(in, info, &path, eb);
    free(path);
    return st;
}

static status write_trace(const app *a, const trace *t, errbuf *eb) {
    if (!t) return ST_OK;
    trace_json *j = trace_json_new(t, TRACE_REQUESTS, NULL, 0);
    buf text = {0};
    while (trace_json_next(j, &text)) {
    }
    status st = files_write(a->ask.trace_path, text.data, text.len, eb);
    buf_done(&text);
    trace_json_free(j);
    return st;
}

static status tell(app *a, simulation *s, const trace *t, errbuf *eb) {
    target nobody;
    measurement m;
    validity v;
    fleet_totals totals = s->totals;
    simulated_target(&nobody, a->profile, a->from.noise_seed, "fleet");
    simulated_measurement(&m, &v, s, &a->plan);
    outcome_input in = {.program = "baton-plan",
                        .options = &a->ask,
                        .argc = a->argc,
                        .argv = a->argv,
                        .target = &nobody,
                        .work = a->work,
                        .plan = &a->plan,
                        .run = &m,
                        .validity = &v,
                        .largest_rate = NAN,
                        .added_latency_ms = NAN,
                        .date_s = OUTCOME_NO_DATE};
    run_info info;
    run_info_init(&info);
    outcome_info(&info, &in);
    buf text = {0};
    char words[128];
    outcome_text(&text, &in, &info);
    buf_addf(&text, "Simulated: %s; profile %s (%s)\n",
             fleet_placement_text(&a->placement, words, sizeof words), a->profile->hash,
             a->profile->name ? a->profile->name : a->from.path);
    simulated_notes(&text, &totals);
    fwrite(text.data, 1, text.len, stdout);
    buf_done(&text);
    status st = a->ask.out_dir ? run_file_write(&info, a->ask.out_dir, eb) : ST_OK;
    if (st == ST_OK) st = save(&in, &info, eb);
    if (st == ST_OK) st = write_trace(a, t, eb);
    if (st == ST_OK && fflush(stdout) != 0) st = errf(eb, ST_IO, "stdout: %s", strerror(errno));
    run_info_done(&info);
    validity_done(&v);
    measurement_done(&m);
    target_done(&nobody);
    return st;
}

/* Nothing of an earlier run stays beside rows of this one. */
static status begin_out(const char *dir, row_writer **writer, errbuf *eb) {
    char *info = xasprintf("%s/run.json", dir);
    status st = files_make_dir(dir, eb);
    if (st == ST_OK && unlink(info) != 0 && errno != ENOENT)
        st = errf(eb, ST_IO, "%s: %s", info, strerror(errno));
    if (st == ST_OK) st = row_writer_open(writer, dir, eb);
    free(info);
    return st;
}

/* A run that did not end has no rows. */
static void drop_rows(const char *dir) {
    static const char *const names[] = {"rows.jsonl", "rows.csv"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *path = xasprintf("%s/%s", dir, names[i]);
        (void)unlink(path);
        free(path);
    }
}

static int run(app *a) {
    errbuf eb = {0};
    int code = read_inputs(a, &eb);
    if (code != PLAN_DONE) {
        (void)failed(&eb, ST_INVALID);
        return code;
    }
    status st = make_plan(a, &eb);
    if (st != ST_OK) return failed(&eb, st);
    row_writer *writer = NULL;
    if (a->ask.out_dir) st = begin_out(a->ask.out_dir, &writer, &eb);
    if (st != ST_OK) return failed(&eb, st);
    trace *t = a->ask.trace_path ? trace_new() : NULL;
    simulation_options so = {.fleet = a->fleet,
                             .plan = &a->plan,
                             .request_timeout_ns = (uint64_t)(a->ask.request_timeout_s * 1e9),
                             .writer = writer,
                             .trace = t};
    simulation s;
    st = simulation_run(&s, &so, &eb);
    errbuf close_eb = {0};
    status closed = row_writer_close(writer, &close_eb);
    if (st == ST_OK && closed != ST_OK) st = errf(&eb, closed, "%s", close_eb.text);
    if (st == ST_OK) st = tell(a, &s, t, &eb);
    if (st != ST_OK && a->ask.out_dir) drop_rows(a->ask.out_dir);
    simulation_done(&s);
    trace_free(t);
    return st == ST_OK ? PLAN_DONE : failed(&eb, st);
}

int simulate_main(int argc, char **argv) {
    PRE(argc > 0);
    PRE(argv);
    app a = {.argc = argc, .argv = xmemdup(argv, (size_t)argc * sizeof *argv)};
    parse(&a, argc, argv);
    int code = run(&a);
    schedule_done(&a.plan);
    workload_free(a.work);
    profile_free(a.profile);
    config_free(a.config);
    serve_options_done(&a.ask);
    free(a.argv);
    return code;
}
