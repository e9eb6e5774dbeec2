/* sm - a state machine as data: an enum, a table of allowed edges, a stamp per state.
 *
 * There are three machines in Baton and no more: request (coordinator/request.h), worker
 * (coordinator/member.h) and hand-off (common/kv/handoff.h). sm_move asserts that the edge exists and stamps
 * the entry, so stage times are differences of stamps and are measured nowhere else. */
#ifndef BATON_BASE_SM_H
#define BATON_BASE_SM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define SM_STATES_MAX 12

typedef struct sm_state {
    const char *name;
    uint32_t next; /* bit i set: an edge to state i */
    bool end;      /* no way out */
} sm_state;

typedef struct sm_def {
    const char *name;       /* "request" */
    const sm_state *states; /* indexed by the enum; state 0 is the first */
    uint32_t state_count;
} sm_def;

typedef struct sm {
    const sm_def *def;
    uint32_t state;
    uint64_t entered_ns[SM_STATES_MAX]; /* last entry into each state; 0 = never */
    uint64_t first_ns[SM_STATES_MAX];   /* first entry into each state; 0 = never */
} sm;

#define SM_TO(state) (1u << (state))

/* Enters state 0 */
void sm_init(sm *m, const sm_def *def, uint64_t now_ns);
bool sm_can(const sm *m, uint32_t next);
/* Asserts the edge */
void sm_move(sm *m, uint32_t next, uint64_t now_ns);
bool sm_ended(const sm *m);
const char *sm_name(const sm *m);
/* Prints the table as a Mermaid state diagram; ARCHITECTURE.md holds the same text and a test compares them.
 */
void sm_print_mermaid(const sm_def *def, FILE *out);

#endif
