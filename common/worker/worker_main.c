#include "worker/worker_main.h"

#include "base/fault.h"
#include "base/log.h"
#include "config/args.h"
#include "worker/group.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

static const char doc[] =
    "A worker of a Baton cluster: joins the coordinator that CONFIG names (cluster.control) "
    "and computes until it is told to leave.";

static status serve(const config *c, const wcore_ops *role, const char *rank, bool *stuck, errbuf *eb) {
    log_level level;
    status st = log_level_parse(c->cluster.log_level, &level, eb);
    if (st != ST_OK) return st;
    log_setup(level, worker_role_name(role->role));
    place p;
    st = place_find(&p, c, role->role, rank, eb);
    if (st != ST_OK) return st;
    log_setup(level, p.name);
    log_outlives_stderr();
    st = fault_setup(getenv("BATON_FAULT"), eb);
    if (st != ST_OK) return st;
    /* A kill -9 of mpirun must not leave orphans; a worker started by hand, though, may outlive its shell. */
    if (rank) prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (p.worker_count > 1) return group_run(c, role, &p, stuck, eb);
    return runtime_run(&(runtime_options){.config = c, .role = role, .place = &p, .signal_fd = -1}, stuck,
                       eb);
}

int worker_main(int argc, char **argv, const wcore_ops *role, const char *rank, bool *stuck) {
    PRE(argv);
    PRE(role);
    PRE(stuck);
    char program[32];
    snprintf(program, sizeof program, "baton-%s", worker_role_name(role->role));
    *stuck = false;
    args a;
    args_parse(&a, argc, argv, doc);
    config *c = NULL;
    int code;
    bool goes_on = args_config(&a, program, NULL, &c, &code);
    args_done(&a);
    if (!goes_on) return code;

    errbuf eb = {0};
    status st = serve(c, role, rank, stuck, &eb);
    if (st != ST_OK) fprintf(stderr, "%s: %s\n", program, eb.text);
    if (!*stuck) config_free(c);
    return st == ST_OK ? EXIT_SUCCESS : st == ST_INVALID ? ARGS_REFUSED : EXIT_FAILURE;
}
