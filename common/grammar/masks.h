/* masks - the sorted vocabulary, and what each place in a graph allows of it, found once and kept.
 *
 * Private to this folder. */
#ifndef BATON_GRAMMAR_MASKS_H
#define BATON_GRAMMAR_MASKS_H

#include "grammar/threads.h"
#include "grammar/vocab.h"

#define MASK_TOKEN_BYTES_MAX 256u /* longer tokens are never allowed */

typedef struct vocab_token {
    uint32_t begin, len; /* of grammar_vocab.bytes */
    int32_t id;
} vocab_token;

/* What one place allows. */
typedef struct place {
    uint32_t *bits; /* [words] tokens that are allowed whatever called its rule; NULL: `few` has them */
    int32_t *few;   /* [few_count] */
    uint32_t
        *unsure; /* [unsure_count] numbers in the sorted list, ascending: they leave the rule and go on */
    uint32_t few_count, unsure_count;
} place;

typedef struct places {
    place **of; /* [count] by node; NULL: not looked for yet */
    uint32_t count;
} places;

struct grammar_vocab {
    uint32_t count, words; /* ids; words of a mask */
    char *bytes;
    vocab_token *sorted; /* [sorted_count] */
    uint16_t *shared;    /* [sorted_count] bytes that each has in common with the one before it */
    uint32_t sorted_count;
    uint32_t first[257];                         /* by first byte: where its tokens begin */
    uint32_t *number;                            /* [count] place of an id in the list; UINT32_MAX: none */
    places json;                                 /* of the nodes that all graphs have: those of JSON itself */
    size_t kept;                                 /* bytes of all places */
    thread_set levels[MASK_TOKEN_BYTES_MAX + 1]; /* of a walk */
};

struct grammar {
    grammar_vocab *vocab;
    graph g;
    uint32_t begin;
    places own; /* of the other nodes */
};

void places_done(grammar_vocab *v, places *p);
/* Sets the bits of what a thread allows. False: it takes too long (THREADS_STEPS_MAX, counted in f->steps).
 */
bool masks_add(grammar *g, frames *f, thread t, uint32_t *bits);

#endif
