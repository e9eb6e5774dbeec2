/* tools - the programs that an experiment starts: those beside the program that runs, and deploy/up.sh. */
#ifndef BATON_EXPERIMENT_TOOLS_H
#define BATON_EXPERIMENT_TOOLS_H

#include "bench/experiment/cluster.h"

typedef struct tools {
    cluster_tools cluster; /* its texts are the following */
    char *root, *up, *bin, *bench;
} tools;

/* bench: instead of the program that runs; NULL = that. ST_IO: the folder with deploy/up.sh is neither above
 * the program nor the current one. Caller frees with tools_done. */
status tools_find(tools *out, const char *bench, errbuf *eb);
void tools_done(tools *t);

#endif
