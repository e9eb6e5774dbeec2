/* bpe - the merge table, and merging one piece of text into tokens by rank.
 *
 * Private to this folder. Tokens are ids from the first byte on: a merge is (left id, right id) -> merged id,
 * and its rank is its place in the file's list. A piece is a doubly linked list over its bytes; a heap holds
 * every adjacent pair that can merge, keyed by (rank, place), so equal ranks merge from the left. Entries are
 * not removed when their pair changes: they are recognised as stale when popped. O(n log n) for a piece of n
 * bytes. */
#ifndef BATON_TEXT_BPE_H
#define BATON_TEXT_BPE_H

#include "text/token_list.h"
#include "text/vocab.h"

typedef struct bpe bpe;

/* ST_CORRUPT when tokenizer.ggml.merges is absent or names tokens that the vocabulary lacks. Keeps `v`.
 * Caller frees with bpe_free. */
status bpe_new(bpe **out, const vocab *v, const checkpoint *ckpt, errbuf *eb);
void bpe_free(bpe *b);

/* Working memory of one call, reused from piece to piece. Start it zeroed; bpe_work_done frees. */
typedef struct bpe_work {
    int32_t *id; /* [capacity] token that starts at this byte; -1 = merged away, or a byte without a token */
    uint32_t *prev; /* [capacity] */
    uint32_t *next; /* [capacity] */
    uint64_t *heap; /* [3 * capacity] rank << 32 | place */
    size_t capacity;
    size_t heap_count;
} bpe_work;
void bpe_work_done(bpe_work *w);

/* Appends the tokens of a piece. Bytes without a token are left out, as in every byte-level BPE. ST_NOMEM. */
status bpe_encode(const bpe *b, bpe_work *w, const char *piece, size_t len, token_list *out, errbuf *eb);

#endif
