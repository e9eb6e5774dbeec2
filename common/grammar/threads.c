#include "grammar/threads.h"

#include "base/mem.h"
#include "base/mix.h"
#include "base/status.h"

#include <stdlib.h>
#include <string.h>

#define NO_FRAME UINT32_MAX

void frames_init(frames *f) {
    *f = (frames){.slot_mask = 255};
    f->slots = xcalloc(f->slot_mask + 1u, sizeof *f->slots);
    f->at = xcalloc(64, sizeof *f->at);
    f->capacity = 64;
    f->count = 1; /* the bottom: slots hold numbers above 0 */
}

void frames_done(frames *f) {
    free(f->at);
    free(f->slots);
    *f = (frames){0};
}

static uint32_t *slot_of(const frames *f, uint32_t back, uint32_t below) {
    uint64_t key = (uint64_t)back << 32 | below;
    for (uint32_t i = (uint32_t)mix64(key) & f->slot_mask;; i = (i + 1) & f->slot_mask) {
        uint32_t n = f->slots[i];
        if (n == 0 || (f->at[n].back == back && f->at[n].below == below)) return &f->slots[i];
    }
}

static void grow(frames *f) {
    f->capacity *= 2;
    f->at = xrealloc(f->at, f->capacity, sizeof *f->at);
    free(f->slots);
    f->slot_mask = f->capacity * 4 - 1;
    f->slots = xcalloc(f->slot_mask + 1u, sizeof *f->slots);
    for (uint32_t n = 1; n < f->count; n++) *slot_of(f, f->at[n].back, f->at[n].below) = n;
}

static uint32_t push(frames *f, uint32_t back, uint32_t below) {
    uint32_t *slot = slot_of(f, back, below);
    if (*slot) return *slot;
    if (f->at[below].depth == STACK_MAX || f->count == FRAMES_MAX) return NO_FRAME;
    if (f->count == f->capacity) {
        grow(f);
        slot = slot_of(f, back, below);
    }
    f->at[f->count] = (frame){.back = back, .below = below, .depth = f->at[below].depth + 1};
    *slot = f->count;
    return f->count++;
}

void thread_set_done(thread_set *s) {
    free(s->at);
    *s = (thread_set){0};
}

static bool add(thread_set *s, thread t) {
    for (uint32_t i = 0; i < s->count; i++)
        if (s->at[i].node == t.node && s->at[i].stack == t.stack) return false;
    if (s->count == THREADS_MAX) return false;
    if (s->count == s->capacity) {
        s->capacity = MAX(8u, s->capacity * 2);
        s->at = xrealloc(s->at, s->capacity, sizeof *s->at);
    }
    s->at[s->count++] = t;
    return true;
}

/* What is still to be entered. Ways that meet are entered again, which costs no more than they do; a way
 * without a byte that comes back to itself is cut by `left`. */
#define WAYS_MAX  1024u
#define STEPS_MAX 65536u

void threads_enter(const graph *g, frames *f, thread_set *s, uint32_t at, uint32_t stack) {
    thread ways[WAYS_MAX];
    uint32_t top = 0, left = STEPS_MAX;
    ways[top++] = (thread){at, stack};
    while (top && left-- && f->steps <= THREADS_STEPS_MAX) {
        f->steps += 1 + s->count / 4; /* what add looks through */
        thread t = ways[--top];
        if (t.node == NODE_NONE) continue;
        const node *n = &g->nodes[t.node];
        uint32_t more = NO_FRAME;
        switch (n->kind) {
        case NODE_BYTE:
            (void)add(s, t);
            break;
        case NODE_SPLIT:
            if (top + 2 > WAYS_MAX) break;
            ways[top++] = (thread){n->other, t.stack};
            ways[top++] = (thread){n->next, t.stack};
            break;
        case NODE_CALL:
            if (n->next != NODE_NONE) more = push(f, n->next, t.stack);
            if (more != NO_FRAME) ways[top++] = (thread){g->rules[n->of], more};
            break;
        case NODE_RETURN:
            if (t.stack == STACK_BOTTOM)
                (void)add(s, (thread){NODE_OUT, STACK_BOTTOM});
            else
                ways[top++] = (thread){f->at[t.stack].back, f->at[t.stack].below};
            break;
        }
    }
}

bool threads_step(const graph *g, frames *f, const thread_set *from, uint8_t byte, thread_set *to) {
    to->count = 0;
    for (uint32_t i = 0; i < from->count; i++) {
        if (from->at[i].node == NODE_OUT) continue;
        const node *n = &g->nodes[from->at[i].node];
        if (byte_set_has(&g->sets[n->of], byte)) threads_enter(g, f, to, n->next, from->at[i].stack);
    }
    return to->count > 0;
}

bool threads_out(const thread_set *s) {
    for (uint32_t i = 0; i < s->count; i++)
        if (s->at[i].node == NODE_OUT) return true;
    return false;
}

/* Below comes before above, so a stack is moved from its end on. */
static uint32_t move_stack(const frames *from, frames *to, uint32_t stack, uint32_t *moved) {
    uint32_t path[STACK_MAX + 1], depth = 0, at = stack;
    for (; at != STACK_BOTTOM && !moved[at]; at = from->at[at].below) path[depth++] = at;
    uint32_t on = at == STACK_BOTTOM ? STACK_BOTTOM : moved[at];
    while (depth-- > 0) {
        on = push(to, from->at[path[depth]].back, on);
        CHECK(on != NO_FRAME);
        moved[path[depth]] = on;
    }
    return on;
}

void threads_compact(frames *f, thread_set *s) {
    frames fresh;
    frames_init(&fresh);
    uint32_t *moved = xcalloc(f->count, sizeof *moved);
    for (uint32_t i = 0; i < s->count; i++) s->at[i].stack = move_stack(f, &fresh, s->at[i].stack, moved);
    free(moved);
    frames_done(f);
    *f = fresh;
}
