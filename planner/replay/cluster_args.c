#include "planner/replay/cluster_args.h"

#include "base/mem.h"
#include "planner/profile/link_text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum {
    OPT_PROFILE = 0x2100,
    OPT_MODEL,
    OPT_HARDWARE,
    OPT_ERROR,
    OPT_EXTRAPOLATE,
    OPT_NOISE,
    OPT_SET,
    OPT_LINK
};

static const struct argp_option flags[] = {
    {"profile", OPT_PROFILE, "FILE", 0,
     "What steps and hand-offs cost: a file of `baton-plan profile`, of DistServe or Splitwise, a CSV, or a "
     "preset's name",
     0},
    {"profile-model", OPT_MODEL, "NAME", 0, "Which model of a profile that has several", 0},
    {"profile-hardware", OPT_HARDWARE, "NAME", 0, "Which hardware, likewise", 0},
    {"profile-error", OPT_ERROR, "PERCENT", 0, "Refuse a profile whose mean leave-one-out error is above it",
     0},
    {"link", OPT_LINK, LINK_TEXT_FORM, 0, LINK_TEXT_HELP, 0},
    {"set", OPT_SET, "KEY=VALUE", 0, "Changes a key of the config, as for the cluster's own programs", 0},
    {"extrapolate", OPT_EXTRAPOLATE, NULL, 0,
     "Count steps outside of what the profile measured, instead of refusing them", 0},
    {"noise-seed", OPT_NOISE, "N", 0, "Of the spread of equal steps, where the profile has one; default 1",
     0},
    {0}};

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    cluster_args *a = state->input;
    char *end = NULL;
    switch (key) {
    case OPT_PROFILE:
        a->path = arg;
        return 0;
    case OPT_MODEL:
        a->read.model = arg;
        return 0;
    case OPT_HARDWARE:
        a->read.hardware = arg;
        return 0;
    case OPT_ERROR:
        a->error_limit = strtod(arg, &end) / 100;
        if (end == arg || *end || !(a->error_limit > 0 && isfinite(a->error_limit)))
            argp_error(state, "--profile-error: '%s' is no percentage above 0", arg);
        return 0;
    case OPT_EXTRAPOLATE:
        a->extrapolate = true;
        return 0;
    case OPT_NOISE:
        errno = 0;
        a->noise_seed = strtoull(arg, &end, 10);
        if (end == arg || *end || *arg == '-' || errno || a->noise_seed > INT64_MAX)
            argp_error(state, "--noise-seed: '%s' is no whole number of 0 to %lld", arg,
                       (long long)INT64_MAX);
        return 0;
    case OPT_LINK:
        a->link = arg;
        return 0;
    case OPT_SET:
        if (a->set_count == CLUSTER_SETS_MAX) argp_error(state, "--set: at most %u", CLUSTER_SETS_MAX);
        a->sets[a->set_count++] = arg;
        return 0;
    case ARGP_KEY_END:
        if (!a->path) argp_error(state, "--profile is wanted: what do steps cost?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp cluster_argp = {flags, parse_option, NULL, NULL, NULL, NULL, NULL};

cluster_args cluster_args_default(void) {
    return (cluster_args){.noise_seed = 1};
}

int cluster_args_read(profile **out, const cluster_args *a, errbuf *eb) {
    PRE(out);
    PRE(a);
    PRE(a->path);
    status st = profile_read(out, a->path, &a->read, eb);
    if (st != ST_OK) return st == ST_INVALID || st == ST_IO ? PLAN_REFUSED : PLAN_FAILED;
    if (a->link && link_text_take(*out, a->link, eb) != ST_OK) {
        profile_free(*out);
        *out = NULL;
        return PLAN_REFUSED;
    }
    profile_worst w = profile_worst_error(*out);
    if (!(a->error_limit > 0) || w.error <= a->error_limit) return PLAN_DONE;
    errf(eb, ST_INVALID,
         "%s: %s steps of tp %u, pp %u are predicted %.1f %% wrong when their point is left out, more than "
         "the %.1f %% of --profile-error: measure more points",
         a->path, w.phase, w.engine->tp, w.engine->pp, w.error * 100, a->error_limit * 100);
    profile_free(*out);
    *out = NULL;
    return PLAN_PROFILE;
}
