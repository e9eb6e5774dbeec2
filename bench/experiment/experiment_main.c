#include "bench/experiment/experiment_main.h"

#include "base/mem.h"
#include "bench/experiment/exp_dir.h"
#include "bench/experiment/files.h"
#include "bench/experiment/machine.h"
#include "bench/experiment/resolved.h"
#include "bench/experiment/runner.h"
#include "bench/experiment/spec_file.h"
#include "bench/experiment/spec_quick.h"
#include "bench/experiment/stop.h"
#include "bench/experiment/tools.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WARMUP_LEAST_S 30.0 /* steady_warmup_s */

enum { EXIT_CELL = 1, EXIT_REFUSED = 2, EXIT_VOID = 3, EXIT_STOPPED = 130 };

typedef struct options {
    const char *file, *out, *bench;
    bool quick, list, retry, force;
    char **only;
    uint32_t only_count;
} options;

static error_t on_option(int key, char *arg, struct argp_state *state) {
    options *o = state->input;
    switch (key) {
    case 'o':
        o->out = arg;
        return 0;
    case 'q':
        o->quick = true;
        return 0;
    case 'l':
        o->list = true;
        return 0;
    case 'r':
        o->retry = true;
        return 0;
    case 'f':
        o->force = true;
        return 0;
    case 'b':
        o->bench = arg;
        return 0;
    case 'O':
        o->only = xrealloc(o->only, o->only_count + 1, sizeof *o->only);
        o->only[o->only_count++] = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (o->file) argp_error(state, "one FILE is enough: '%s' is one too many", arg);
        o->file = arg;
        return 0;
    case ARGP_KEY_END:
        if (!o->file)
            argp_error(state,
                       "the experiment's FILE is missing, such as deploy/experiments/ratio-sweep.yaml");
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

static void parse(options *o, int argc, char **argv) {
    static const struct argp_option all[] = {
        {"out", 'o', "DIR", 0,
         "Where cells, logs and rows go (default: build/experiments/NAME); an experiment that is there goes "
         "on",
         0},
        {"quick", 'q', NULL, 0, "What the file's quick: section says: shorter, fewer cells", 0},
        {"only", 'O', "PATTERN", 0,
         "Cells of this name only, such as '*@balanced@*'; may be given several times", 0},
        {"list", 'l', NULL, 0, "Print the cells and how long they take, and exit", 0},
        {"retry-failed", 'r', NULL, 0, "Run cells again that failed or are void", 0},
        {"force", 'f', NULL, 0,
         "Go on in a directory of a file, or of a build, that differs: cells that are there stay", 0},
        {"bench", 'b', "PROGRAM", 0, "Use this program's serve (for tests)", 1},
        {0},
    };
    static const struct argp argp = {
        .options = all,
        .parser = on_option,
        .args_doc = "FILE",
        .doc =
            "Starts a cluster for each placement, workload and rate of an experiment file, measures it and "
            "stops it. Cells that are finished are not run again.\vEvery key of the file is documented in "
            "deploy/experiments/local-1p1d-vs-colocated.yaml. `baton-bench report DIR` makes the report."};
    argp_err_exit_status = EXIT_REFUSED;
    char name[] = "baton-bench experiment";
    char *first = argv[0];
    argv[0] = name; /* for usage and errors */
    argp_parse(&argp, argc, argv, 0, NULL, o);
    argv[0] = first;
}

/* ---- what is run ---- */

typedef struct experiment {
    options o;
    spec *spec;
    spec_facts *facts;
    plan plan;
    tools tools;
    build_id build;
    exp_dir dir;
} experiment;

static int refuse(const errbuf *eb) {
    fprintf(stderr, "baton-bench experiment: %s\n", eb->text);
    return EXIT_REFUSED;
}

/* 0, or the exit status. */
static int load(experiment *e) {
    errbuf eb = {0};
    status st = spec_load(&e->spec, e->o.file, &eb);
    if (st == ST_OK && e->o.quick) st = spec_make_quick(e->spec, &eb);
    if (st == ST_OK) st = tools_find(&e->tools, e->o.bench, &eb);
    if (st != ST_OK) return refuse(&eb);
    e->facts = xcalloc(e->spec->placement_count + 1, sizeof *e->facts);
    spec_texts problems = {0};
    spec_check(e->spec, e->o.quick, spec_machine_here(), e->facts, &problems);
    for (uint32_t i = 0; i < problems.count; i++)
        fprintf(stderr, "baton-bench experiment: %s: %s\n", e->o.file, problems.items[i]);
    bool refused = problems.count > 0, known = true;
    spec_texts_done(&problems);
    for (uint32_t i = 0; i < e->spec->placement_count; i++) known = known && e->facts[i].devices > 0;
    /* What cannot run here may still be listed. */
    if (!refused || (e->o.list && known)) plan_make(&e->plan, e->spec, e->facts, e->o.quick);
    return refused ? EXIT_REFUSED : 0;
}

static runner_options runner_options_of(const experiment *e) {
    return (runner_options){.spec = e->spec,
                            .plan = &e->plan,
                            .tools = &e->tools.cluster,
                            .build = &e->build,
                            .dir = e->dir.path,
                            .quick = e->o.quick,
                            .retry = e->o.retry,
                            .only = e->o.only,
                            .only_count = e->o.only_count};
}

static void warn_of_warmup(const experiment *e) {
    if (e->spec->warmup_s >= WARMUP_LEAST_S) return;
    printf("warning: warmup_s is %g, below the %g s that the least settled run takes: no cell can pass, and "
           "reports draw no number from cells that do not fail\n",
           e->spec->warmup_s, WARMUP_LEAST_S);
}

static void list(const experiment *e) {
    if (!e->plan.count) return;
    const runner_options ro = runner_options_of(e);
    double sum_s = 0, measured_s = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < e->plan.count; i++) {
        const cell *c = &e->plan.cells[i];
        if (!runner_wants(&ro, c)) continue;
        double s = runner_estimate_s(e->spec, c);
        printf("%-52s %3u device%s %6.0f s\n", c->name, c->devices, c->devices == 1 ? " " : "s", s);
        sum_s += s;
        measured_s += plan_measured_s(e->spec, c);
        count++;
    }
    printf("%u cells, about %.0f min: %.0f min of warm-up and windows, %.0f s per cell for start, tail and "
           "stop\n",
           count, sum_s / 60, measured_s / 60, e->spec->overhead_s);
    warn_of_warmup(e);
}

/* The copies by which another experiment in the same directory is told apart. */
static status keep_copies(const experiment *e, errbuf *eb) {
    char *file = NULL, *base = NULL;
    status st = files_read(&file, e->o.file, eb);
    if (st == ST_OK) st = files_read(&base, e->spec->base, eb);
    if (st == ST_OK) st = exp_dir_keep(&e->dir, "mode", e->o.quick ? "--quick\n" : "whole\n", e->o.force, eb);
    if (st == ST_OK) st = exp_dir_keep(&e->dir, "experiment.yaml", file, e->o.force, eb);
    if (st == ST_OK) st = exp_dir_keep(&e->dir, "base.yaml", base, e->o.force, eb);
    free(file);
    free(base);
    return st;
}

static status write_json(const experiment *e, const char *name, json_t *j, errbuf *eb) {
    char *path = xasprintf("%s/%s", e->dir.path, name);
    char *text = json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(10));
    CHECK(text);
    status st = files_write(path, text, strlen(text), eb);
    free(text);
    free(path);
    json_decref(j);
    return st;
}

