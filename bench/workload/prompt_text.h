/* prompt_text - prompts as text with an exact number of tokens, for servers that take no token ids (chat).
 *
 * A text is a row of common English words, of which each is one token in the server's vocabulary;
 * pretokenisers cut before a blank, so that n words are n tokens. Which candidates are one token is found out
 * by asking the server (/tokenize) once per candidate; nothing is asked here. The text begins without a
 * blank, since chat templates strip it: a word must be one token with a blank before it and without.
 *
 * The words are the digits that prompt.h spells: the same text for the same (seed, index), another one for
 * each other, from prompt_text_unique words on (12 for 256 words). What a chat template adds must be
 * subtracted by the caller, who may compare with what `usage` says. Pure. */
#ifndef BATON_WORKLOAD_PROMPT_TEXT_H
#define BATON_WORKLOAD_PROMPT_TEXT_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

#define PROMPT_TEXT_WORDS_MIN 16u /* fewer make dull prompts that need many words to differ */

typedef struct prompt_text prompt_text;

/* The candidates, each other words of a to z; *count is their number. Borrowed: static. */
const char *const *prompt_text_candidates(uint32_t *count);

/* spaced, bare: [candidates] whether " word" and "word" are one token each. ST_UNSUPPORTED: fewer than
 * PROMPT_TEXT_WORDS_MIN are. Caller frees with prompt_text_free. */
status prompt_text_new(prompt_text **out, const bool *spaced, const bool *bare, errbuf *eb);
void prompt_text_free(prompt_text *p);
/* Words that are one token. */
uint32_t prompt_text_count(const prompt_text *p);
/* Words from which on all texts differ. */
uint32_t prompt_text_unique(const prompt_text *p);
/* `tokens` words. Caller frees with free. */
char *prompt_text_make(const prompt_text *p, uint64_t seed, uint32_t index, uint32_t tokens);

#endif
