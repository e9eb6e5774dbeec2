/* fiber - one stack with a thread of execution that another fiber of the same OS thread switches to.
 *
 * The switch is Boost.Context's (no system call); here are the stacks, with a guard page below each, and what
 * AddressSanitizer and ThreadSanitizer must be told. A fiber is used by the OS thread that made it. The
 * switch is inline, because every return that was called on another stack is mispredicted, and that is most
 * of its cost. */
#ifndef BATON_TESTS_CUDA_HOST_FIBER_H
#define BATON_TESTS_CUDA_HOST_FIBER_H

#include <boost/context/detail/fcontext.hpp>
#include <stddef.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#elif defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

struct fiber {
    void *context;     /* where it goes on; of the OS thread's own fiber: set at its first switch */
    void *memory;      /* mapping of guard page and stack; NULL: the OS thread's own stack */
    const void *stack; /* bounds, for AddressSanitizer */
    size_t stack_bytes;
    /* At its first switch */
    void (*enter)();
    fiber *by;        /* who switched to it last */
    void *fake_stack; /* AddressSanitizer's second stack, while the fiber does not run */
    void *tsan;       /* ThreadSanitizer's idea of the fiber */
};

/* The running OS thread, so that fibers can switch back to it. */
void fiber_of_thread(fiber *f);
/* enter is called at the first switch to f, and never returns; `number` spreads the stacks over the sets of
 * the cache. False when there is no memory. */
bool fiber_new(fiber *f, void (*enter)(), unsigned number);
/* f does not run, or was left for good. */
void fiber_done(fiber *f);

/* Half of a switch. Nothing that the other side reads may lie on the stack of `from`: AddressSanitizer takes
 * that away from one that leaves for good. */
static inline boost::context::detail::transfer_t fiber_jump(fiber *from, fiber *to, bool forever) {
    to->by = from;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(forever ? NULL : &from->fake_stack, to->stack, to->stack_bytes);
#elif defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(to->tsan, 0);
#endif
    (void)forever;
    return boost::context::detail::jump_fcontext(to->context, to);
}
/* The other half: `self` runs (again); t has the place where the one before it stopped. */
static inline void fiber_arrive(fiber *self, boost::context::detail::transfer_t t) {
    self->by->context = t.fctx;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(self->fake_stack, &self->by->stack, &self->by->stack_bytes);
#endif
}

/* Goes on in `to`; returns when another fiber switches back to `from`, the running one. */
static inline void fiber_switch(fiber *from, fiber *to) {
    fiber_arrive(from, fiber_jump(from, to, false));
}
/* As fiber_switch, and `from` will never run again. */
[[noreturn]] static inline void fiber_leave(fiber *from, fiber *to) {
    fiber_jump(from, to, true);
    abort();
}

#endif
