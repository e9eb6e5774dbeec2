/* fault - a test hook: this process dies, stops or waits at a named point of its work, at its n-th time
 * there, so that a test finds it in exactly that state.
 *
 *   BATON_FAULT=d.segment:3:kill                          the 3rd segment that D copies is its last
 *   BATON_FAULT=p.prefill:1:hold,p.first_token:1:hold     one after the other; the second counts from there
 *
 * kill   SIGKILL. stop: SIGSTOP; SIGCONT goes on.
 * hold   the thread that is there waits for a SIGCONT, the others go on: what was sent before leaves for
 *        certain, and a test can see it arrive before it kills the process or lets it go on
 * spoil  what the point is named for: a frame that gets lost, a byte that flips
 *
 * Each is told in the log ("fault point"). Nothing is armed without the variable; then a point costs one load
 * and one branch that is never taken. */
#ifndef BATON_BASE_FAULT_H
#define BATON_BASE_FAULT_H

#include "base/status.h"

#include <stdatomic.h>
#include <stdbool.h>

typedef enum fault_point {
    FAULT_NONE,
    FAULT_P_PREFILL,     /* P: between two operations of a step */
    FAULT_P_FIRST_TOKEN, /* P: TOKENS leaves, the SEAL does not yet */
    FAULT_P_SEGMENT,     /* P: a slot of the receiver's ring is taken, its payload is not yet written */
    FAULT_P_SEALED,      /* P: the SEAL leaves, TOKENS does not yet */
    FAULT_P_FLIP,        /* P, spoil: a bit of a payload flips after its checksum was made */
    FAULT_P_LOSE,        /* P, spoil: a SEGMENT is numbered and does not leave */
    FAULT_D_RESERVED,    /* D: the first SEGMENT of a reservation is there, nothing of it is taken */
    FAULT_D_SEGMENT,     /* D: a payload is copied and not yet judged */
    FAULT_D_SEALED,      /* D: everything is verified, and nobody was told */
    FAULT_D_VERIFIED,    /* D: the coordinator is told */
    FAULT_D_DECODE,      /* D: between two operations of a step */
    FAULT_POINT_COUNT
} fault_point;

extern _Atomic int fault_armed; /* a fault_point; FAULT_NONE: nothing is left to happen */

/* What a process is to suffer, once, before its threads start: POINT:N:ACTION[,...], NULL or "": nothing.
 * ST_INVALID names what is wrong. */
status fault_setup(const char *text, errbuf *eb);

/* Somebody is at the point that is armed. */
bool fault_hit(void);

/* The process is at `point`. True: it is time to spoil what the point names. */
static inline bool fault_at(fault_point point) {
    if (__builtin_expect(atomic_load_explicit(&fault_armed, memory_order_relaxed) != (int)point, 1))
        return false;
    return fault_hit();
}

#endif
