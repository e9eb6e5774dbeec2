#include "planner/replay/replay_main.h"

#include "bench/experiment/files.h"
#include "planner/replay/cluster_args.h"
#include "planner/replay/compare_page.h"
#include "planner/replay/replay_cell.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a placement can do for a workload, of the cell with the most requests. */
typedef struct capacity {
    char *placement, *workload; /* owned */
    double per_s;
    uint32_t requests;
} capacity;

typedef struct app {
    cluster_args from;
    const char *dir, *out;
    slo slos[RESULTS_SLOS_MAX];
    uint32_t slo_count;
    bool quiet;

    char *target; /* the folder that is written; owned */
    profile *profile;
    capacity *capacities; /* [capacity_count]; owned */
    uint32_t capacity_count, simulated;
    bool cell_steps;
    struct steps_of {
        const cell *cell;
        replay_steps steps;
    } * steps;        /* [simulated]; owned */
    errbuf first_why; /* of the first cell that could not be simulated */
} app;

enum { OPT_SLO = 's', OPT_OUT = 'o', OPT_QUIET = 'q', OPT_CELL_STEPS = 256 };

static const struct argp_option options[] = {
    {"slo", OPT_SLO, "ttft:MS,tpot:MS,...", 0,
     "Limits to score the rows for; may be given several times; default: those of DIR/experiment.json", 0},
    {"out", OPT_OUT, "DIR", 0, "What is written; default DIR/predicted", 0},
    {"cell-steps", OPT_CELL_STEPS, NULL, 0,
     "No prediction: steps as long as each cell's own trace has them, by one factor for prompts and one for "
     "decoding. What is off then is not the machine's speed",
     0},
    {"quiet", OPT_QUIET, NULL, 0, "No line per cell while it runs", 0},
    {0}};

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    app *a = state->input;
    errbuf eb = {0};
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->from;
        return 0;
    case OPT_SLO:
        if (a->slo_count == RESULTS_SLOS_MAX) argp_error(state, "--slo: at most %u", RESULTS_SLOS_MAX);
        a->slos[a->slo_count] = slo_none();
        if (slo_parse(&a->slos[a->slo_count], arg, &eb) != ST_OK)
            argp_error(state, "--slo %s: %s", arg, eb.text);
        a->slo_count++;
        return 0;
    case OPT_OUT:
        a->out = arg;
        return 0;
    case OPT_CELL_STEPS:
        a->cell_steps = true;
        return 0;
    case OPT_QUIET:
        a->quiet = true;
        return 0;
    case ARGP_KEY_ARG:
        if (a->dir) argp_error(state, "'%s' is too much: want one directory", arg);
        a->dir = arg;
        return 0;
    case ARGP_KEY_END:
        if (!a->dir)
            argp_error(state, "which experiment? give the directory that baton-bench experiment made");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void parse(app *a, int argc, char **argv) {
    static const struct argp_child children[] = {{&cluster_argp, 0, "The cluster:", 1}, {0}};
    static const struct argp argp = {
        options,
        parse_option,
        "DIR",
        "Simulates every cell of an experiment that was measured, with its own requests at their own times, "
        "and "
        "tells how far the predictions are off: a table, and in the folder of --out replay.json, replay.csv, "
        "a page replay.html, figures/report.md with its figure, and the predicted cells as an experiment "
        "that "
        "`baton-bench report` reads."
        "\vExit status: 0 compared, 1 failed, 2 wrong usage, directory or profile, 4 the profile's error is "
        "above --profile-error.",
        children,
        NULL,
        NULL};
    a->from = cluster_args_default();
    char name[] = "baton-plan replay";
    char *first = argv[0];
    argv[0] = name;
    argp_err_exit_status = PLAN_REFUSED;
    argp_parse(&argp, argc, argv, 0, NULL, a);
    argv[0] = first;
}

/* ---- the folder ---- */

/* Made empty of what an earlier replay left; ST_INVALID: there are cells in it that no replay made. */
static status begin_out(const app *a, errbuf *eb) {
    char *cells = xasprintf("%s/cells", a->target), *mark = xasprintf("%s/replay.json", a->target);
    status st = ST_OK;
    if (files_exist(cells) && !files_exist(mark))
        st = errf(eb, ST_INVALID, "%s has cells that are not of a replay: choose another --out", a->target);
    if (st == ST_OK) st = files_remove_dir(cells, eb);
    if (st == ST_OK) st = files_make_dir(cells, eb);
    if (st == ST_OK) st = files_write(mark, "{}\n", 3, eb);
    free(cells);
    free(mark);
    return st;
}

