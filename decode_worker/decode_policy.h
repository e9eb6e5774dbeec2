/* decode_policy - the decode worker's decision who gets a row (and a page) in the next step. Pure.
 *
 * Continuous batching: every running sequence has one row per step as long as there are rows; with more
 * sequences than rows they take turns. Reservations have no row; they follow the running sequences in the
 * list, so they are preempted first. */
#ifndef BATON_DECODE_POLICY_H
#define BATON_DECODE_POLICY_H

#include "worker_core/batch.h"

/* rows: the running sequences, oldest first, then the reservations; out: [count]. Returns where the round of
 * the next step starts. */
uint32_t decode_policy_form(const batch_row *rows, uint32_t count, const batch_limits *limits,
                            batch_verdict *out);

#endif
