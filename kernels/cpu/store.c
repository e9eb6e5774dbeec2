#include "kernels/cpu/store.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20)

typedef struct block {
    struct block *next;
    void *bytes;
} block;

struct store {
    block *blocks; /* the newest first */
};

store *store_new(void) {
    return xcalloc(1, sizeof(store));
}

void store_close(store *s) {
    if (!s) return;
    for (block *b = s->blocks, *next; b; b = next) {
        next = b->next;
        free(b->bytes);
        free(b);
    }
    free(s);
}

void *store_take(store *s, size_t bytes) {
    PRE(s);
    PRE(bytes > 0);
    size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : 64, whole = (bytes + align - 1) / align * align;
    if (whole < bytes) return NULL;
    void *p = aligned_alloc(align, whole);
    if (!p) return NULL;
    /* Weights are read from end to end: misses of the TLB in small pages cost a tenth. */
    if (align == HUGE_PAGE) (void)madvise(p, whole, MADV_HUGEPAGE);
    block *b = xcalloc(1, sizeof *b);
    *b = (block){.next = s->blocks, .bytes = p};
    s->blocks = b;
    return p;
}

bool store_filled(const store *s) {
    PRE(s);
    return false;
}
