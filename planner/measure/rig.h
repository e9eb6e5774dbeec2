/* rig - a cluster that is started to be measured, with a client at its native socket, and what the cluster
 * says of itself. */
#ifndef BATON_PLANNER_RIG_H
#define BATON_PLANNER_RIG_H

#include "bench/experiment/tools.h"
#include "planner/measure/asker.h"
#include "planner/measure/seen.h"

typedef struct rig_options {
    const char *config;     /* path */
    const spec_texts *sets; /* of the user */
    uint32_t count[ROLE_COUNT];
    spec_texts own;  /* settings after those of the user; borrowed for the call */
    const char *dir; /* absolute, there already: config and log */
} rig_options;

typedef struct rig_role {
    uint32_t pages; /* of each worker; 0: no such worker */
} rig_role;

/* What its hand-offs were so far. */
typedef struct rig_counts {
    double bytes, segments;
    double pair_bytes_per_s; /* as a pair was tried when it was opened; NAN: it was not, yet */
} rig_counts;

typedef struct rig {
    cluster cluster;
    asker *ask;
    config *cfg; /* as it was started */
    rig_role roles[ROLE_COUNT];
    uint32_t max_context;
    char *model, *path, *version;     /* owned; path: of its arithmetic; NULL: unknown */
    rig_counts before, after;         /* hand-offs were counted: */
    uint32_t counted, counted_tokens; /* so many, of so many tokens each */
    uint64_t left_out;                /* steps that the trace did not have so far */
} rig;

/* ST_CANCELED: a stop was asked for. What cluster_start and cluster_wait_ready say. It must stay where it is
 * until rig_stop, which ends it, on failure too. */
status rig_start(rig *out, const tools *t, const rig_options *opt, errbuf *eb);
/* What the cluster did for the last `requests` requests, all of which have ended. ST_INVALID: steps were too
 * short to be told all. Caller frees with seen_done. */
status rig_seen(rig *r, uint32_t requests, seen *out, errbuf *eb);
/* ST_PEER: it does not tell. */
status rig_count(const rig *r, rig_counts *out, errbuf *eb);
/* Ends it in order; nothing to do for a zeroed one. */
void rig_stop(rig *r);

#endif
