/* answers - what the engine's sequences may say: the grammars of their specs, and where each answer is in
 * its own.
 *
 * A grammar is compiled when the first sequence with its spec opens, and shared by all whose spec has the
 * same bytes. The newest ANSWERS_KEPT stay, and those that a sequence uses. The sorted vocabulary, which all
 * grammars read, is made with the first of them: who never asks for one pays nothing. Internal to the engine;
 * device thread. */
#ifndef BATON_ENGINE_ANSWERS_H
#define BATON_ENGINE_ANSWERS_H

#include "engine/engine_types.h"

#define ANSWERS_KEPT 32u /* grammars */

typedef struct answers answers;
struct compiled;

/* One sequence's; zeroed: it may say anything. */
typedef struct answer {
    struct compiled *of; /* counted */
    grammar_run *run;    /* owned */
    uint32_t *mask;      /* [(vocab + 31) / 32]; owned */
    bool lost;           /* its place is not known any more */
} answer;

/* Borrows opt->eog. */
answers *answers_new(uint32_t vocab, const engine_options *opt);
/* After all answers were closed. */
void answers_free(answers *a);

/* Leaves a zeroed answer zeroed when the params have no spec. The output tokens that there are already are
 * taken. ST_INVALID, ST_UNSUPPORTED. */
status answer_open(answers *a, answer *to, const sampling *p, const int32_t *output, uint32_t output_count,
                   errbuf *eb);
/* A zeroed one is fine */
void answer_close(answers *a, answer *x);
/* Of a token that its mask allowed. Ends of generation are no part of an answer. */
void answer_take(const answers *a, answer *x, int32_t id);
/* What may come next, for sample_input.mask; valid until the answer's next call. NULL: anything.
 * min_tokens bans ends and stop ids here unless nothing else is left, and ignore_eos bans ends likewise. */
const uint32_t *answer_mask(const answers *a, answer *x, const sampling *p, uint32_t output_count);

#endif
