/* decision - what a core has decided, for whoever wants to compare: the log of a real cluster, the simulator,
 * a test of one against the other.
 *
 * The cores tell their sink, which is NULL where nobody asks: one branch then. Programs set decision_log when
 * the log level is debug, so that each decision is a line of the log, by the name of who decided:
 *
 *   decision coordinator route req=7 attempt=1 worker=prefill-0 decode=decode-1
 *       req computes its prompt at worker; decode is its D, "-" when it has none (yet), or needs none
 *   decision coordinator reserve req=7 attempt=1 decode=decode-1
 *       a request that was routed without one gets a D
 *   decision prefill-0 step n=12 rows=7:0+128,9:0+64
 *       the 12th step of this process begins: of request 7 the rows from 0 on, 128 of them, ... in the order
 *       of the batch. What does not fit into a line follows in further ones of the same n
 *   decision decode-1 preempt req=7 attempt=1
 *       it loses its place there
 *   decision decode-1 no-room req=7 attempt=1 why="..."
 *       a worker refuses what it was asked to hold
 *
 * Pure but for decision_log, which writes to the log. */
#ifndef BATON_CTL_DECISION_H
#define BATON_CTL_DECISION_H

#include "token/step.h"

#include <stddef.h>

typedef enum decision_kind {
    DECISION_ROUTE,
    DECISION_RESERVE,
    DECISION_STEP,
    DECISION_PREEMPT,
    DECISION_NO_ROOM
} decision_kind;

/* Borrowed for the call, with all that it points to. */
typedef struct decision {
    decision_kind kind;
    uint64_t req; /* STEP: 0, as attempt */
    uint32_t attempt;
    const char *worker, *decode; /* ROUTE, RESERVE: names; NULL: none */
    const char *why;             /* NO_ROOM */
    uint64_t step;               /* STEP: counts from 1 */
    const step_item *items;      /* [item_count] */
    uint32_t item_count;
} decision;

#define DECISION_TEXT_MAX 768u
/* "route", "reserve", "step", "preempt", "no-room" */
const char *decision_name(decision_kind kind);
/* The pairs of a line, into text[size]; of a step those of items[*next...] that fit, and *next is where the
 * following line goes on: it is called until *next == item_count. PRE: size >= 128 */
void decision_text(const decision *d, uint32_t *next, char *text, size_t size);
/* For a sink's `decision`: lines of level debug. */
void decision_log(void *ctx, const decision *d);

#endif
