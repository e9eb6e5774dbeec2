/* bpe - merging one piece of text into tokens: the best pair first, the leftmost of equal ones.
 *
 * Private to this folder. A piece is a doubly linked list of symbols (bytes of a byte-level vocabulary,
 * characters of another one); a heap holds every adjacent pair that can merge, keyed by (rank, place), so
 * equal ranks merge from the left. Entries are not removed when their pair changes: they are recognised as
 * stale when popped. O(n log n) for a piece of n symbols.
 *
 * Which pairs merge, and in which order, a checkpoint says in one of two ways:
 *   merges   a list of (left id, right id) -> merged id; the rank is the place in the list
 *   scores   SentencePiece's: any two symbols whose joint text is a token; the rank is the order of its
 * score. Characters without a token can still be parts of one */
#ifndef BATON_TEXT_BPE_H
#define BATON_TEXT_BPE_H

#include "text/token_list.h"
#include "text/vocab.h"

typedef struct bpe bpe;

/* ST_CORRUPT when both lists are absent, merges name tokens that the vocabulary lacks, or scores are no
 * numbers. Keeps `v`. Caller frees with bpe_free. */
status bpe_new(bpe **out, const vocab *v, const checkpoint *ckpt, errbuf *eb);
void bpe_free(bpe *b);

/* Working memory of one call, reused from piece to piece. Start it zeroed; bpe_work_done frees. */
typedef struct bpe_work {
    int32_t *id;     /* [capacity] token of this symbol; -1 = it has none, -2 = merged away */
    uint32_t *begin; /* [capacity] its first byte in the piece */
    uint32_t *prev;  /* [capacity] */
    uint32_t *next;  /* [capacity] */
    uint64_t *heap;  /* [3 * capacity] rank << 32 | place */
    size_t capacity; /* symbols */
    size_t heap_count;
} bpe_work;
void bpe_work_done(bpe_work *w);

/* Appends the tokens of a piece, which is valid UTF-8 unless the vocabulary is byte-level. A character
 * without a token becomes the tokens of its bytes, or the unknown token, or is left out where there is
 * neither. ST_NOMEM. */
status bpe_encode(const bpe *b, bpe_work *w, const char *piece, size_t len, token_list *out, errbuf *eb);

#endif
