#include "base/heap.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdlib.h>

void heap_init(heap *h, uint32_t capacity) {
    PRE(h);
    capacity = MAX(capacity, 4u);
    *h = (heap){.nodes = xcalloc(capacity, sizeof *h->nodes), .capacity = capacity};
}

void heap_done(heap *h) {
    if (!h) return;
    free(h->nodes);
    *h = (heap){0};
}

static void set(heap *h, uint32_t i, heap_node *n) {
    h->nodes[i] = n;
    n->place = i + 1;
}

static bool before(const heap_node *a, const heap_node *b) {
    return a->key < b->key || (a->key == b->key && a->tie < b->tie);
}

/* The node belongs at i or above. */
static void rise(heap *h, uint32_t i, heap_node *n) {
    while (i > 0) {
        uint32_t parent = (i - 1) / 2;
        if (!before(n, h->nodes[parent])) break;
        set(h, i, h->nodes[parent]);
        i = parent;
    }
    set(h, i, n);
}

/* The node belongs at i or below. */
static void sink(heap *h, uint32_t i, heap_node *n) {
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= h->count) break;
        if (child + 1 < h->count && before(h->nodes[child + 1], h->nodes[child])) child++;
        if (!before(h->nodes[child], n)) break;
        set(h, i, h->nodes[child]);
        i = child;
    }
    set(h, i, n);
}

/* The node belongs at i, above or below. */
static void settle(heap *h, uint32_t i, heap_node *n) {
    if (i > 0 && before(n, h->nodes[(i - 1) / 2]))
        rise(h, i, n);
    else
        sink(h, i, n);
}

void heap_put(heap *h, heap_node *n, uint64_t key) {
    PRE(h->nodes);
    PRE(n->place == 0);
    if (h->count == h->capacity) {
        h->capacity *= 2;
        h->nodes = xrealloc(h->nodes, h->capacity, sizeof *h->nodes);
    }
    n->key = key;
    rise(h, h->count++, n);
}

/* Whether the node is in this heap, by its own word and the heap's. */
static bool is_in(const heap *h, const heap_node *n) {
    return n->place > 0 && n->place <= h->count && h->nodes[n->place - 1] == n;
}

void heap_move(heap *h, heap_node *n, uint64_t key) {
    PRE(is_in(h, n));
    n->key = key;
    settle(h, n->place - 1, n);
}

void heap_take(heap *h, heap_node *n) {
    PRE(is_in(h, n));
    uint32_t hole = n->place - 1;
    n->place = 0;
    heap_node *last = h->nodes[--h->count];
    if (last == n) return;
    settle(h, hole, last);
}

bool heap_check(const heap *h) {
    PRE(h);
    for (uint32_t i = 0; i < h->count; i++) {
        if (h->nodes[i]->place != i + 1) return false;
        if (i > 0 && before(h->nodes[i], h->nodes[(i - 1) / 2])) return false;
    }
    return h->count <= h->capacity;
}
