#include "bench/report/report_main.h"

#include "bench/report/page.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct app {
    const char *dir, *out, *figures;
    slo slos[RESULTS_SLOS_MAX];
    uint32_t slo_count;
    bool rejudge;
} app;

static const struct argp_option options[] = {
    {"slo", 's', "ttft:MS,tpot:MS,...", 0,
     "limits to score the rows for (ttft, tpot, itl_p99, itl_max, e2e); may be given several times; default: "
     "those "
     "of DIR/experiment.json",
     0},
    {"out", 'o', "FILE", 0, "the HTML page; default DIR/report.html", 0},
    {"rejudge", 'r', NULL, 0,
     "find out anew from the rows whether runs were settled and stable, instead of taking what their "
     "run.json "
     "says",
     0},
    {"figures", 'f', "DIR", 0, "where report.md and its SVG figures go; default DIR/figures", 0},
    {0}};

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    app *a = state->input;
    errbuf eb = {0};
    switch (key) {
    case 's':
        if (a->slo_count == RESULTS_SLOS_MAX) argp_error(state, "--slo: at most %u", RESULTS_SLOS_MAX);
        a->slos[a->slo_count] = slo_none();
        if (slo_parse(&a->slos[a->slo_count], arg, &eb) != ST_OK)
            argp_error(state, "--slo %s: %s", arg, eb.text);
        a->slo_count++;
        return 0;
    case 'r':
        a->rejudge = true;
        return 0;
    case 'o':
        a->out = arg;
        return 0;
    case 'f':
        a->figures = arg;
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

static status make_folder(const char *path, errbuf *eb) {
    if (mkdir(path, 0777) == 0 || errno == EEXIST) return ST_OK;
    return errf(eb, ST_IO, "%s: %s", path, strerror(errno));
}

static status report(const app *a, const char *out, const char *figures, errbuf *eb) {
    results r;
    status st = results_read(&r, a->dir, a->slos, a->slo_count, a->rejudge, eb);
    if (st == ST_OK) st = make_folder(figures, eb);
    if (st == ST_OK) {
        doc d;
        doc_init(&d, r.title, figures);
        st = page_fill(&d, &r, eb);
        if (st == ST_OK) st = doc_write(&d, out, eb);
        doc_done(&d);
    }
    results_done(&r);
    return st;
}

int report_main(int argc, char **argv) {
    PRE(argc > 0);
    PRE(argv);
    static const struct argp argp = {
        options,
        parse_option,
        "DIR",
        "The verdict, the goodput per device of every placement under every SLO, and the figures of an "
        "experiment's directory: one HTML page, and Markdown with SVG files. A run that is still going on "
        "can be "
        "looked at.",
        NULL,
        NULL,
        NULL};
    app a = {0};
    char name[] = "baton-bench report";
    argp_err_exit_status = 2;
    argv[0] = name;
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    char *out = a.out ? xstrdup(a.out) : xasprintf("%s/report.html", a.dir);
    char *figures = a.figures ? xstrdup(a.figures) : xasprintf("%s/figures", a.dir);
    errbuf eb = {0};
    status st = report(&a, out, figures, &eb);
    if (st == ST_OK)
        printf("%s\n%s/report.md\n", out, figures);
    else
        fprintf(stderr, "baton-bench report: %s\n", eb.text);
    free(out);
    free(figures);
    return st == ST_OK ? 0 : 1;
}