static status describe(const experiment *e, errbuf *eb) {
    status st = write_json(e, "experiment.json", resolved_json(e->spec, e->facts, &e->plan, e->o.quick), eb);
    char *path = xasprintf("%s/machine.json", e->dir.path);
    bool there = files_exist(path);
    free(path);
    if (st != ST_OK || there) return st;
    printf("measuring the machine\n");
    fflush(stdout);
    return write_json(e, "machine.json", machine_json(e->tools.root), eb);
}

static status open_dir(experiment *e, errbuf *eb) {
    char *standard = xasprintf("build/experiments/%s%s", e->spec->name, e->o.quick ? "-quick" : "");
    status st = exp_dir_open(&e->dir, e->o.out ? e->o.out : standard, eb);
    free(standard);
    if (st == ST_OK) st = keep_copies(e, eb);
    return st;
}

static int summary(const experiment *e, status st, const runner_result *r, const errbuf *eb) {
    printf("%u done, %u void, %u failed, %u left in %s\n", r->done, r->void_, r->failed, r->left,
           e->dir.path);
    if (st == ST_CANCELED) {
        printf("stopped: the same command goes on\n");
        return EXIT_STOPPED;
    }
    if (st != ST_OK) {
        fprintf(stderr, "baton-bench experiment: %s\n", eb->text);
        return EXIT_CELL;
    }
    if (r->failed) printf("the logs of cells that failed are in DIR/cells\n");
    if (r->void_) printf("void cells are not used: the reason is in their state.json\n");
    if (r->failed || r->void_) printf("--retry-failed runs them again\n");
    return r->failed ? EXIT_CELL : r->void_ ? EXIT_VOID : 0;
}

static int run(experiment *e) {
    errbuf eb = {0};
    status st = build_id_of(&e->build, e->tools.bin, e->tools.root, &eb);
    if (st == ST_OK) st = open_dir(e, &eb);
    const runner_options ro = runner_options_of(e);
    if (st == ST_OK && !e->o.force) st = runner_check_build(&ro, &eb);
    if (st != ST_OK) return refuse(&eb);
    warn_of_warmup(e);
    stop_watch();
    runner_result result = {0};
    st = describe(e, &eb);
    if (st == ST_OK) st = runner_run(&ro, &result, &eb);
    return summary(e, st, &result, &eb);
}

int experiment_main(int argc, char **argv) {
    experiment e = {0};
    parse(&e.o, argc, argv);
    int code = load(&e);
    if (e.o.list)
        list(&e);
    else if (!code)
        code = run(&e);
    exp_dir_close(&e.dir);
    plan_done(&e.plan);
    free(e.facts);
    spec_free(e.spec);
    tools_done(&e.tools);
    free(e.o.only);
    return code;
}
