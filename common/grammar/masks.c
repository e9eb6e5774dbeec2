#include "grammar/masks.h"

#include "base/mem.h"
#include "base/status.h"
#include "grammar/json_rules.h"

#include <stdlib.h>
#include <string.h>

#define KEPT_MAX ((size_t)256 << 20) /* bytes of places of one vocabulary; beyond, each is found anew */

/* --- the vocabulary --- */

static int compare_tokens(const void *a, const void *b, void *all) {
    const vocab_token *x = a, *y = b;
    int c = memcmp((const char *)all + x->begin, (const char *)all + y->begin, MIN(x->len, y->len));
    if (c) return c;
    if (x->len != y->len) return x->len < y->len ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static void find_shared(grammar_vocab *v) {
    v->shared = xcalloc(v->sorted_count + 1u, sizeof *v->shared);
    uint32_t begun = 0;
    for (uint32_t i = 0; i < v->sorted_count; i++) {
        const vocab_token *t = &v->sorted[i];
        const char *text = v->bytes + t->begin;
        v->number[t->id] = i;
        while (begun <= (uint8_t)text[0]) v->first[begun++] = i;
        if (i == 0) continue;
        const char *last = v->bytes + t[-1].begin;
        uint32_t n = 0, most = MIN(t->len, t[-1].len);
        while (n < most && text[n] == last[n]) n++;
        v->shared[i] = (uint16_t)n;
    }
    while (begun <= 256) v->first[begun++] = v->sorted_count;
}

grammar_vocab *grammar_vocab_new(uint32_t count, grammar_token_bytes *bytes, void *ctx) {
    PRE(bytes);
    grammar_vocab *v = xcalloc(1, sizeof *v);
    v->count = count;
    v->words = (count + 31) / 32;
    v->number = xcalloc(count + 1u, sizeof *v->number);
    v->sorted = xcalloc(count + 1u, sizeof *v->sorted);
    buf all = {0};
    for (uint32_t id = 0; id < count; id++) {
        char text[MASK_TOKEN_BYTES_MAX];
        size_t len = bytes(ctx, (int32_t)id, text, sizeof text);
        v->number[id] = UINT32_MAX;
        if (len == 0 || len > sizeof text || all.len > UINT32_MAX - sizeof text) continue;
        v->sorted[v->sorted_count++] = (vocab_token){(uint32_t)all.len, (uint32_t)len, (int32_t)id};
        buf_add(&all, text, len);
    }
    v->bytes = all.data;
    if (v->sorted_count) qsort_r(v->sorted, v->sorted_count, sizeof *v->sorted, compare_tokens, v->bytes);
    find_shared(v);
    graph json = {0};
    json_rules(&json);
    v->json = (places){.of = xcalloc(json.count, sizeof *v->json.of), .count = json.count};
    graph_done(&json);
    return v;
}

void grammar_vocab_free(grammar_vocab *v) {
    if (!v) return;
    places_done(v, &v->json);
    for (size_t i = 0; i < ARRAY_LEN(v->levels); i++) thread_set_done(&v->levels[i]);
    free(v->bytes);
    free(v->sorted);
    free(v->shared);
    free(v->number);
    free(v);
}

/* --- the walk --- */

typedef struct walk {
    grammar_vocab *v;
    const graph *g;
    frames *f;
    uint32_t *bits;   /* [words] of tokens that are taken whole */
    uint32_t *unsure; /* [.., unsure_count], or NULL: not asked for */
    uint32_t unsure_count;
} walk;

static uint32_t shared_bytes(const grammar_vocab *v, uint32_t a, uint32_t b) {
    uint32_t least = v->sorted[b].len; /* the least over all in between */
    for (uint32_t i = a + 1; i <= b && least; i++) least = MIN(least, v->shared[i]);
    return least;
}

/* All tokens of list [count] (NULL: of the whole sorted vocabulary) from the place that level 0 is. */
static void walk_tokens(walk *w, const uint32_t *list, uint32_t count) {
    grammar_vocab *v = w->v;
    thread_set *levels = v->levels;
    bool dead = false,
         out[MASK_TOKEN_BYTES_MAX + 1] = {false}; /* out[n]: a rule was left after at most n bytes */
    uint32_t depth = 0;                           /* so many bytes of the last token were taken */
    for (uint32_t n = 0; n < count && w->f->steps <= THREADS_STEPS_MAX; n++) {
        uint32_t i = list ? list[n] : n;
        uint32_t common = n == 0 ? 0 : list ? shared_bytes(v, list[n - 1], i) : v->shared[i];
        if (!dead || common <= depth) {
            const vocab_token *t = &v->sorted[i];
            const uint8_t *text = (const uint8_t *)v->bytes + t->begin;
            depth = MIN(common, depth);
            dead = false;
            while (depth < t->len && !dead) {
                dead = !threads_step(w->g, w->f, &levels[depth], text[depth], &levels[depth + 1]);
                if (dead) break;
                depth++;
                out[depth] = out[depth - 1] || threads_out(&levels[depth]);
            }
            if (!dead) w->bits[t->id / 32] |= 1u << (t->id % 32);
            if (dead && depth == 0 && !list) n = v->first[text[0] + 1] - 1; /* none of this byte */
        }
        if (dead && out[depth] && w->unsure) w->unsure[w->unsure_count++] = i;
    }
}

static void start(grammar_vocab *v, thread t) {
    thread_set *first = &v->levels[0];
    if (!first->at) {
        first->at = xcalloc(8, sizeof *first->at);
        first->capacity = 8;
    }
    first->at[0] = t;
    first->count = 1;
}

/* --- places --- */

static void place_free(place *p) {
    if (!p) return;
    free(p->bits);
    free(p->few);
    free(p->unsure);
    free(p);
}

static size_t place_bytes(const grammar_vocab *v, const place *p) {
    return sizeof *p + (p->bits ? v->words : p->few_count) * sizeof *p->bits +
           p->unsure_count * sizeof *p->unsure;
}

void places_done(grammar_vocab *v, places *p) {
    for (uint32_t i = 0; i < p->count; i++) {
        if (p->of[i]) v->kept -= place_bytes(v, p->of[i]);
        place_free(p->of[i]);
    }
    free(p->of);
    *p = (places){0};
}

/* Few tokens as a list, so that a place inside of a word costs no mask. */
static void make_small(const grammar_vocab *v, place *p) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < v->words; i++) count += (uint32_t)__builtin_popcount(p->bits[i]);
    if (count > v->words / 2) return;
    p->few = xcalloc(count + 1u, sizeof *p->few);
    for (uint32_t i = 0; i < v->words; i++)
        for (uint32_t word = p->bits[i]; word; word &= word - 1)
            p->few[p->few_count++] = (int32_t)(i * 32 + (uint32_t)__builtin_ctz(word));
    free(p->bits);
    p->bits = NULL;
}

