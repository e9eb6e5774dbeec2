/* cluster_args - the options that name a profile, once for the commands of this room: an argp to be a child
 * of the command's own. */
#ifndef BATON_PLANNER_CLUSTER_ARGS_H
#define BATON_PLANNER_CLUSTER_ARGS_H

#include "planner/profile/profile_file.h"

#include <argp.h>

/* Exit statuses of baton-plan */
enum { PLAN_DONE = 0, PLAN_FAILED = 1, PLAN_REFUSED = 2, PLAN_INFEASIBLE = 3, PLAN_PROFILE = 4 };

#define CLUSTER_SETS_MAX 256u

typedef struct cluster_args {
    const char *path; /* borrowed from argv, as are the names in read; NULL: refused at the end */
    profile_read_options read;
    const char *link;   /* of link_text.h, in place of the profile's; NULL: none is given */
    double error_limit; /* 0..; 0: none */
    bool extrapolate;
    uint64_t noise_seed;
    const char *sets[CLUSTER_SETS_MAX]; /* "KEY=VALUE", for config_load; borrowed likewise */
    uint32_t set_count;
} cluster_args;

extern const struct argp cluster_argp; /* its input is a cluster_args */
cluster_args cluster_args_default(void);

/* Reads the profile. Returns PLAN_DONE, or what the program ends with: PLAN_REFUSED, PLAN_FAILED, or
 * PLAN_PROFILE when a leave-one-out error of an engine is above the limit; then eb says why. Caller frees
 * with profile_free. */
int cluster_args_read(profile **out, const cluster_args *a, errbuf *eb);

#endif
