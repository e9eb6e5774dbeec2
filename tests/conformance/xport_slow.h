/* xport_slow - a transport where everything takes its time: a ring is ready, a push is on its way and a pull
 * is there only when they were asked for SLOW_TURNS times.
 *
 *   P's stage --push done--> wire, one place per slot --pull done--> D's ring
 *
 * Bytes move only when a push or pull is done, and those are done in the order in which they were begun; who
 * asks for another than the oldest, begins one in a slot that is under way, or pulls in another order than
 * was pushed, fails a CHECK. So this is the suite's model of what a transport may rely on.
 *
 * The wire is memory that forked peers share. What is to go wrong is told by xport_slow_set, to both sides of
 * the process. Thread: any number; each ring belongs to one. */
#ifndef BATON_TESTS_CONFORMANCE_XPORT_SLOW_H
#define BATON_TESTS_CONFORMANCE_XPORT_SLOW_H

#include "transfer/xport.h"

#define SLOW_TURNS 3u

/* What becomes of an operation. */
typedef enum slow_fate {
    SLOW_DONE,  /* after SLOW_TURNS */
    SLOW_STUCK, /* never */
    SLOW_FAILS, /* after SLOW_TURNS */
} slow_fate;

typedef struct slow_fates {
    slow_fate create, open; /* D's ring, P's ring */
    slow_fate push, pull;
} slow_fates;

extern const xport_ops xport_slow;

/* Asked whenever an operation is: those under way are met as well. All zero: everything gets done. */
void xport_slow_set(slow_fates fates);
/* Rings that are not closed, in this process. */
uint32_t xport_slow_rings(void);
/* Pushes and pulls that were begun so far, in this process. */
uint32_t xport_slow_pushes(void);
uint32_t xport_slow_pulls(void);

#endif