/* NULL: it takes too long. */
static place *find_place(grammar *g, uint32_t at, uint64_t *steps) {
    grammar_vocab *v = g->vocab;
    place *p = xcalloc(1, sizeof *p);
    frames f;
    frames_init(&f);
    f.steps = *steps;
    uint32_t *unsure = xcalloc(v->sorted_count + 1u, sizeof *unsure);
    walk w = {.v = v, .g = &g->g, .f = &f, .bits = xcalloc(v->words + 1u, sizeof *p->bits), .unsure = unsure};
    start(v, (thread){at, STACK_BOTTOM});
    walk_tokens(&w, NULL, v->sorted_count);
    p->bits = w.bits;
    p->unsure_count = w.unsure_count;
    if (w.unsure_count) p->unsure = xmemdup(unsure, w.unsure_count * sizeof *unsure);
    free(unsure);
    *steps = f.steps;
    frames_done(&f);
    if (*steps > THREADS_STEPS_MAX) {
        place_free(p);
        return NULL;
    }
    make_small(v, p);
    return p;
}

bool masks_add(grammar *g, frames *f, thread t, uint32_t *bits) {
    grammar_vocab *v = g->vocab;
    if (t.node == NODE_OUT) return true;
    place **slot = t.node < v->json.count ? &v->json.of[t.node] : &g->own.of[t.node - v->json.count];
    place *p = *slot;
    if (!p) {
        p = find_place(g, t.node, &f->steps);
        if (!p) return false;
        if (v->kept + place_bytes(v, p) <= KEPT_MAX) {
            v->kept += place_bytes(v, p);
            *slot = p;
        }
    }
    for (uint32_t i = 0; p->bits && i < v->words; i++) bits[i] |= p->bits[i];
    for (uint32_t i = 0; i < p->few_count; i++) bits[p->few[i] / 32] |= 1u << (p->few[i] % 32);
    if (p->unsure_count && t.stack != STACK_BOTTOM) {
        walk w = {.v = v, .g = &g->g, .f = f, .bits = bits};
        start(v, t);
        walk_tokens(&w, p->unsure, p->unsure_count);
    }
    if (*slot != p) place_free(p);
    return f->steps <= THREADS_STEPS_MAX;
}
