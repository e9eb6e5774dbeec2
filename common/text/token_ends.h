/* token_ends - what a worker needs of a vocabulary without a tokenizer: which ids end a generation. */
#ifndef BATON_TEXT_TOKEN_ENDS_H
#define BATON_TEXT_TOKEN_ENDS_H

#include "base/status.h"
#include "checkpoint/checkpoint.h"

typedef struct token_ends {
    int32_t *ids; /* [count], ascending: eos, eot, eom and what the vocabulary names as such. Owned */
    uint32_t count;
} token_ends;

/* ST_UNSUPPORTED for a vocabulary that no tokenizer of ours reads. Free with token_ends_done. */
status token_ends_init(token_ends *out, const checkpoint *ckpt, errbuf *eb);
void token_ends_done(token_ends *e);

#endif
