/* probe - a pair is tried before it is needed: P sends what nobody needs, by the way that hand-offs take.
 *
 *   due    --> latency: PROBE_ROUNDS times the smallest segment, one at a time
 *          --> speed:   full slots, as many under way as the ring has, PROBE_BYTES in all, or PROBE_NS
 *          --> passed                                   X_PAIR, with both figures
 *
 * A PROBE is gathered from the sender's spare page, which holds no sequence but noise, new in each round,
 * and scattered into the receiver's; its checksum is checked like any other, so that what is measured is what
 * a segment costs, and what is proved is that bytes arrive. Hand-offs go first: while one of any pair wants
 * slots no probe leaves, and the figures are of what had left. Thread: the transfer thread. */
#ifndef BATON_TRANSFER_PROBE_H
#define BATON_TRANSFER_PROBE_H

#include "base/clock.h"
#include "transfer/xfer_core.h"

#define PROBE_BYTES ((size_t)64 << 20)
#define PROBE_NS    (300 * NS_PER_MS)

/* P, in every turn: begins, goes on, ends. */
void probe_turn(xfer *x, pair *p);
/* P: a CREDIT for the slot came, of a probe or not. */
void probe_credit(pair *p, uint32_t slot);
/* D: takes a PROBE whose payload is there; the pair ends when it is not what was sent. */
void probe_take(xfer *x, pair *p, chan_msg *m);

#endif
