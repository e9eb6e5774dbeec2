/* dist_fleet - a placement of DistServe's search as a fleet: what the cluster's own policies make of it, on
 * the same profile.
 *
 * The same in both: coefficients, the first stage's overhead (here spread over the stages, so that a pass
 * takes as long), tokens of KV. Different: prompts are computed in chunks of a budget, KV of both sides is
 * held and reserved, hand-offs cross a link, admission waits for pages. */
#ifndef BATON_PLANNER_DIST_FLEET_H
#define BATON_PLANNER_DIST_FLEET_H

#include "planner/distserve/dist_configs.h"
#include "planner/fleet/placement.h"
#include "planner/profile/profile.h"

#define DIST_FLEET_ROWS 2048u /* tokens of a prefill step, and of a chunk */
#define DIST_FLEET_SEQS 1024u /* of a batch */

/* Makes a profile as read from DistServe's file one that fleets can use. link_bytes_per_s INFINITY: KV moves
 * as if in no time. Seals it. */
void dist_fleet_profile(profile *p, const dist_model *m, double link_bytes_per_s);
/* PRE: the placement fits (dist_case_options) */
fleet_placement dist_fleet_placement(const dist_config *c, const dist_model *m);

#endif
