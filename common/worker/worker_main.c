#include "worker/worker_main.h"

#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "worker/runtime.h"

#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#define EXIT_REFUSED 2

typedef struct arguments {
    const char *config;
    const char **sets; /* [set_count]; freed by worker_main */
    uint32_t set_count;
    bool check, version;
} arguments;

static error_t on_option(int key, char *arg, struct argp_state *state) {
    arguments *a = state->input;
    switch (key) {
    case 's':
        a->sets = xrealloc(a->sets, a->set_count + 1, sizeof *a->sets);
        a->sets[a->set_count++] = arg;
        return 0;
    case 'c':
        a->check = true;
        return 0;
    case 'V':
        a->version = true;
        return 0;
    case ARGP_KEY_ARG:
        if (a->config) argp_error(state, "one CONFIG is enough: '%s' is one too many", arg);
        a->config = arg;
        return 0;
    case ARGP_KEY_END:
        if (!a->config && !a->version) argp_error(state, "the CONFIG file is missing");
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

static void parse(int argc, char **argv, arguments *out) {
    static const struct argp_option options[] = {
        {"set", 's', "KEY=VALUE", 0, "Override one key of the config, e.g. decode.count=2", 0},
        {"check", 'c', NULL, 0, "Print the resolved config and the rank map, and exit", 0},
        {"version", 'V', NULL, 0, "Print program version", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = on_option,
        .args_doc = "CONFIG",
        .doc = "A worker of a Baton cluster: joins the coordinator that CONFIG names "
               "(cluster.control) and computes until it is told to leave."};
    argp_err_exit_status = EXIT_REFUSED;
    argp_parse(&argp, argc, argv, 0, NULL, out);
}

static status print_check(const config *c, errbuf *eb) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    char *text = NULL;
    status st = config_check_text(c, cores > 0 ? (uint32_t)cores : 1, &text, eb);
    if (st) return st;
    fputs(text, stdout);
    free(text);
    return ST_OK;
}

static status serve(const config *c, const wcore_ops *role, const char *rank, bool *stuck, errbuf *eb) {
    log_level level;
    status st = log_level_parse(c->cluster.log_level, &level, eb);
    if (st) return st;
    log_setup(level, worker_role_name(role->role));
    place p;
    st = place_find(&p, c, role->role, rank, eb);
    if (st) return st;
    log_setup(level, p.name);
    signal(SIGPIPE, SIG_IGN); /* whoever read the log may be gone */
    /* A kill -9 of mpirun must not leave orphans; a worker started by hand, though, may outlive its shell. */
    if (rank) prctl(PR_SET_PDEATHSIG, SIGKILL);
    return runtime_run(&(runtime_options){.config = c, .role = role, .place = &p}, stuck, eb);
}

int worker_main(int argc, char **argv, const wcore_ops *role, const char *rank, bool *stuck) {
    PRE(argv);
    PRE(role);
    PRE(stuck);
    arguments args = {0};
    config *c = NULL;
    errbuf eb = {0};
    int code = EXIT_SUCCESS;
    *stuck = false;
    parse(argc, argv, &args);
    if (args.version) {
        printf("baton-%s %s\n", worker_role_name(role->role), BATON_VERSION);
        goto done;
    }
    if (config_load(&c, args.config, args.sets, args.set_count, &eb) != ST_OK) {
        code = EXIT_REFUSED;
    } else if (args.check) {
        code = print_check(c, &eb) == ST_OK ? EXIT_SUCCESS : EXIT_REFUSED;
    } else {
        status st = serve(c, role, rank, stuck, &eb);
        code = st == ST_OK ? EXIT_SUCCESS : st == ST_INVALID ? EXIT_REFUSED : EXIT_FAILURE;
    }
    if (code) fprintf(stderr, "baton-%s: %s\n", worker_role_name(role->role), eb.text);

done:
    free(args.sets);
    if (!*stuck) config_free(c);
    return code;
}
