/* loop - one libevent loop per process, with turns: events only fill queues, decisions are taken once per
 * turn.
 *
 * loop_turn's callback runs after each batch of events and says when it wants to run next if nothing happens.
 */
#ifndef BATON_NET_LOOP_H
#define BATON_NET_LOOP_H

#include "base/status.h"

#include <stdint.h>

struct event_base;
typedef struct loop loop;

/* turn: called once per turn with the clock; returns the time (ns) at which it must run again at the latest
 * (UINT64_MAX = whenever something happens; at least every 250 ms in any case). */
typedef uint64_t (*loop_turn_fn)(void *ctx, uint64_t now_ns);

status loop_new(loop **out, loop_turn_fn turn, void *ctx, errbuf *eb);
void loop_free(loop *l);
struct event_base *loop_base(loop *l);
/* Calls fn(ctx) in the loop when fd is readable. Freed with the loop. */
void loop_watch(loop *l, int fd, void (*fn)(void *ctx), void *ctx);
/* Calls fn(ctx) after each turn, before the loop waits for events; what fn makes active is not waited for.
 * Ends with loop_before_wait_end for the same ctx. */
void loop_before_wait(loop *l, void (*fn)(void *ctx), void *ctx);
void loop_before_wait_end(loop *l, const void *ctx);
/* SIGINT and SIGTERM call fn(ctx, signo) in the loop. */
void loop_signals(loop *l, void (*fn)(void *ctx, int signo), void *ctx);
/* SIGHUP, which otherwise ends the process, calls fn(ctx) in the loop. */
void loop_on_hangup(loop *l, void (*fn)(void *ctx), void *ctx);
/* Any thread: take a turn soon */
void loop_wake(loop *l);
/* Waits for events and runs one batch of them, without a turn. For who turns by himself. */
void loop_batch(loop *l);
/* Under load a turn gathers what comes within so much time: the loop rests before it looks again, whenever
 * the last 16 turns were, on average, less than 2 * rest_ns apart. Turns that are rarer are not held up. 0 =
 * never, as at the start. */
void loop_gather(loop *l, uint64_t rest_ns);
/* Until loop_stop */
void loop_run(loop *l);
void loop_stop(loop *l);

#endif
