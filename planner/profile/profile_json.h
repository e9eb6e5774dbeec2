/* profile_json - baton-profile/1: every field of profile.h under its own name; one table for both directions.
 *
 * null stands for what is not known: an error, a phase without a curve, a link; as the bound of a curve, for
 * none. Left out is 0, or 1 for tp and pp, or tp * pp for devices. A key that nobody knows is a slip and
 * refused. "hash" may be left out; where it stands it must be that of the numbers. "points", what curves were
 * fitted to, is for people and not looked at. */
#ifndef BATON_PLANNER_PROFILE_JSON_H
#define BATON_PLANNER_PROFILE_JSON_H

#include "planner/profile/profile.h"

#include <jansson.h>

#define PROFILE_JSON_FORMAT "baton-profile/1"

/* Checked and sealed. ST_INVALID names the key. Caller frees *out with profile_free. */
status profile_json_read(profile **out, const json_t *root, errbuf *eb);
/* New reference. */
json_t *profile_json_of(const profile *p);

#endif