static status write_file(const app *a, const char *name, const char *bytes, size_t len, errbuf *eb) {
    char *path = xasprintf("%s/%s", a->target, name);
    status st = files_write(path, bytes, len, eb);
    free(path);
    return st;
}

/* So that what reads experiments knows the order of placements, and the limits. */
static status copy_spec(const app *a, const results *measured, errbuf *eb) {
    if (!measured->spec) return ST_OK;
    char *text = json_dumps(measured->spec, JSON_INDENT(1));
    CHECK(text);
    status st = write_file(a, "experiment.json", text, strlen(text), eb);
    free(text);
    return st;
}

/* ---- cells ---- */

static void keep_capacity(app *a, const cell *c, const replay_cell *r) {
    if (isnan(r->capacity)) return;
    for (uint32_t i = 0; i < a->capacity_count; i++) {
        capacity *k = &a->capacities[i];
        if (strcmp(k->placement, c->placement) != 0 || strcmp(k->workload, c->workload) != 0) continue;
        if (r->requests > k->requests) k->per_s = r->capacity, k->requests = r->requests;
        return;
    }
    a->capacities = xrealloc(a->capacities, a->capacity_count + 1, sizeof *a->capacities);
    a->capacities[a->capacity_count++] = (capacity){.placement = xstrdup(c->placement),
                                                    .workload = xstrdup(c->workload),
                                                    .per_s = r->capacity,
                                                    .requests = r->requests};
}

static double capacity_of(void *ctx, const char *name, const char *load) {
    const app *a = ctx;
    for (uint32_t i = 0; i < a->capacity_count; i++) {
        const capacity *k = &a->capacities[i];
        if (strcmp(k->placement, name) == 0 && strcmp(k->workload, load) == 0) return k->per_s;
    }
    return NAN;
}

static replay_steps steps_of(void *ctx, const cell *measured) {
    const app *a = ctx;
    for (uint32_t i = 0; i < a->simulated; i++)
        if (a->steps[i].cell == measured) return a->steps[i].steps;
    return (replay_steps){.prefill = NAN, .decode = NAN};
}

static void tell_left_out(app *a, const cell *c, const char *why) {
    if (!a->first_why.text[0]) errf(&a->first_why, ST_INVALID, "%s: %s", c->id, why);
    fprintf(stderr, "baton-plan replay: %s is left out: %s\n", c->id, why);
}

/* ST_IO ends it all; what is wrong with one cell leaves that one out. */
static status one_cell(app *a, const cell *c, errbuf *eb) {
    if (c->tuning || c->state == CELL_MISSING) return ST_OK;
    if (!cell_counts(c)) {
        char *why = xasprintf("it is %s: %s", cell_state_text(c->state), c->reason);
        tell_left_out(a, c, why);
        free(why);
        return ST_OK;
    }
    replay_steps steps = replay_steps_of(c->folder, a->profile);
    profile own = replay_steps_applied(a->profile, &steps);
    replay_options o = {.profile = a->cell_steps ? &own : a->profile,
                        .noise_seed = a->from.noise_seed,
                        .extrapolate = a->from.extrapolate,
                        .sets = a->from.sets,
                        .set_count = a->from.set_count};
    replay_cell r;
    errbuf why = {0};
    char *to = xasprintf("%s/cells/%s", a->target, c->id);
    status st = replay_cell_run(&r, c->folder, to, &o, &why);
    if (st == ST_OK) {
        a->steps = xrealloc(a->steps, a->simulated + 1, sizeof *a->steps);
        a->steps[a->simulated++] = (struct steps_of){.cell = c, .steps = steps};
        keep_capacity(a, c, &r);
        char words[128];
        if (!a->quiet)
            fprintf(stderr, "%s: %u requests, %s%s%s\n", c->id, r.requests,
                    fleet_placement_text(&r.placement, words, sizeof words),
                    r.cut ? "; the last row of rows.jsonl is cut off and left out" : "",
                    r.totals.steps_outside ? "; steps outside of the profile's grid" : "");
    } else if (st == ST_INVALID) {
        tell_left_out(a, c, why.text);
        st = files_remove_dir(to, eb);
    } else {
        st = errf(eb, st, "%s", why.text);
    }
    replay_steps_done(&own);
    free(to);
    return st;
}

