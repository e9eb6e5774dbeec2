/* router - which worker gets a request. Pure: members in, a choice out; nothing is changed.
 *
 * A route is a (P, D) pair or a colocated worker; clusters that mix both are legal. Among the routes with
 * room the least loaded wins; load is the assigned prompt rows over what rule 6 allows plus the requests held
 * over the slots. When no D has room but a P has, the pair without D is a route too: the KV is parked at P
 * (DistServe's back-pressure). For a stream that stands still it is one even while there is no D at all,
 * unless a colocated worker could take it: when the next D joins, its KV has been computed. Ties go to the
 * member that joined first, so equal histories choose equally.
 *
 * Prefixes: what a worker lacks of the longest prefix that any worker is thought to hold of this prompt
 * weighs as load, rounded up:
 *
 *   P, W: load + missing rows / (2 max_rows)         they are work like the rows assigned before, so a holder
 *                                                    wins unless it is busier by more rows than the hit saves
 *   D:    load + missing rows / tokens of the pool   they travel while the prompt is computed, which costs
 *                                                    nearly nothing, but take room where a holder has them
 *
 * A P computes replays before everything else, so what is assigned there counts for a replay as the rows of
 * the other replays, and as load besides at most a batch: the step that runs. Rule 6 likewise.
 *
 * Only what is missing against the best holder counts, so without hints the choice is by load alone. Rule 6
 * counts the rows that are not held.
 * Cost: workers, or P + D for pairs. */
#ifndef BATON_COORDINATOR_ROUTER_H
#define BATON_COORDINATOR_ROUTER_H

#include "coordinator/member.h"

typedef struct route_ask {
    uint32_t rows;       /* prompt ++ output ids */
    uint32_t tokens_max; /* prompt + max_tokens: a pool that could never hold it is no route */
    uint64_t avoid; /* incarnation of a D that just failed this request: only when nothing else has room. 0 =
                       none */
    bool replay;    /* of a stream that stands still */
    bool decode_blocked;              /* an older request waits for D pages: none may be reserved before it */
    prefix_found computing, decoding; /* who is thought to hold how much: of P and W, of D */
} route_ask;

typedef struct route {
    member *prefill; /* prefill or colocated worker */
    member *decode;  /* NULL for a colocated worker, or when no D has room now */
} route;

/* False when the request must stay in the queue. */
bool router_pick(member_list members, const route_ask *ask, route *out);
/* A D for KV of a prefill worker whose tokens take kv_token_bytes. NULL when none has room. */
member *router_pick_decode(member_list members, const route_ask *ask, uint64_t kv_token_bytes);
/* Whether some living route (free or not) could ever hold it; else it must not block those behind it. */
bool router_could_fit(member_list members, const route_ask *ask);
/* Likewise for the D's alone. */
bool router_decode_could_fit(member_list members, uint32_t tokens_max);
/* True when no route can come about, for lack of *out: by the workers that are here and, when `expected`,
 * those that the config wants, `wanted` of each role. */
bool router_missing_role(member_list members, const uint32_t wanted[ROLE_COUNT], bool expected,
                         worker_role *out);

#endif
