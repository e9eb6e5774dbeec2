/* grammar - what an answer may be, and which tokens may come next.
 *
 *   spec (text of a request) -> grammar -> grammar_run (one answer) --mask--> sampler
 *                                              ^--------- token ----------------'
 *
 * A spec is a JSON object with one of these members:
 *
 *   {"json_object": true}          any JSON object
 *   {"json_schema": {...}}         a JSON value that obeys the schema (schema.h says which words are
 * understood)
 *   {"regex": "..."}               a text that the whole expression matches (pattern.h)
 *   {"choice": ["a", "b"]}         one of the texts
 *   {"literal": "..."}             this text
 *   {"sequence": [spec, ...]}      one after the other
 *   {"any_of": [spec, ...]}        one of them
 *   {"repeat": spec, "least": 0, "most": 8}     so many times
 *
 * and at most GRAMMAR_SPEC_MAX bytes long.
 *
 * The language is one of bytes, so a token may end anywhere in it, in the middle of a character too. A run is
 * a set of threads, each a place in the graph with its stack of calls. What a place allows is found once by a
 * walk over the sorted vocabulary and kept: tokens that end within the rule of the place are known whatever
 * called it, and only those that leave it are tried with the stack (the division into context-independent and
 * -dependent tokens is that of XGrammar, Dong et al. 2024, section 3.1).
 *
 * Pure: no clock, no socket. Thread: grammars and runs of one vocabulary are used by one thread. */
#ifndef BATON_GRAMMAR_GRAMMAR_H
#define BATON_GRAMMAR_GRAMMAR_H

#include "base/status.h"
#include "grammar/spec.h"
#include "grammar/vocab.h"

typedef struct grammar_run grammar_run;

/* Whether a spec can be obeyed; needs no vocabulary. ST_INVALID, ST_UNSUPPORTED: the text says where and why.
 */
status grammar_check(const char *spec, size_t len, errbuf *eb);
/* Caller frees with grammar_free, after its runs. */
status grammar_new(grammar **out, grammar_vocab *v, const char *spec, size_t len, errbuf *eb);
void grammar_free(grammar *g);

/* At the begin of an answer. Caller frees with grammar_run_free. */
grammar_run *grammar_run_new(grammar *g);
void grammar_run_free(grammar_run *r);
/* Takes a token. False: it is not of the language (or takes too long), and nothing was taken. */
bool grammar_run_take(grammar_run *r, int32_t id);
/* The answer may end here. */
bool grammar_run_may_end(const grammar_run *r);
/* Nothing can follow. */
bool grammar_run_at_end(const grammar_run *r);
/* Sets the bit of every token that may come next and clears all others: bit id % 32 of bits[id / 32],
 * [(count + 31) / 32]. The ends of generation are the caller's to add when the answer may end.
 * False: it takes too long, and no bit is set. */
bool grammar_run_mask(grammar_run *r, uint32_t *bits);

#endif
