/* What happens next: ends of steps, then everything else, each by (time, number).
 *
 * At equal times ends of steps come first, by lane: then it can be said of a lane that is many steps ahead
 * how far it is at any moment, without counting the events that it did not have. What is posted for now
 * stands in a ring: it is younger than all that the heap has for now. */
#include "planner/fleet/state.h"

#include "base/mem.h"

#include <stdlib.h>

/* ---- everything else ---- */

static bool earlier(const fevent *a, const fevent *b) {
    return a->at_ns < b->at_ns || (a->at_ns == b->at_ns && a->number < b->number);
}

static void heap_add(fleet *f, const fevent *e) {
    FLEET_GROW(f->heap, f->heap_count, f->heap_capacity, 64);
    uint32_t i = f->heap_count++;
    while (i) {
        uint32_t up = (i - 1) / 2;
        if (!earlier(e, &f->heap[up])) break;
        f->heap[i] = f->heap[up];
        i = up;
    }
    f->heap[i] = *e;
}

static fevent heap_pop(fleet *f) {
    fevent top = f->heap[0], last = f->heap[--f->heap_count];
    uint32_t i = 0, n = f->heap_count;
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= n) break;
        if (child + 1 < n && earlier(&f->heap[child + 1], &f->heap[child])) child++;
        if (!earlier(&f->heap[child], &last)) break;
        f->heap[i] = f->heap[child];
        i = child;
    }
    if (n) f->heap[i] = last;
    return top;
}

/* The ring's size is a power of two. */
static void soon_grow(fleet *f) {
    uint32_t size = MAX(2 * f->soon_capacity, 64u);
    fevent *ring = xcalloc(size, sizeof *ring);
    for (uint32_t i = 0; i < f->soon_count; i++)
        ring[i] = f->soon[(f->soon_first + i) & (f->soon_capacity - 1)];
    free(f->soon);
    f->soon = ring;
    f->soon_first = 0;
    f->soon_capacity = size;
}

uint64_t fleet_post(fleet *f, const fevent *what) {
    PRE(what->at_ns >= f->now_ns);
    fevent e = *what;
    e.number = ++f->numbers;
    if (e.at_ns > f->now_ns) {
        heap_add(f, &e);
        return e.number;
    }
    if (f->soon_count == f->soon_capacity) soon_grow(f);
    f->soon[(f->soon_first + f->soon_count++) & (f->soon_capacity - 1)] = e;
    return e.number;
}

uint64_t fleet_event_ns(const fleet *f) {
    if (f->heap_count && f->heap[0].at_ns == f->now_ns) return f->now_ns;
    if (f->soon_count) return f->now_ns;
    return f->heap_count ? f->heap[0].at_ns : FLEET_NEVER;
}

fevent fleet_event_take(fleet *f) {
    if (f->heap_count && (!f->soon_count || f->heap[0].at_ns == f->now_ns)) return heap_pop(f);
    fevent e = f->soon[f->soon_first];
    f->soon_first = (f->soon_first + 1) & (f->soon_capacity - 1);
    f->soon_count--;
    return e;
}

/* ---- ends of steps ---- */

/* Of prefill workers' steps that end together the one that began first ends first, as events do. They come
 * before the others' by their numbers. */
static bool ends_earlier(const fleet *f, const step_end *a, const step_end *b) {
    if (a->at_ns != b->at_ns) return a->at_ns < b->at_ns;
    uint64_t x = f->lanes[a->lane]->prefill_order, y = f->lanes[b->lane]->prefill_order;
    return x && y ? x < y : a->lane < b->lane;
}

static void set_place(fleet *f, uint32_t i, step_end e) {
    f->steps[i] = e;
    f->lanes[e.lane]->place = i + 1;
}

static void sift(fleet *f, step_end e, uint32_t i) {
    for (uint32_t up; i && ends_earlier(f, &e, &f->steps[up = (i - 1) / 2]); i = up)
        set_place(f, i, f->steps[up]);
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= f->step_count) break;
        if (child + 1 < f->step_count && ends_earlier(f, &f->steps[child + 1], &f->steps[child])) child++;
        if (!ends_earlier(f, &f->steps[child], &e)) break;
        set_place(f, i, f->steps[child]);
        i = child;
    }
    set_place(f, i, e);
}

void fleet_step_put(fleet *f, lane *l) {
    PRE(l->place || f->step_count < f->lane_count);
    sift(f, (step_end){.at_ns = l->end_ns, .lane = l->number}, l->place ? l->place - 1 : f->step_count++);
}

void fleet_step_take(fleet *f, lane *l) {
    PRE(l->place);
    uint32_t i = l->place - 1;
    step_end last = f->steps[--f->step_count];
    l->place = 0;
    if (last.lane != l->number) sift(f, last, i);
}
