/* Chance, and the events in order of (time, number): a heap, and before it those of who woke up. */
#include "sim/sim_world.h"

#include "base/mix.h"

#include <stdlib.h>

uint64_t sim_random(sim *s) {
    s->rng += MIX64_STEP;
    return kv_mix(s->rng);
}

uint32_t sim_below(sim *s, uint32_t n) {
    return (uint32_t)((sim_random(s) >> 32) % n);
}

int32_t sim_token(uint64_t prompt_hash, uint64_t seed, uint32_t index) {
    uint64_t h = kv_mix(prompt_hash ^ kv_mix(seed + 31ull * index)) >> 7;
    return h % 48 == 0 ? SIM_EOS : (int32_t)(10 + h % 5000);
}

uint64_t sim_delay(sim *s, uint64_t base_ns) {
    if (!s->opt.jitter) return base_ns;
    uint64_t d = base_ns / 2 + sim_below(s, (uint32_t)base_ns);
    if (sim_below(s, 200) == 0) d *= 20;
    return d;
}

uint64_t sim_fifo(sim *s, uint64_t *last_ns, uint64_t base_ns) {
    uint64_t at = s->now_ns + sim_delay(s, base_ns);
    *last_ns = MAX(*last_ns, at);
    return *last_ns;
}

/* ---- the heap ---- */

static bool before(const sim_event *a, const sim_event *b) {
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->number < b->number;
}

static void heap_push(sim *s, sim_event *e) {
    SIM_GROW(s->heap, s->heap_count, s->heap_capacity);
    uint32_t i = s->heap_count++;
    for (; i > 0 && before(e, s->heap[(i - 1) / 2]); i = (i - 1) / 2) s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = e;
}

static sim_event *heap_pop(sim *s) {
    sim_event *top = s->heap[0], *last = s->heap[--s->heap_count];
    uint32_t i = 0, n = s->heap_count;
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= n) break;
        if (child + 1 < n && before(s->heap[child + 1], s->heap[child])) child++;
        if (!before(s->heap[child], last)) break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    if (n) s->heap[i] = last;
    return top;
}

sim_event *sim_post(sim *s, uint64_t at_ns, event_kind kind, const sim_proc *to) {
    PRE(s);
    sim_event *e = s->spare ? s->spare : xmalloc(sizeof *e);
    if (s->spare) s->spare = e->next;
    *e = (sim_event){0};
    e->at_ns = MAX(at_ns, s->now_ns);
    e->number = ++s->event_number;
    e->kind = kind;
    e->worker = to ? (int32_t)to->index : -1;
    e->life = to ? to->life : 0;
    heap_push(s, e);
    return e;
}

void sim_event_free(sim *s, sim_event *e) {
    if (!e) return;
    free(e->data);
    e->next = s->spare;
    s->spare = e;
}

sim_event *sim_next(sim *s) {
    PRE(s->heap_count > 0 || s->ready_count > 0);
    if (s->ready_count == 0) {
        sim_event *e = heap_pop(s);
        s->now_ns = e->at_ns;
        return e;
    }
    sim_event *e = s->ready[s->ready_taken++];
    if (s->ready_taken == s->ready_count) s->ready_taken = s->ready_count = 0;
    return e;
}
