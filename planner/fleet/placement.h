/* placement - which workers there are, of which shape, and how they form steps: what is simulated, and what a
 * search chooses. Plain data. */
#ifndef BATON_PLANNER_PLACEMENT_H
#define BATON_PLANNER_PLACEMENT_H

#include "base/role.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct fleet_role {
    uint32_t count, tp, pp; /* tp, pp: 1 = none; count 0: no such workers, the rest is not looked at */
    uint32_t devices;       /* of one worker */
    uint32_t kv_pages, max_seqs;
    uint32_t max_rows;     /* token budget of a step */
    uint32_t chunk_tokens; /* P, W: a multiple of 16 */
} fleet_role;

typedef struct fleet_placement {
    char name[64]; /* "1p1d", "chunked"; "" = fleet_placement_text's */
    fleet_role roles[ROLE_COUNT];
    bool prefill_first; /* W: else chunked */
} fleet_placement;

uint32_t fleet_placement_devices(const fleet_placement *p);
uint32_t fleet_placement_workers(const fleet_placement *p);
/* "1P 2D tp2", "colocated 3 x tp1, chunks of 256": canonical, the same for equal placements. Returns out. */
const char *fleet_placement_text(const fleet_placement *p, char *out, size_t size);
/* Order of ties: fewer devices, then canonical. <0, 0, >0 */
int fleet_placement_compare(const fleet_placement *a, const fleet_placement *b);

#endif
