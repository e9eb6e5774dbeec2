#include "grammar/graph.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdlib.h>
#include <string.h>

void graph_done(graph *g) {
    free(g->nodes);
    free(g->sets);
    free(g->rules);
    *g = (graph){0};
}

void byte_set_add(byte_set *s, uint8_t first, uint8_t last) {
    PRE(first <= last);
    for (uint32_t b = first; b <= last; b++) s->bits[b / 64] |= UINT64_C(1) << b % 64;
}

static void reserve(void **list, uint32_t count, uint32_t *capacity, size_t size) {
    if (count < *capacity) return;
    *capacity = MAX(64u, *capacity * 2);
    *list = xrealloc(*list, *capacity, size);
}

static uint32_t add(graph *g, node n) {
    if (g->count == GRAPH_NODES_MAX) {
        g->full = true;
        return NODE_NONE;
    }
    reserve((void **)&g->nodes, g->count, &g->capacity, sizeof *g->nodes);
    g->nodes[g->count] = n;
    return g->count++;
}

static uint32_t set_number(graph *g, const byte_set *s) {
    for (uint32_t i = 0; i < g->set_count; i++)
        if (memcmp(&g->sets[i], s, sizeof *s) == 0) return i;
    if (g->set_count == GRAPH_SETS_MAX) {
        g->full = true;
        return 0;
    }
    reserve((void **)&g->sets, g->set_count, &g->set_capacity, sizeof *g->sets);
    g->sets[g->set_count] = *s;
    return g->set_count++;
}

uint32_t graph_set(graph *g, const byte_set *s, uint32_t next) {
    static const byte_set empty;
    if (next == NODE_NONE || memcmp(s, &empty, sizeof empty) == 0) return NODE_NONE;
    return add(g, (node){.kind = NODE_BYTE, .of = set_number(g, s), .next = next, .other = NODE_NONE});
}

uint32_t graph_range(graph *g, uint8_t first, uint8_t last, uint32_t next) {
    byte_set s = {0};
    byte_set_add(&s, first, last);
    return graph_set(g, &s, next);
}

uint32_t graph_literal(graph *g, const char *text, size_t len, uint32_t next) {
    for (size_t i = len; i-- > 0;) next = graph_range(g, (uint8_t)text[i], (uint8_t)text[i], next);
    return next;
}

uint32_t graph_either(graph *g, uint32_t a, uint32_t b) {
    if (a == NODE_NONE || a == b) return b;
    if (b == NODE_NONE) return a;
    return add(g, (node){.kind = NODE_SPLIT, .next = a, .other = b});
}

uint32_t graph_loop(graph *g, uint32_t next) {
    return add(g, (node){.kind = NODE_SPLIT, .next = NODE_NONE, .other = next});
}

void graph_loop_body(graph *g, uint32_t loop, uint32_t body) {
    if (loop == NODE_NONE) return;
    PRE(g->nodes[loop].kind == NODE_SPLIT);
    g->nodes[loop].next = body;
}

uint32_t graph_return(graph *g) {
    return add(g, (node){.kind = NODE_RETURN, .next = NODE_NONE, .other = NODE_NONE});
}

uint32_t graph_call(graph *g, uint32_t rule, uint32_t next) {
    PRE(rule < g->rule_count);
    if (next == NODE_NONE) return NODE_NONE;
    return add(g, (node){.kind = NODE_CALL, .of = rule, .next = next, .other = NODE_NONE});
}

uint32_t graph_rule(graph *g) {
    reserve((void **)&g->rules, g->rule_count, &g->rule_capacity, sizeof *g->rules);
    g->rules[g->rule_count] = NODE_NONE;
    return g->rule_count++;
}

void graph_rule_begin(graph *g, uint32_t rule, uint32_t begin) {
    PRE(rule < g->rule_count);
    g->rules[rule] = begin;
}

static int compare_texts(const void *a, const void *b) {
    const graph_text *x = a, *y = b;
    int c = memcmp(x->data, y->data, MIN(x->len, y->len));
    return c ? c : (x->len > y->len) - (x->len < y->len);
}

/* texts[0..count) are sorted and have `depth` bytes in common. */
static uint32_t texts_from(graph *g, const graph_text *texts, size_t count, size_t depth, uint32_t next) {
    size_t i = 0;
    uint32_t begin = NODE_NONE;
    for (; i < count && texts[i].len == depth; i++) begin = next; /* ends here; sorted first */
    if (count - i == 1) /* no loop of calls for the rest of a long text */
        return graph_either(g, graph_literal(g, texts[i].data + depth, texts[i].len - depth, next), begin);
    while (i < count) {
        size_t same = i + 1, shared = depth + 1;
        while (same < count && texts[same].data[depth] == texts[i].data[depth]) same++;
        const graph_text *first = &texts[i], *last = &texts[same - 1];
        size_t least = MIN(first->len, last->len);
        while (shared < least && first->data[shared] == last->data[shared]) shared++;
        uint32_t rest = texts_from(g, first, same - i, shared, next);
        begin = graph_either(g, graph_literal(g, first->data + depth, shared - depth, rest), begin);
        i = same;
    }
    return begin;
}

uint32_t graph_texts(graph *g, graph_text *texts, size_t count, uint32_t next) {
    qsort(texts, count, sizeof *texts, compare_texts);
    return texts_from(g, texts, count, 0, next);
}

/* --- what has no finite word --- */

/* One look at node n: whether a return can be reached from it, as far as is known. */
static bool ends(const graph *g, const bool *finite, const bool *known, uint32_t n) {
    const node *at = &g->nodes[n];
    if (at->kind == NODE_RETURN) return true;
    bool passes = at->kind != NODE_CALL || finite[at->of];
    return (passes && at->next != NODE_NONE && known[at->next]) ||
           (at->other != NODE_NONE && known[at->other]);
}

bool graph_prune(graph *g, uint32_t rule) {
    PRE(rule < g->rule_count);
    if (g->full) return false;
    bool *finite = xcalloc(g->rule_count, sizeof *finite), *known = xcalloc(g->count + 1u, sizeof *known);
    /* Mostly what follows has a smaller number, and what is called a larger one: few rounds. */
    for (bool more = true; more;) {
        more = false;
        for (uint32_t n = 0; n < g->count; n++) {
            if (known[n] || !ends(g, finite, known, n)) continue;
            known[n] = more = true;
        }
        for (uint32_t r = g->rule_count; r-- > 0;) {
            if (finite[r] || g->rules[r] == NODE_NONE || !known[g->rules[r]]) continue;
            finite[r] = more = true;
        }
    }
    for (uint32_t n = 0; n < g->count; n++) {
        node *at = &g->nodes[n];
        bool passes = at->kind != NODE_CALL || finite[at->of];
        if (at->next != NODE_NONE && !(passes && known[at->next])) at->next = NODE_NONE;
        if (at->other != NODE_NONE && !known[at->other]) at->other = NODE_NONE;
    }
    bool result = finite[rule];
    free(finite);
    free(known);
    return result;
}
