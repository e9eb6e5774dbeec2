/* sampler - from one row of logits to one token; the same bytes on every backend.
 *
 * Order: logit_bias, penalties, temperature, min-p, top-k, top-p; ties go to the lowest id; then Gumbel-max
 * with Philox4x32-10 (Salmon et al., SC 2011) keyed (seed, choice, position, token id). temperature 0 = arg
 * max after bias and penalties. Logprobs are of the raw logits. min_tokens bans end-of-generation and stop
 * ids until it is reached; ignore_eos neither bans nor lifts that ban. A mask bans what it lacks, and
 * min_tokens then bans nothing: whoever made it thought of that. Pure: no state between calls but
 * scratch. */
#ifndef BATON_KERNELS_HOST_SAMPLER_H
#define BATON_KERNELS_HOST_SAMPLER_H

#include "kernels/ops.h"

struct sample_loops;

typedef struct sampler sampler; /* scratch for one vocabulary size; one per thread */

sampler *sampler_new(uint32_t vocab);
void sampler_free(sampler *s);
/* Passes over the vocabulary in another way, which gives the same bits; `loops` is static. */
void sampler_use(sampler *s, const struct sample_loops *loops);

/* logits: [vocab], not changed. The position of the RNG key is prompt_count + output_count: the absolute
 * position of the token being chosen. Ids of prompt, output and bias are in 0..vocab-1 (engine_seq_open
 * checks them). A result that is broken has no token. */
void sampler_next(sampler *s, const float *logits, const sample_input *in, sample_result *out);

/* What the raw logits [vocab] say of the given token: logprob, rank, and the `wanted` best. Logits that are
 * broken say nothing. sampler_next does this for rows that ask for it. */
void sampler_score(sampler *s, const float *logits, int32_t given, int32_t wanted, sample_result *out);

/* Fills logprob and the `wanted` best (at most SAMPLING_LOGPROBS_MAX) of the raw logits [vocab] for the token
 * out->id. Sums are taken in a fixed order, so every backend calls this one. The logits are not broken. */
void sampler_logprobs(sampler *s, const float *logits, int32_t wanted, token_out *out);

#endif
