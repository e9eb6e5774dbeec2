/* fleet - a cluster simulated fast: the production policies over counts instead of messages and bytes.
 *
 * What decides is production's own code: coordinator/router (with member, holds), prefill_policy,
 * decode_policy, colocated_policy, worker_core/batch, kv_pool's headroom. What this room adds is the order in
 * which they are asked, which is that of coordinator/dispatch.c, inbox.c and of the role cores: what a worker
 * tells is what its messages would tell (free pages as of its last one), and a request that is routed reaches
 * its worker as an event, when that may have formed a step already. Time of a step: profile_step_ns.
 *
 * Not modelled: prefix caches, faults and deadlines, clients that hang up, heartbeats (a decode worker that
 * had no room is asked again when its free pages grow). A pipeline of pp stages passes up to pp steps of
 * different sequences; each stage takes the profile's time of one and has one at a time. KV pages are counts.
 *
 * A decode worker's steps between two events that could change its batch are taken together when nobody looks
 * at single tokens; results are the same as one by one, and a test compares.
 *
 * Events come in the order of time; at the same time ends of steps first, by worker, then what was posted
 * first, then arrivals. No clock, no thread, no chance but the noise of the profile, which is drawn by (seed,
 * worker, step). Memory is bounded by the requests in flight. Thread: the caller's; fleets are independent.
 */
#ifndef BATON_PLANNER_FLEET_H
#define BATON_PLANNER_FLEET_H

#include "planner/fleet/fleet_types.h"

typedef struct fleet fleet;

/* Workers are numbered P, then D, then W. ST_INVALID: no engine of the profile for a role, no link or one
 * without bandwidth, a role without the other, pages, slots or step sizes that no worker could start with:
 * the text says which and why; such a placement is infeasible. Caller frees with fleet_free. */
status fleet_new(fleet **out, const fleet_options *opt, const fleet_sink *sink, errbuf *eb);
void fleet_free(fleet *f);
/* Runs until that time or, if earlier, until there is nothing to do any more. ST_INVALID: a step outside of
 * the grid, with the query and the grid. PRE: until never goes back. */
status fleet_run(fleet *f, uint64_t until_ns, errbuf *eb);
/* Tells the sink of each request in flight, by index, as FLEET_UNFINISHED. Then it only waits to be freed. */
void fleet_give_up(fleet *f);
/* No request is left and no arrival is to come. */
bool fleet_idle(const fleet *f);
fleet_totals fleet_totals_of(const fleet *f);
uint32_t fleet_worker_count(const fleet *f);
fleet_worker_totals fleet_worker(const fleet *f, uint32_t worker);
/* Invariants: pages, holds, no idle worker beside a queue that it could serve. For tests. */
bool fleet_check(const fleet *f);

#endif
