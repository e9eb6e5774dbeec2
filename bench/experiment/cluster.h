/* cluster - one cluster of an experiment, from its config file to its end: deploy/up.sh in the foreground of
 * a process group of its own. */
#ifndef BATON_EXPERIMENT_CLUSTER_H
#define BATON_EXPERIMENT_CLUSTER_H

#include "bench/experiment/cluster_config.h"
#include "bench/experiment/proc.h"

/* The programs that are used. Borrowed. */
typedef struct cluster_tools {
    const char *up;    /* deploy/up.sh */
    const char *bin;   /* folder of the programs: BATON_BIN */
    const char *bench; /* baton-bench, for serve */
} cluster_tools;

typedef struct cluster {
    proc up;
    char *config, *log; /* paths: DIR/cluster.yaml, DIR/cluster.log */
    char *http;         /* "127.0.0.1:12345" */
    char *url, *native; /* "http://127.0.0.1:12345", "tcp://127.0.0.1:12346" */
} cluster;

/* Three ports of this machine that are free now, below the range of which the system hands them out. */
status cluster_free_ports(cluster_ports *out, errbuf *eb);

/* Writes DIR/cluster.yaml and starts it. dir: absolute. ST_IO, ST_INVALID. Caller ends with cluster_stop. */
status cluster_start(cluster *out, const cluster_tools *t, const spec *s, const spec_placement *p,
                     const spec_variant *v, bool quick, const char *dir, errbuf *eb);
/* Until every worker has joined. ST_TIMEOUT, ST_PEER (it ended: the text has its last words), ST_CANCELED. */
status cluster_wait_ready(cluster *c, uint64_t deadline_ns, errbuf *eb);
/* Whether it still is as it was when it got ready: no worker lost. ST_PEER: the text says what is not. */
status cluster_check(cluster *c, errbuf *eb);
/* The server's trace of the last requests, to DIR/trace.json. A server that keeps none is no reason to lose a
 * cell: false. */
bool cluster_keep_trace(const cluster *c, const char *dir);
/* In order; what has not ended at the deadline, or when a stop is asked for more than `stops` times, is
 * killed (ST_TIMEOUT, and the text says so). Frees what c holds. Nothing to do for a zeroed one. */
status cluster_stop(cluster *c, uint64_t deadline_ns, uint32_t stops, errbuf *eb);

#endif
