/* threads - all places in a graph where a text can be, each with its stack of calls; a byte further at a
 * time.
 *
 * Stacks are lists of frames that share their ends and exist once each, so that two threads are equal when
 * their numbers are. Private to this folder. */
#ifndef BATON_GRAMMAR_THREADS_H
#define BATON_GRAMMAR_THREADS_H

#include "grammar/graph.h"

#define THREADS_MAX 4096u /* of a set; more are left out */
#define STACK_MAX   256u  /* frames; a call beyond is not made */
#define FRAMES_MAX  (1u << 16)
/* Work of one token or one mask; what takes more is hostile. Some 2 s. */
#define THREADS_STEPS_MAX 20000000u

/* Frame numbers. BOTTOM is the end of every stack; what returns there has taken the whole rule. */
#define STACK_BOTTOM 0u
/* A thread whose rule has returned at the bottom. */
#define NODE_OUT (NODE_NONE - 1u)

typedef struct frame {
    uint32_t back; /* node that follows the call */
    uint32_t below, depth;
} frame;

typedef struct frames {
    frame *at; /* [count]; owned */
    uint32_t count, capacity;
    uint32_t *slots; /* open addressing -> frame; [slot_mask + 1] */
    uint32_t slot_mask;
    uint64_t steps; /* done; whoever wants a bound sets it to 0 and looks */
} frames;

typedef struct thread {
    uint32_t node; /* of kind BYTE, or NODE_OUT */
    uint32_t stack;
} thread;

typedef struct thread_set {
    thread *at; /* [count]; owned; in no order, none twice */
    uint32_t count, capacity;
} thread_set;

void frames_init(frames *f);
void frames_done(frames *f);
void thread_set_done(thread_set *s);

/* Adds all threads that node `at` with this stack leads to without a byte. */
void threads_enter(const graph *g, frames *f, thread_set *s, uint32_t at, uint32_t stack);
/* `to` becomes what `from` leads to by one byte; false when that is nothing. */
bool threads_step(const graph *g, frames *f, const thread_set *from, uint8_t byte, thread_set *to);
/* Whether one is NODE_OUT. */
bool threads_out(const thread_set *s);
/* Moves the stacks of `s` to new frames, without those that nobody uses. */
void threads_compact(frames *f, thread_set *s);

#endif