static status simulate_all(app *a, const results *measured, errbuf *eb) {
    status st = begin_out(a, eb);
    if (st == ST_OK) st = copy_spec(a, measured, eb);
    for (size_t i = 0; i < measured->cell_count && st == ST_OK; i++)
        st = one_cell(a, &measured->cells[i], eb);
    if (st != ST_OK) return st;
    if (a->simulated == 0)
        return errf(eb, ST_INVALID, "%s: no cell could be simulated: %.180s", a->dir,
                    a->first_why.text[0] ? a->first_why.text : "none of them has been run");
    return ST_OK;
}

/* ---- what is told ---- */

static status write_page(const app *a, const compare *c, const compare_source *from, errbuf *eb) {
    char *figures = xasprintf("%s/figures", a->target), *page = xasprintf("%s/replay.html", a->target);
    doc d;
    doc_init(&d, c->measured->title, figures);
    status st = files_make_dir(figures, eb);
    if (st == ST_OK) st = compare_page(&d, c, from, eb);
    if (st == ST_OK) st = doc_write(&d, page, eb);
    doc_done(&d);
    free(figures);
    free(page);
    return st;
}

static status tell(app *a, const results *measured, errbuf *eb) {
    results predicted;
    status st = results_read(&predicted, a->target, measured->slos, measured->slo_count, false, eb);
    if (st != ST_OK) {
        results_done(&predicted);
        return st;
    }
    compare c;
    compare_init(&c, measured, &predicted,
                 &(compare_facts){.ctx = a, .capacity = capacity_of, .steps = steps_of});
    compare_source from = {.dir = a->dir,
                           .profile_hash = a->profile->hash,
                           .profile_name = a->profile->name,
                           .simulator = a->cell_steps ? "fleet with each cell's own steps" : "fleet",
                           .noise_seed = a->from.noise_seed};
    buf text = {0}, csv = {0};
    compare_text(&text, &c, &from);
    compare_csv(&csv, &c);
    json_t *json = compare_json(&c, &from);
    CHECK(json);
    char *dump = json_dumps(json, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
    CHECK(dump);
    fwrite(text.data, 1, text.len, stdout);
    st = write_file(a, "replay.json", dump, strlen(dump), eb);
    if (st == ST_OK) st = write_file(a, "replay.csv", csv.data, csv.len, eb);
    if (st == ST_OK) st = write_page(a, &c, &from, eb);
    if (st == ST_OK) printf("%s/replay.html\n%s/figures/report.md\n", a->target, a->target);
    if (st == ST_OK && fflush(stdout) != 0) st = errf(eb, ST_IO, "stdout: %s", strerror(errno));
    free(dump);
    json_decref(json);
    buf_done(&text);
    buf_done(&csv);
    compare_done(&c);
    results_done(&predicted);
    return st;
}

static int run(app *a, errbuf *eb) {
    int code = cluster_args_read(&a->profile, &a->from, eb);
    if (code != PLAN_DONE) return code;
    results measured;
    status st = results_read(&measured, a->dir, a->slos, a->slo_count, false, eb);
    bool there = st == ST_OK;
    if (st == ST_IO) st = ST_INVALID; /* no experiment's directory */
    if (there) {
        a->target = a->out ? xstrdup(a->out) : xasprintf("%s/predicted", measured.dir);
        st = simulate_all(a, &measured, eb);
    }
    if (st == ST_OK) st = tell(a, &measured, eb);
    results_done(&measured);
    return st == ST_OK ? PLAN_DONE : st == ST_INVALID ? PLAN_REFUSED : PLAN_FAILED;
}

int replay_main(int argc, char **argv) {
    PRE(argc > 0);
    PRE(argv);
    app a = {0};
    errbuf eb = {0};
    parse(&a, argc, argv);
    int code = run(&a, &eb);
    if (code != PLAN_DONE) fprintf(stderr, "baton-plan replay: %s\n", eb.text);
    for (uint32_t i = 0; i < a.capacity_count; i++) {
        free(a.capacities[i].placement);
        free(a.capacities[i].workload);
    }
    free(a.capacities);
    free(a.steps);
    free(a.target);
    profile_free(a.profile);
    return code;
}
