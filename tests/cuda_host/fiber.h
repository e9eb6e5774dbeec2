/* fiber - one stack with a thread of execution that another fiber of the same OS thread switches to.
 *
 * The switch is Boost.Context's (about 5 ns, no system call); here are the stacks, with a guard page below each, and what
 * AddressSanitizer and ThreadSanitizer must be told. A fiber is used by the OS thread that made it. */
#ifndef BATON_TESTS_CUDA_HOST_FIBER_H
#define BATON_TESTS_CUDA_HOST_FIBER_H

#include <stddef.h>

struct fiber {
    void *context;     /* where it goes on; of the OS thread's own fiber: set at its first switch */
    void *memory;      /* mapping of guard page and stack; NULL: the OS thread's own stack */
    const void *stack; /* bounds, for AddressSanitizer */
    size_t stack_bytes;
    void (*enter)();   /* at its first switch */
    fiber *by;         /* who switched to it last */
    void *fake_stack;  /* AddressSanitizer's second stack, while the fiber does not run */
    void *tsan;        /* ThreadSanitizer's idea of the fiber */
};

/* The running OS thread, so that fibers can switch back to it. */
void fiber_of_thread(fiber *f);
/* enter is called at the first switch to f, and never returns; `number` spreads the stacks over the sets of the cache.
 * False when there is no memory. */
bool fiber_new(fiber *f, void (*enter)(), unsigned number);
/* f does not run, or was left for good. */
void fiber_done(fiber *f);
/* Goes on in `to`; returns when another fiber switches back to `from`, the running one. */
void fiber_switch(fiber *from, fiber *to);
/* As fiber_switch, and `from` will never run again. */
[[noreturn]] void fiber_leave(fiber *from, fiber *to);

#endif
