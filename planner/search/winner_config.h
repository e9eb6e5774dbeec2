/* winner_config - a placement as a config that deploy/up.sh starts as it is. */
#ifndef BATON_PLANNER_WINNER_CONFIG_H
#define BATON_PLANNER_WINNER_CONFIG_H

#include "config/config.h"
#include "planner/fleet/placement.h"
#include "planner/profile/profile.h"

/* What the mock backend's latency file says of the placement's engines: their curves as three coefficients
 * each, through the origin and the far end of what was measured. Caller frees with free. */
char *winner_latency(const profile *p, const fleet_placement *at);
/* What a config starts from. Borrowed. */
typedef struct winner_base {
    const char *path;        /* a config; NULL: one of the mock backend, whose steps take as long as */
    const char *latency;     /* this preset or file says; NULL: the backend's default */
    const char *const *sets; /* [set_count]: "KEY=VALUE" */
    uint32_t set_count;
} winner_base;

/* The base with the placement's roles, as text. tp or pp above 1, which Baton does not have yet,
 * or more workers than it takes, are written and named in a comment and in `note` (else ""): such a file is
 * refused by the programs. The others are loaded again before this returns. Caller frees *out with free.
 * ST_INVALID as config_load, with the key. */
status winner_config(char **out, const fleet_placement *p, const winner_base *base, char *note,
                     size_t note_size, errbuf *eb);

#endif
