/* pace - how long a request that comes now would wait, learned from those before it.
 *
 *   expected time to first token = tokens ahead of it in the queue / rate + stage
 *
 * rate:   prompt tokens that left the queue over the time in which somebody waited in it, of the last few
 * seconds. While nobody waits nothing is learned: workers that could do more do not show how much. A queue
 * that stands still counts as it goes on. stage:  from leaving the queue to the first token, a moving mean.
 * margin: what 98 % of the requests that had to wait did not exceed their expectation by: a quantile that is
 *         followed step by step (stochastic approximation of Robbins and Monro), so that it holds whatever
 * the reason is why they come later. Those that are let in although they fill the time that they have are
 *         most of all requests under overload; without a margin half of them would be late.
 *
 * Nothing is said before 8 requests have left a queue (pace_known), and nothing about a queue that is empty.
 * Pure; constant cost. */
#ifndef BATON_COORDINATOR_PACE_H
#define BATON_COORDINATOR_PACE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct pace {
    uint64_t since_ns; /* somebody waits, and what left since then is in left_*; 0: nobody waits */
    double left_tokens, left_count; /* since then */
    double tokens, count, ns;       /* of the last few seconds in which somebody waited */
    double stage_ns;                /* 0: not known */
    double margin_ns, error_ns;     /* error: mean of what expectations were wrong by, either way */
} pace;

/* So many tokens of one request left the queue in this turn. */
void pace_left(pace *p, uint64_t tokens);
void pace_note_turn(pace *p, bool waiting, uint64_t now_ns);
/* The turn is over. waiting: somebody waits who could be served. */
static inline void pace_turn(pace *p, bool waiting, uint64_t now_ns) {
    if (p->left_count > 0 || waiting != (p->since_ns > 0)) pace_note_turn(p, waiting, now_ns);
}
/* Workers came or went: what was learned counts no more than the least that is believed, so that what comes
 * is learned soon. */
void pace_doubt(pace *p);
/* A first token came, so long after its request left the queue. */
void pace_stage(pace *p, uint64_t stage_ns);
/* A request that had to wait got its first token so much later (< 0: earlier) than it was expected; or it did
 * not, and is that late at least. */
void pace_error(pace *p, int64_t late_ns);

bool pace_known(const pace *p);
/* How long so many tokens take to leave the queue; 0 when that is not known. */
uint64_t pace_wait_ns(const pace *p, uint64_t tokens, uint64_t now_ns);
/* The same for a number of requests */
uint64_t pace_wait_count_ns(const pace *p, uint64_t count, uint64_t now_ns);
/* Tokens per second; 0 when that is not known */
double pace_rate(const pace *p, uint64_t now_ns);

#endif
