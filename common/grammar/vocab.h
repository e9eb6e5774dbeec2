/* vocab - the tokens that a grammar's language is written with (masks.c). */
#ifndef BATON_GRAMMAR_VOCAB_H
#define BATON_GRAMMAR_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct grammar_vocab grammar_vocab;
typedef struct grammar grammar;

/* The bytes of a token: returns their number and writes at most cap. 0: a token that no answer has (control
 * tokens, holes). */
typedef size_t grammar_token_bytes(void *ctx, int32_t id, char *out, size_t cap);
/* Caller frees with grammar_vocab_free, after all grammars. */
grammar_vocab *grammar_vocab_new(uint32_t count, grammar_token_bytes *bytes, void *ctx);
void grammar_vocab_free(grammar_vocab *v);

#endif
