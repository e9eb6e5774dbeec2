/* worker_main - what the mains of the three worker programs share: arguments, config, log, place, run.
 *
 *   baton-prefill CONFIG [--set key=value]... [--check] [--version] */
#ifndef BATON_WORKER_WORKER_MAIN_H
#define BATON_WORKER_WORKER_MAIN_H

#include "worker_core/wcore.h"

/* rank: what place_launch_rank says. Returns the exit status: 0 after an orderly end, 1 for a failure, 2 for
 * arguments or a config that are refused. *stuck: leave by _exit (runtime.h). */
int worker_main(int argc, char **argv, const wcore_ops *role, const char *rank, bool *stuck);

#endif
