/* config_placement - the placement that a cluster's config describes, as the simulators take it. Pure. */
#ifndef BATON_PLANNER_CONFIG_PLACEMENT_H
#define BATON_PLANNER_CONFIG_PLACEMENT_H

#include "config/config.h"
#include "planner/fleet/fleet.h"

/* Fills placement, and in opt what the config says of the coordinator, the context and the hosts; opt's
 * placement is then `placement`, its profile p (both borrowed), the rest zero. A pool whose pages the config
 * does not count (kv_pages: 0) has as many as the profile measured. ST_INVALID names the key and the remedy.
 */
status config_placement(fleet_placement *placement, fleet_options *opt, const config *c, const profile *p,
                        errbuf *eb);

#endif
