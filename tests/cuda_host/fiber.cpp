#include "fiber.h"

#include <boost/context/detail/fcontext.hpp>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_BYTES ((size_t)256 << 10) /* red zones make frames larger */
#else
#define STACK_BYTES ((size_t)64 << 10)
#endif

/* Nothing that the other side reads may lie on the stack of `from`: AddressSanitizer takes that away from one that leaves
 * for good. */
static transfer_t jump(fiber *from, fiber *to, bool forever) {
    to->by = from;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(forever ? NULL : &from->fake_stack, to->stack, to->stack_bytes);
#elif defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(to->tsan, 0);
#endif
    (void)forever;
    return jump_fcontext(to->context, to);
}

/* `self` runs (again); t has the place where the one before it stopped. */
static void arrive(fiber *self, transfer_t t) {
    self->by->context = t.fctx;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(self->fake_stack, &self->by->stack, &self->by->stack_bytes);
#endif
}

static void enter_fiber(transfer_t t) {
    fiber *self = static_cast<fiber *>(t.data);
    arrive(self, t);
    self->enter();
    abort();
}

void fiber_of_thread(fiber *f) {
    *f = fiber();
#if defined(__SANITIZE_THREAD__)
    f->tsan = __tsan_get_current_fiber();
#endif
}

bool fiber_new(fiber *f, void (*enter)(), unsigned number) {
    *f = fiber();
    size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = STACK_BYTES + page;
    void *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m == MAP_FAILED) return false;
    if (mprotect(m, page, PROT_NONE) != 0) {
        munmap(m, bytes);
        return false;
    }
    f->memory = m;
    f->stack = static_cast<char *>(m) + page;
    f->stack_bytes = STACK_BYTES - number % 31 * 128;
    f->context = make_fcontext(static_cast<char *>(m) + page + f->stack_bytes, f->stack_bytes, enter_fiber);
    f->enter = enter;
#if defined(__SANITIZE_THREAD__)
    f->tsan = __tsan_create_fiber(0);
#endif
    return true;
}

void fiber_done(fiber *f) {
    if (!f->memory) return;
#if defined(__SANITIZE_THREAD__)
    __tsan_destroy_fiber(f->tsan);
#endif
    munmap(f->memory, STACK_BYTES + (size_t)sysconf(_SC_PAGESIZE));
    *f = fiber();
}

void fiber_switch(fiber *from, fiber *to) {
    arrive(from, jump(from, to, false));
}

void fiber_leave(fiber *from, fiber *to) {
    jump(from, to, true);
    abort();
}
