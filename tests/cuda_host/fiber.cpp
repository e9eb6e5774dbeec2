#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_BYTES ((size_t)256 << 10) /* red zones make frames larger */
#else
#define STACK_BYTES ((size_t)64 << 10)
#endif

static void enter_fiber(transfer_t t) {
    fiber *self = static_cast<fiber *>(t.data);
    fiber_arrive(self, t);
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
    size_t bytes = STACK_BYTES + (size_t)sysconf(_SC_PAGESIZE);
#if defined(__SANITIZE_ADDRESS__)
    /* Frames that were never left keep their red zones, and who is given these addresses next would meet
     * them. */
    __asan_unpoison_memory_region(f->memory, bytes);
#endif
    munmap(f->memory, bytes);
    *f = fiber();
}
