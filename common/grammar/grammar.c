#include "grammar/grammar.h"

#include "base/mem.h"
#include "grammar/masks.h"
#include "grammar/spec.h"

#include <stdlib.h>
#include <string.h>

struct grammar_run {
    grammar *g;
    frames f;
    thread_set now;
};

status grammar_check(const char *spec, size_t len, errbuf *eb) {
    graph g = {0};
    uint32_t begin = 0;
    status st = spec_graph(&g, &begin, spec, len, eb);
    if (st == ST_OK) graph_done(&g);
    return st;
}

status grammar_new(grammar **out, grammar_vocab *v, const char *spec, size_t len, errbuf *eb) {
    PRE(out);
    PRE(v);
    graph g = {0};
    uint32_t begin = 0;
    status st = spec_graph(&g, &begin, spec, len, eb);
    if (st != ST_OK) return st;
    CHECK(g.count >= v->json.count);
    grammar *made = xcalloc(1, sizeof *made);
    *made = (grammar){.vocab = v, .g = g, .begin = begin};
    made->own.count = g.count - v->json.count;
    made->own.of = xcalloc(made->own.count + 1u, sizeof *made->own.of);
    *out = made;
    return ST_OK;
}

void grammar_free(grammar *g) {
    if (!g) return;
    places_done(g->vocab, &g->own);
    graph_done(&g->g);
    free(g);
}

grammar_run *grammar_run_new(grammar *g) {
    PRE(g);
    grammar_run *r = xcalloc(1, sizeof *r);
    r->g = g;
    frames_init(&r->f);
    threads_enter(&g->g, &r->f, &r->now, g->begin, STACK_BOTTOM);
    return r;
}

void grammar_run_free(grammar_run *r) {
    if (!r) return;
    frames_done(&r->f);
    thread_set_done(&r->now);
    free(r);
}

bool grammar_run_take(grammar_run *r, int32_t id) {
    PRE(r);
    const grammar_vocab *v = r->g->vocab;
    if (id < 0 || (uint32_t)id >= v->count || v->number[id] == UINT32_MAX) return false;
    const vocab_token *t = &v->sorted[v->number[id]];
    thread_set at = {0}, to = {0}; /* r->now stays until the whole token is taken */
    bool taken = true;
    r->f.steps = 0;
    for (uint32_t i = 0; i < t->len && taken; i++) {
        taken = threads_step(&r->g->g, &r->f, i ? &at : &r->now, (uint8_t)v->bytes[t->begin + i], &to);
        thread_set swap = at;
        at = to;
        to = swap;
        taken = taken && r->f.steps <= THREADS_STEPS_MAX;
    }
    if (taken) {
        thread_set swap = r->now;
        r->now = at;
        at = swap;
    }
    thread_set_done(&at);
    thread_set_done(&to);
    if (r->f.count > FRAMES_MAX / 4) threads_compact(&r->f, &r->now);
    return taken;
}

bool grammar_run_may_end(const grammar_run *r) {
    PRE(r);
    return threads_out(&r->now);
}

bool grammar_run_at_end(const grammar_run *r) {
    PRE(r);
    for (uint32_t i = 0; i < r->now.count; i++)
        if (r->now.at[i].node != NODE_OUT) return false;
    return true;
}

bool grammar_run_mask(grammar_run *r, uint32_t *bits) {
    PRE(r);
    PRE(bits);
    const size_t bytes = r->g->vocab->words * sizeof *bits;
    bool in_time = true;
    memset(bits, 0, bytes);
    r->f.steps = 0;
    for (uint32_t i = 0; i < r->now.count && in_time; i++)
        in_time = masks_add(r->g, &r->f, r->now.at[i], bits);
    if (!in_time) memset(bits, 0, bytes);
    if (r->f.count > FRAMES_MAX / 4) threads_compact(&r->f, &r->now);
    return in_time;
}
