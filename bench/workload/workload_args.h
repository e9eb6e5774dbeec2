/* workload_args - the options that say what is asked and in which pattern, once for every program that takes
 * a workload: names, what --help says, and how they are read. An argp to be a child of the program's own:
 *
 *   static const struct argp_child children[] = {{&workload_argp, 0, "What is asked:", 2}, {0}};
 *   case ARGP_KEY_INIT: state->child_inputs[0] = &o->ask; return 0;
 *
 * A wrong value ends the program with argp_error. */
#ifndef BATON_WORKLOAD_WORKLOAD_ARGS_H
#define BATON_WORKLOAD_WORKLOAD_ARGS_H

#include "bench/rows/score.h"
#include "bench/workload/arrivals.h"
#include "bench/workload/workload.h"

#include <argp.h>

/* Strings are borrowed: arguments, or static. */
typedef struct workload_args {
    const char *name; /* of the workload, for people and files */
    workload_options options;
    arrivals_options arrivals;
    const char *arrivals_name;
    bool rescale; /* --arrivals vllm */
    uint64_t seed;
    bool seed_given;
} workload_args;

extern const struct argp workload_argp; /* its input is a workload_args */

/* What is asked when no option says anything: 1024 tokens in, 128 out, Poisson arrivals, seed 0. */
workload_args workload_args_default(void);
/* ST_INVALID lists the kinds. */
status workload_args_arrivals(workload_args *a, const char *kind, errbuf *eb);
/* A stream without an end at any rate: ST_INVALID for ramps, for a pattern scaled to its last arrival, and
 * for a trace's times without a trace. */
status workload_args_endless(const workload_args *a, errbuf *eb);
/* Adds limits: a preset's name of named.h, or slo_parse's words. ST_INVALID names the word. */
status workload_args_limits(slo *limits, const char *text, errbuf *eb);

#endif
