#include "planner/profile/show_main.h"

#include "planner/profile/profile_show.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct app {
    const char *path;
    profile_read_options read;
} app;

static const struct argp_option options[] = {
    {"model", 'm', "NAME", 0, "of several in a file of DistServe or Splitwise", 0},
    {"hardware", 'w', "NAME", 0, "of several in a file of Splitwise", 0},
    {"error", 'e', "PERCENT", 0, "refuse a profile whose mean leave-one-out error is above that", 0},
    {0}};

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    app *a = state->input;
    char *end;
    switch (key) {
    case 'm':
        a->read.model = arg;
        return 0;
    case 'w':
        a->read.hardware = arg;
        return 0;
    case 'e':
        a->read.error_limit = strtod(arg, &end) / 100;
        if (end == arg || *end || !(a->read.error_limit > 0))
            argp_error(state, "--error %s: want a percentage above 0", arg);
        return 0;
    case ARGP_KEY_ARG:
        if (a->path) argp_error(state, "'%s' is too much: want one profile", arg);
        a->path = arg;
        return 0;
    case ARGP_KEY_END:
        if (!a->path) argp_error(state, "which profile? give a file, or the name of a preset");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int show_main(int argc, char **argv) {
    PRE(argc > 0);
    PRE(argv);
    static const struct argp argp = {
        options,
        parse_option,
        "PROFILE",
        "What a profile says: engines, the grid that was measured, errors, hash. PROFILE: a file that "
        "`baton-plan profile` wrote, one of DistServe or Splitwise, CSV with the columns phase,tp,pp,x,y,ms, "
        "a "
        "latency model of the mock engine, or a preset of it.",
        NULL,
        NULL,
        NULL};
    app a = {0};
    char name[] = "baton-plan show";
    argp_err_exit_status = 2;
    argv[0] = name;
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    profile *p = NULL;
    errbuf eb = {0};
    status st = profile_read(&p, a.path, &a.read, &eb);
    if (st == ST_OK)
        profile_show(stdout, p);
    else
        fprintf(stderr, "baton-plan show: %s\n", eb.text);
    profile_free(p);
    return profile_exit_code(st);
}
