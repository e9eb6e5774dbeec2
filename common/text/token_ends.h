/* token_ends - what a worker needs of a vocabulary without a tokenizer: which ids end a generation, and what
 * bytes a token writes. */
#ifndef BATON_TEXT_TOKEN_ENDS_H
#define BATON_TEXT_TOKEN_ENDS_H

#include "base/status.h"
#include "checkpoint/checkpoint.h"

struct vocab;

typedef struct token_ends {
    struct vocab *words; /* owned; borrows from the checkpoint */
    int32_t *ids;        /* [count], ascending: eos, eot, eom and what the vocabulary names as such. Owned */
    uint32_t count;
} token_ends;

/* The checkpoint stays open until token_ends_done. ST_UNSUPPORTED for a vocabulary that no tokenizer of ours
 * reads. Free with token_ends_done. */
status token_ends_init(token_ends *out, const checkpoint *ckpt, errbuf *eb);
void token_ends_done(token_ends *e);

/* The bytes that token `id` writes in an answer: returns their number, writes at most cap. 0: none (control
 * tokens, ends, holes). e: a token_ends, as grammar_token_bytes takes it. */
size_t token_ends_bytes(void *e, int32_t id, char *out, size_t cap);

#endif
