/* heap - elements in the order of a key: the smallest is at hand, and any of them can be moved or taken out.
 *
 * A binary heap of pointers to nodes that stand inside the caller's elements. A node knows its place, so that
 * an element whose key changes, or that goes, needs no search: each costs the depth of the heap, the smallest
 * nothing. It serves for deadlines (key: a time) and for queues in the order of numbers (key: the number).
 *
 *   keys   3 5 4 9 6        children of i are 2i + 1 and 2i + 2, and none is smaller than its parent
 *
 * Among equal keys the smaller `tie` is first; it is 0 unless its owner says otherwise, and then they come in
 * no particular order. No malloc but for growth by doubling, and none when capacity was given at the start.
 * Thread: whoever owns it. Invariant: heap_check. */
#ifndef BATON_BASE_HEAP_H
#define BATON_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct heap_node {
    uint64_t key;
    uint64_t tie;   /* its owner's: to be set before heap_put, or before heap_move */
    uint32_t place; /* 1 + its index in the heap; 0 = in none */
} heap_node;

typedef struct heap {
    heap_node **nodes; /* [count]; borrowed: each until it is taken out */
    uint32_t count, capacity;
} heap;

/* Empty, with room for so many nodes before it grows. Freed with heap_done; the nodes are the caller's. */
void heap_init(heap *h, uint32_t capacity);
void heap_done(heap *h);

/* The node is in no heap. */
void heap_put(heap *h, heap_node *n, uint64_t key);
/* The node is in this heap; its tie may have changed, too. */
void heap_move(heap *h, heap_node *n, uint64_t key);
void heap_take(heap *h, heap_node *n);
/* One with the smallest key; NULL when the heap is empty. In line like heap_has: a loop asks in every turn.
 */
static inline heap_node *heap_first(const heap *h) {
    return h->count ? h->nodes[0] : NULL;
}
static inline bool heap_has(const heap_node *n) {
    return n->place > 0;
}

/* No node is smaller than its parent and each knows its place. Linear: for tests. */
bool heap_check(const heap *h);

#endif
