#include "engine/answers.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(SAMPLING_SPEC_MAX == GRAMMAR_SPEC_MAX, "what a request may carry can be compiled");

typedef struct compiled {
    char *spec; /* [len]; owned */
    uint32_t len;
    uint32_t users; /* answers */
    uint64_t used;  /* answers.clock of the last opening */
    grammar *g;
} compiled;

struct answers {
    uint32_t vocab;
    const engine_options *opt;
    grammar_vocab *words; /* NULL until the first spec */
    compiled **list;      /* [count] */
    uint32_t count, capacity;
    uint64_t clock; /* openings */
};

answers *answers_new(uint32_t vocab, const engine_options *opt) {
    PRE(vocab > 0);
    PRE(opt);
    answers *a = xcalloc(1, sizeof *a);
    a->vocab = vocab;
    a->opt = opt;
    return a;
}

static void drop(compiled *c) {
    grammar_free(c->g);
    free(c->spec);
    free(c);
}

void answers_free(answers *a) {
    if (!a) return;
    for (uint32_t i = 0; i < a->count; i++) {
        CHECK(a->list[i]->users == 0);
        drop(a->list[i]);
    }
    free(a->list);
    grammar_vocab_free(a->words);
    free(a);
}

/* --- grammars --- */

static compiled *find(const answers *a, const sampling *p) {
    for (uint32_t i = 0; i < a->count; i++)
        if (a->list[i]->len == p->spec_len && memcmp(a->list[i]->spec, p->spec, p->spec_len) == 0)
            return a->list[i];
    return NULL;
}

/* Drops what was not used for longest of those that nobody uses, until few enough are left. */
static void make_room(answers *a) {
    while (a->count >= ANSWERS_KEPT) {
        uint32_t oldest = a->count;
        for (uint32_t i = 0; i < a->count; i++)
            if (a->list[i]->users == 0 && (oldest == a->count || a->list[i]->used < a->list[oldest]->used))
                oldest = i;
        if (oldest == a->count) return;
        drop(a->list[oldest]);
        a->list[oldest] = a->list[--a->count];
    }
}

static status compile(answers *a, const sampling *p, compiled **out, errbuf *eb) {
    if (!a->words) a->words = grammar_vocab_new(a->vocab, a->opt->token_bytes, a->opt->token_ctx);
    grammar *g = NULL;
    status st = grammar_new(&g, a->words, p->spec, p->spec_len, eb);
    if (st != ST_OK) return err_prefix(eb, st, "sequence: spec");
    make_room(a);
    if (a->count == a->capacity) {
        a->capacity = MAX(2 * a->capacity, ANSWERS_KEPT);
        a->list = xrealloc(a->list, a->capacity, sizeof *a->list);
    }
    compiled *c = xcalloc(1, sizeof *c);
    *c = (compiled){.spec = xmemdup(p->spec, p->spec_len), .len = p->spec_len, .g = g};
    a->list[a->count++] = c;
    *out = c;
    return ST_OK;
}

/* --- answers --- */

static bool is_end(const answers *a, int32_t id) {
    for (uint32_t i = 0; i < a->opt->eog_count; i++)
        if (a->opt->eog[i] == id) return true;
    return false;
}

status answer_open(answers *a, answer *to, const sampling *p, const int32_t *output, uint32_t output_count,
                   errbuf *eb) {
    PRE(a);
    PRE(to);
    PRE(!to->run);
    PRE(output || output_count == 0);
    if (p->spec_len == 0) return ST_OK;
    if (!a->opt->token_bytes)
        return errf(eb, ST_UNSUPPORTED, "sequence: a spec, but this engine does not know its tokens' bytes");
    compiled *c = find(a, p);
    status st = c ? ST_OK : compile(a, p, &c, eb);
    if (st != ST_OK) return st;
    c->used = ++a->clock;
    c->users++;
    *to = (answer){.of = c, .run = grammar_run_new(c->g)};
    for (uint32_t i = 0; i < output_count; i++) {
        if (is_end(a, output[i]) || grammar_run_take(to->run, output[i])) continue;
        answer_close(a, to);
        return errf(eb, ST_INVALID, "sequence: output token %u has id %d, which its spec does not allow", i,
                    (int)output[i]);
    }
    to->mask = xcalloc((a->vocab + 31) / 32, sizeof *to->mask);
    return ST_OK;
}

void answer_close(answers *a, answer *x) {
    PRE(a);
    PRE(x);
    if (!x->of) return;
    grammar_run_free(x->run);
    free(x->mask);
    x->of->users--;
    *x = (answer){0};
}

void answer_take(const answers *a, answer *x, int32_t id) {
    PRE(a);
    PRE(x);
    if (!x->run || is_end(a, id)) return;
    x->lost = !grammar_run_take(x->run, id); /* a hostile spec: it takes too long to follow */
}

/* --- masks --- */

static bool any(const uint32_t *mask, uint32_t words) {
    for (uint32_t i = 0; i < words; i++)
        if (mask[i]) return true;
    return false;
}

static void clear(const answers *a, uint32_t *mask, const int32_t *ids, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (ids[i] >= 0 && (uint32_t)ids[i] < a->vocab) mask[ids[i] / 32] &= ~(1u << (ids[i] % 32));
}

static void set_ends(const answers *a, uint32_t *mask) {
    const int32_t *ids = a->opt->eog;
    for (uint32_t i = 0; i < a->opt->eog_count; i++)
        if (ids[i] >= 0 && (uint32_t)ids[i] < a->vocab) mask[ids[i] / 32] |= 1u << (ids[i] % 32);
}

const uint32_t *answer_mask(const answers *a, answer *x, const sampling *p, uint32_t output_count) {
    PRE(a);
    PRE(x);
    PRE(p);
    if (!x->run) return NULL;
    uint32_t words = (a->vocab + 31) / 32;
    bool early = output_count < p->min_tokens;
    if (x->lost || !grammar_run_mask(x->run, x->mask)) { /* nothing can be chosen: this request fails */
        memset(x->mask, 0, words * sizeof *x->mask);
        return x->mask;
    }
    clear(a, x->mask, a->opt->eog, a->opt->eog_count); /* whatever their text is */
    if (early) clear(a, x->mask, p->stop_ids, p->stop_id_count);
    bool left = any(x->mask, words);
    if (early && left) return x->mask;
    if (early) {
        (void)grammar_run_mask(x->run, x->mask);
        clear(a, x->mask, a->opt->eog, a->opt->eog_count);
        left = any(x->mask, words);
    }
    if (grammar_run_may_end(x->run) && (!left || !p->ignore_eos)) set_ends(a, x->mask);
    return x->mask;
}
