/* assemble - a profile of what was measured: curves, what slows them down, the link, overheads. Pure. */
#ifndef BATON_PLANNER_ASSEMBLE_H
#define BATON_PLANNER_ASSEMBLE_H

#include "planner/measure/overheads.h"
#include "planner/measure/samples.h"

/* The workers of a role, as they were measured. */
typedef struct assemble_role {
    uint32_t tp, pp, devices;
    uint32_t kv_pages, max_seqs; /* kv_pages 0: there were none */
} assemble_role;

typedef struct assemble_input {
    const samples *steps, *crowd; /* crowd: of two colocated workers at once; NULL: not measured */
    const overheads *overheads;
    assemble_role roles[ROLE_COUNT];
    double kv_token_bytes, pair_bytes_per_s; /* 0, NAN: unknown */
    uint32_t layers;                         /* pieces of a chunk's KV: as profile_link */
} assemble_input;

/* Which slowdowns of a role's steps were measured; 0 stands for the others in the profile. */
typedef struct assemble_slowed {
    bool prefill_by_prefill, prefill_by_decode, decode_by_prefill, decode_by_decode;
} assemble_slowed;

/* Equal roles beside each other are measured of two colocated workers only: a prefill (decode) worker of the
 * same shape takes that value for its prompts beside others' prompts (its batch beside other batches).
 * slowed: [ROLE_COUNT]; sets out's engines, link and overheads; pts: what the curves were fitted to.
 * ST_INVALID names the role and the phase that cannot be fitted. PRE: out has no engines */
status assemble(profile *out, points *pts, assemble_slowed *slowed, const assemble_input *in, errbuf *eb);

#endif
