/* mock_sample - which token the mock backend chooses. Pure.
 *
 * Candidates are the 26 ids of 'a'..'z' in a vocabulary that begins with the bytes, so that every token is a
 * letter and none waits for the rest of a character; the whole vocabulary when it is smaller than 256. Now
 * and then (once in 1024) it is an end of generation, unless the request ignores those, or min_tokens is not
 * reached. Stop ids before min_tokens, and ids with a bias of -100, are passed over. Everything else about
 * sampling (temperature, seed, penalties) has no say.
 *
 * Logprobs are those of an even choice among the candidates; those of a prompt's tokens, and their ranks, are
 * made of x. */
#ifndef BATON_KERNELS_MOCK_MOCK_SAMPLE_H
#define BATON_KERNELS_MOCK_MOCK_SAMPLE_H

#include "kernels/ops.h"

/* x: what the token is a function of, besides what `in` allows. A result that is broken has no token. */
void mock_sample(uint64_t x, uint32_t vocab, const sample_input *in, sample_result *out);

#endif
